// Package forge is the outside hosts of repositories (GitHub and its like)
// behind one small interface: their deliveries come in, are kept durably and
// become neutral; statuses and comments go out and are tried until they
// arrive. It must not know changes, builds or the store.
package forge

import (
	"context"
	"net/http"
	"time"

	"github.com/bosman-cd/bosman"
)

// Host is one kind of forge.
type Host interface {
	// Receive checks the signature of a delivery and gives it as it is to be
	// kept. A wrong or missing signature is KindForbidden, a malformed
	// request KindInvalid. Event "" means that it is of no use to us.
	Receive(header http.Header, body []byte) (Raw, error)
	// Parse makes a kept delivery neutral. ok is false where it says nothing
	// we act on.
	Parse(raw Raw) (d Delivery, ok bool, err error)
	// Pulls gives the open pull requests as if each had just been updated:
	// for the comparison after a start.
	Pulls(ctx context.Context, repo string) ([]Delivery, error)
	// SetStatus shows a state on a commit. KindInvalid: it will never be
	// accepted. A *Later says when to try again.
	SetStatus(ctx context.Context, s Status) error
	// Comment writes a comment on a pull request, or replaces the one with
	// the same key.
	Comment(ctx context.Context, c Comment) error
}

// Raw is a delivery whose signature held, as it is kept before it is
// answered.
type Raw struct {
	ID     string // the forge's; the same when it delivers again
	Digest string // of event and body: also known when replayed under another ID
	Event  string
	Body   []byte // JSON
}

// Kind says what a delivery tells.
type Kind string

// The kinds of deliveries.
const (
	Ping          Kind = "ping"
	BranchPushed  Kind = "branch-pushed"
	BranchDeleted Kind = "branch-deleted"
	TagPushed     Kind = "tag-pushed"
	TagDeleted    Kind = "tag-deleted"
	PullUpdated   Kind = "pull-updated" // opened, reopened, new commits, new title or base
	PullClosed    Kind = "pull-closed"
)

// Delivery is what happened at a forge. It is a prompt to look, not the
// truth: deliveries come late, twice and out of order.
type Delivery struct {
	ID       string
	Kind     Kind
	Repo     string // owner/name of the repository the hook belongs to
	CloneURL string
	Sender   string // who did it, as the forge names them

	Branch string // or tag; of a pull request: the branch in Fork or Repo
	Old    string // commits; "" where there is none
	Head   string
	Forced bool

	Pull   int    // number of the pull request, 0 without one
	Base   string // the branch it is to be merged into
	Fork   string // owner of the fork, "" for the app's own repository
	Title  string
	Author string
	URL    string
	Draft  bool
	Merged bool   // of a closed one
	Merge  string // the commit that merged it
	Trust  bosman.Trust
}

// ChangeKey tells changes apart: the pull request, or the branch of the
// repository itself. Forks may use the same branch name.
func (d Delivery) ChangeKey() string {
	if d.Pull > 0 && d.Fork != "" {
		return "pull/" + itoa(d.Pull)
	}
	return "branch/" + d.Branch
}

// State is what a status says.
type State string

// The states of a commit. Pending is the only one that is not final.
const (
	Pending State = "pending"
	Success State = "success"
	Failure State = "failure" // the code's own tests
	Broken  State = "error"   // Bosman or the host
)

// Status is a state shown on a commit. The newest of the same Repo, Commit
// and Context counts.
type Status struct {
	Repo        string
	Commit      string
	Context     string // "" is DefaultContext
	State       State
	Description string // one line
	URL         string // where it leads
}

// DefaultContext names our statuses at the forge.
const DefaultContext = "bosman"

// Comment is a comment on a pull request; the one of a Key is replaced.
type Comment struct {
	Repo string
	Pull int
	Key  string // letters, digits and dashes
	Text string // Markdown
}

// Later is an error that says when to try again (a rate limit).
type Later struct {
	At  time.Time
	Err error
}

// Error gives the cause's text.
func (l *Later) Error() string { return l.Err.Error() }

// Unwrap gives the cause.
func (l *Later) Unwrap() error { return l.Err }
