package bosman

import "time"

// Problem is a group of like error reports of one app.
type Problem struct {
	App          string    `json:"app"`
	Number       int       `json:"number"` // p7
	Title        string    `json:"title,omitempty"`
	Culprit      string    `json:"culprit,omitempty"` // module.function or path
	Level        string    `json:"level,omitempty"`
	Fine         string    `json:"fine,omitempty"` // grouping hashes
	Coarse       string    `json:"coarse,omitempty"`
	Key          string    `json:"key,omitempty"` // what the hashes were made from, for people
	FirstRelease int       `json:"first_release"`
	LastRelease  int       `json:"last_release"`
	Instances    []string  `json:"instances,omitempty"`
	Events       int64     `json:"events"`
	Users        int64     `json:"users"`
	FirstAt      time.Time `json:"first_at"`
	LastAt       time.Time `json:"last_at"`
	ResolvedAt   time.Time `json:"resolved_at"`
	ResolvedBy   string    `json:"resolved_by,omitempty"`
	Regressed    bool      `json:"regressed"` // came back after it was resolved
}

// ErrorEvent is one error report, normalised at the door.
type ErrorEvent struct {
	App         string            `json:"app"`
	Problem     int               `json:"problem"`
	ID          string            `json:"id,omitempty"` // 32 hex digits
	Instance    string            `json:"instance,omitempty"`
	Release     int               `json:"release"`                // 0 when the client named none that we know
	ReleaseName string            `json:"release_name,omitempty"` // as the client said
	Environment string            `json:"environment,omitempty"`
	Level       string            `json:"level,omitempty"`
	Unhandled   bool              `json:"unhandled"`
	Message     string            `json:"message,omitempty"`
	Type        string            `json:"type,omitempty"`
	Transaction string            `json:"transaction,omitempty"`
	URL         string            `json:"url,omitempty"`
	Method      string            `json:"method,omitempty"`
	User        string            `json:"user,omitempty"` // hash or id, for counting
	Platform    string            `json:"platform,omitempty"`
	SDK         string            `json:"sdk,omitempty"`
	At          time.Time         `json:"at"`
	ReceivedAt  time.Time         `json:"received_at"`
	Frames      []Frame           `json:"frames,omitempty"` // outermost exception's stack, innermost call last
	Tags        map[string]string `json:"tags,omitempty"`
	Body        string            `json:"body,omitempty"` // name of the stored, scrubbed event
}

// Frame is one call of a stack.
type Frame struct {
	File     string   `json:"file,omitempty"`
	Module   string   `json:"module,omitempty"`
	Function string   `json:"function,omitempty"`
	Line     int      `json:"line"`
	Column   int      `json:"column"`
	InApp    bool     `json:"in_app"`
	Context  string   `json:"context,omitempty"`
	Pre      []string `json:"pre,omitempty"`
	Post     []string `json:"post,omitempty"`
}
