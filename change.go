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
	App       string
	Number    int
	Branch    string
	Fork      string // owner of the fork, "" for the app's own repository
	Head      string // commit
	Title     string // subject of the head commit or of the pull request
	Author    string // name of the author of the head commit
	PushedBy  string // Person who pushed, "" if a forge did
	URL       string // of the pull request, "" without one
	Trust     Trust
	State     ChangeState
	Conflicts []string // files that conflict with main; nil when it merges cleanly
	Hazards   []string // migration collisions and dangers, one sentence each
	Blocked   string   // why it must not be merged, "" if it may
	CreatedAt time.Time
	UpdatedAt time.Time
	MergedAt  time.Time
	Merged    string // the commit that brought it to main
	MergedBy  string
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
	App     string
	Change  int // 0 when on an operation
	Op      int // 0 when on a change
	Commit  string
	Person  string
	Verdict SignoffVerdict
	Why     string
	At      time.Time
}
