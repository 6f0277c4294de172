// Package wire holds the shapes of the JSON API that are not nouns, so that
// the server and its clients share one definition. It must not know helm,
// storage or HTTP.
package wire

import (
	"time"

	"github.com/bosman-cd/bosman"
)

// Job is a row of the jobs table: an instance, or the builds of changes.
type Job struct {
	App          string               `json:"app"`
	Name         string               `json:"name"` // live, staging, testing-anna, changes
	Kind         bosman.InstanceKind  `json:"kind"` // "" for the builds of changes
	State        bosman.InstanceState `json:"state"`
	Note         string               `json:"note,omitempty"`
	URL          string               `json:"url,omitempty"`
	Weather      bosman.Weather       `json:"weather"`
	LastSuccess  time.Time            `json:"last_success"`
	SuccessRef   string               `json:"success_ref,omitempty"` // d725 or b12
	LastFailure  time.Time            `json:"last_failure"`
	FailureRef   string               `json:"failure_ref,omitempty"`
	LastDuration time.Duration        `json:"last_duration_ns"`
	Running      string               `json:"running,omitempty"` // d37 or b12 at work now
	RunningRoad  bosman.Road          `json:"running_road,omitempty"`
	Release      int                  `json:"release"`
	Commit       string               `json:"commit,omitempty"`
	Title        string               `json:"title,omitempty"` // what runs: the change's title
	Change       int                  `json:"change,omitempty"`
	Since        time.Time            `json:"since"`
	By           string               `json:"by,omitempty"`
	CopyFrom     string               `json:"copy_from,omitempty"`
	CopyAt       time.Time            `json:"copy_at"`
	Held         *bosman.Held         `json:"held,omitempty"` // why it does not follow main
}

// ChangeView is a change with all that its row and page show.
type ChangeView struct {
	bosman.Change
	Road      bosman.Road       `json:"road"`
	Build     *bosman.Build     `json:"build,omitempty"` // newest, with report
	Signoffs  []bosman.Signoff  `json:"signoffs,omitempty"`
	On        []bosman.Instance `json:"on,omitempty"`        // instances that show it
	Stale     bool              `json:"stale"`               // main moved since its build
	Rehearsal *bosman.Rehearsal `json:"rehearsal,omitempty"` // of its present head on a copy of staging's database
}

// Merged is what a merge did.
type Merged struct {
	Change  int    `json:"change"`
	Commit  string `json:"commit,omitempty"`  // main's new head; "" while it waits
	Build   int    `json:"build,omitempty"`   // the build it waits for, 0 if it is merged
	Release int    `json:"release,omitempty"` // the release that staging gets
	Note    string `json:"note,omitempty"`
}

// Secret is what is shown of a secret: never its value.
type Secret struct {
	Scope string    `json:"scope"` // build, kind:live, instance:NAME
	Name  string    `json:"name"`
	SetAt time.Time `json:"set_at"`
	SetBy string    `json:"set_by"`
}

// ProblemView is a problem with its newest events.
type ProblemView struct {
	bosman.Problem
	Reports []bosman.ErrorEvent `json:"reports"`
}

// Task is a named command of the manifest.
type Task struct {
	Name string `json:"name"`
	Run  string `json:"run"`
}

// NewToken is a token as shown once.
type NewToken struct {
	Text    string    `json:"text"`
	Expires time.Time `json:"expires"` // zero: never
}

// LivePolicy says what holds for deployments to live, and what main would
// loosen of it.
type LivePolicy struct {
	After    string   `json:"after"`     // instance that must have run the release
	Window   string   `json:"window"`    // "Mon-Thu 09:00-15:00"; "" is always
	AtHand   int      `json:"at_hand"`   // how many people must be at hand
	WatchFor string   `json:"watch_for"` // how long a new release is watched: "10m0s"
	Reverts  bool     `json:"reverts"`   // by itself, when it does badly
	Loosened []string `json:"loosened"`  // one sentence each; not in force until confirmed
}

// LogLine is one line of a log.
type LogLine struct {
	Offset int64     `json:"offset"` // where it begins, in bytes since the log began
	Next   int64     `json:"next"`   // where the following line begins
	At     time.Time `json:"at"`
	Source string    `json:"source"` // web.1, cron.digest, a build step
	Text   string    `json:"text"`
}

// RunInput is a line sent to a command: the first holds Command, each later
// one some of its standard input.
type RunInput struct {
	Command string `json:"command,omitempty"`
	Data    []byte `json:"data,omitempty"`
}

// RunOutput is a line of a command's output; the last one holds Exit or
// Error.
type RunOutput struct {
	Stream string        `json:"stream,omitempty"` // stdout or stderr
	Data   []byte        `json:"data,omitempty"`
	Exit   *int          `json:"exit,omitempty"`
	Error  *bosman.Error `json:"error,omitempty"`
}

// Me is who the server takes the caller for.
type Me struct {
	Person string                 `json:"person"`
	From   string                 `json:"from"`
	Role   bosman.Role            `json:"role"`
	On     map[string]bosman.Role `json:"on,omitempty"` // apps where it differs
	URL    string                 `json:"url"`          // of the pages and of git
}

// Ok is the answer of verbs that have nothing else to say.
type Ok struct {
	Note string `json:"note"`
}

// Connected is what a forge must be told for its webhook; Secret is shown
// once.
type Connected struct {
	Hook   string `json:"hook"` // address to deliver to
	Secret string `json:"secret"`
}

// Target is somebody who is told what happens, as far as it may be shown.
type Target struct {
	Name    string   `json:"name"`
	To      string   `json:"to"`            // host of a webhook, or the kind of chat
	App     string   `json:"app,omitempty"` // "" is every app
	Kinds   []string `json:"kinds,omitempty"`
	Private bool     `json:"private"`
	Signed  bool     `json:"signed"`
}
