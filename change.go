package bosman

import "time"

// ChangeState is where a change stands.
type ChangeState string

// The states of a change:
//
//	open ─► merged
//	  └───► closed (branch deleted or pull request closed) ─► open
const (
	ChangeOpen   ChangeState = "open"
	ChangeMerged ChangeState = "merged"
	ChangeClosed ChangeState = "closed"
)

// Trust says how far the code of a change is believed. Code of strangers
// gets no secrets, no network, no instance and no copy.
type Trust string

// The levels of trust.
const (
	TrustTeam     Trust = "team"
	TrustStranger Trust = "stranger"
)

// Change is a branch, with or without a pull request, on its way to main. Its
// key towards builds is its number, never the branch name: two forks may use
// the same branch name.
type Change struct {
	App         string      `json:"app"`
	Number      int         `json:"number"`
	Branch      string      `json:"branch,omitempty"`
	Fork        string      `json:"fork,omitempty"`      // owner of the fork, "" for the app's own repository
	Head        string      `json:"head,omitempty"`      // commit
	Title       string      `json:"title,omitempty"`     // subject of the head commit or of the pull request
	Author      string      `json:"author,omitempty"`    // name of the author of the head commit
	PushedBy    string      `json:"pushed_by,omitempty"` // Person who pushed, "" if a forge did
	URL         string      `json:"url,omitempty"`       // of the pull request, "" without one
	Trust       Trust       `json:"trust"`
	State       ChangeState `json:"state"`
	Conflicts   []string    `json:"conflicts,omitempty"`  // files that conflict with main; nil when it merges cleanly
	Hazards     []string    `json:"hazards,omitempty"`    // migration collisions and dangers, one sentence each
	Blocked     string      `json:"blocked,omitempty"`    // why it must not be merged, "" if it may
	Migrations  []string    `json:"migrations,omitempty"` // those it adds or changes: "shop.0008_order"
	Collisions  []Collision `json:"collisions,omitempty"` // of its migrations with main's and with other changes'
	CreatedAt   time.Time   `json:"created_at"`
	UpdatedAt   time.Time   `json:"updated_at"`
	MergedAt    time.Time   `json:"merged_at"`
	Merged      string      `json:"merged,omitempty"` // the commit that brought it to main
	MergedBy    string      `json:"merged_by,omitempty"`
	MergeWanted string      `json:"merge_wanted,omitempty"` // the person for whom it merges by itself once green; "" if nobody asked
}

// SignoffVerdict is a person's yes or no.
type SignoffVerdict string

// The verdicts.
const (
	Accepted SignoffVerdict = "accepted"
	SentBack SignoffVerdict = "sent-back"
)

// Signoff is a person's yes or no on a change (before the merge) or on an
// operation (after the switch on live). It holds for one commit.
type Signoff struct {
	App     string         `json:"app"`
	Change  int            `json:"change"` // 0 when on an operation
	Op      int            `json:"op"`     // 0 when on a change
	Commit  string         `json:"commit,omitempty"`
	Person  string         `json:"person,omitempty"`
	Verdict SignoffVerdict `json:"verdict"`
	Why     string         `json:"why,omitempty"`
	At      time.Time      `json:"at"`
}
