package bosman

import "time"

// Problem is a group of like error reports of one app.
type Problem struct {
	App          string
	Number       int // p7
	Title        string
	Culprit      string // module.function or path
	Level        string
	Fine, Coarse string // grouping hashes
	Key          string // what the hashes were made from, for people
	FirstRelease int
	LastRelease  int
	Instances    []string
	Events       int64
	Users        int64
	FirstAt      time.Time
	LastAt       time.Time
	ResolvedAt   time.Time
	ResolvedBy   string
	Regressed    bool // came back after it was resolved
}

// ErrorEvent is one error report, normalised at the door.
type ErrorEvent struct {
	App         string
	Problem     int
	ID          string // 32 hex digits
	Instance    string
	Release     int    // 0 when the client named none that we know
	ReleaseName string // as the client said
	Environment string
	Level       string
	Unhandled   bool
	Message     string
	Type        string
	Transaction string
	URL         string
	Method      string
	User        string // hash or id, for counting
	Platform    string
	SDK         string
	At          time.Time
	ReceivedAt  time.Time
	Frames      []Frame // outermost exception's stack, innermost call last
	Tags        map[string]string
	Body        string // name of the stored, scrubbed event
}

// Frame is one call of a stack.
type Frame struct {
	File     string
	Module   string
	Function string
	Line     int
	Column   int
	InApp    bool
	Context  string
	Pre      []string
	Post     []string
}
