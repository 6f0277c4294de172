package helm

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/store"
)

// StatusKind is the kind of what is owed to forges: CommitStatus as JSON.
const StatusKind = "commit-status"

// CommitStatus is what a forge is told of a commit.
type CommitStatus struct {
	App    string
	Commit string // the head that was pushed, not the merge result
	State  string // pending, success, failure, error
	Text   string
	URL    string
}

// oweStatus notes that an app's forge must hear of a build.
func (h *Helm) oweStatus(ctx context.Context, b bosman.Build) error {
	app, err := h.Store.App(ctx, b.App)
	if err != nil || app.Origin == "" {
		return err
	}
	state, text := "pending", buildRef(b.Number)+" is "+string(b.State)
	switch b.State {
	case bosman.BuildGreen:
		state = "success"
		if passed, _, _ := b.Report.Count(); passed > 0 {
			text = fmt.Sprintf("%d tests passed", passed)
		}
	case bosman.BuildRed:
		state, text = "failure", b.Reason
	case bosman.BuildError, bosman.BuildCancelled:
		state, text = "error", b.Reason
	case bosman.BuildQueued, bosman.BuildRunning:
	}
	data, err := json.Marshal(CommitStatus{App: b.App, Commit: b.Head, State: state, Text: text, URL: h.Addresses.Page(fmt.Sprintf("/%s/builds/%d", b.App, b.Number))})
	if err != nil {
		return err
	}
	return h.Store.Owe(ctx, store.Owed{Kind: StatusKind, CoalesceKey: b.App + " " + b.Head, Data: data, At: h.now(), NextAt: h.now()})
}
