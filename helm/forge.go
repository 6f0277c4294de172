package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/forge"
	"github.com/bosman-cd/bosman/source"
	"github.com/bosman-cd/bosman/store"
)

// Origin is the repository at a forge that an app is connected to. Token and
// Hook are sealed and never shown.
type Origin struct {
	Kind     string `json:"kind"` // github
	Repo     string `json:"repo"` // owner/name
	CloneURL string `json:"clone_url"`
	BaseURL  string `json:"base_url,omitempty"` // of the API; "" is the forge's own
	Token    string `json:"-"`
	Hook     string `json:"-"` // secret of the webhook
}

const (
	forgeScope  = "forge"
	tokenSecret = "TOKEN"
	hookSecret  = "HOOK"
)

func originOf(app string) string { return "origin:" + app }

// Connect ties an app to a repository at a forge. It gives the secret for the
// forge's webhook, which is shown once.
func (h *Helm) Connect(ctx context.Context, a bosman.Actor, app string, o Origin) (hook string, err error) {
	if err := h.may(ctx, a, bosman.MayAdminister, app, ""); err != nil {
		return "", err
	}
	noun, err := h.Store.App(ctx, app)
	if err != nil {
		return "", err
	}
	if o.Kind != "github" {
		return "", bosman.Invalid("%q is not a forge that Bosman knows", o.Kind).WithNext("take github")
	}
	if owner, name, ok := strings.Cut(o.Repo, "/"); !ok || owner == "" || name == "" || strings.Contains(name, "/") {
		return "", bosman.Invalid("%q does not name a repository", o.Repo).WithNext("write it as owner/name")
	}
	if o.CloneURL == "" {
		o.CloneURL = "https://github.com/" + o.Repo + ".git"
	}
	if o.Hook == "" {
		o.Hook = access.RandomKey(24)
	}
	setting, err := json.Marshal(o)
	if err != nil {
		return "", err
	}
	noun.Origin = o.CloneURL
	return o.Hook, h.Store.InTx(ctx, func(s *store.Store) error {
		for name, value := range map[string]string{tokenSecret: o.Token, hookSecret: o.Hook} {
			sealed, err := h.Box.Seal(value)
			if err != nil {
				return err
			}
			if err := s.SaveSecret(ctx, store.SealedSecret{App: app, Scope: forgeScope, Name: name, Sealed: sealed, SetAt: h.now(), SetBy: a.Person}); err != nil {
				return err
			}
		}
		if err := s.SetSetting(ctx, originOf(app), string(setting)); err != nil {
			return err
		}
		if err := s.SaveApp(ctx, noun); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "connected " + app + " to " + o.Kind + " " + o.Repo, Subject: app})
	})
}

// Origin gives the forge an app is connected to, with its secrets, for the
// wiring; KindNotFound if there is none.
func (h *Helm) Origin(ctx context.Context, app string) (Origin, error) {
	var o Origin
	setting, err := h.Store.Setting(ctx, originOf(app))
	if err != nil {
		return o, err
	}
	if setting == "" {
		return o, bosman.NotFound("%s is not connected to a forge", app).WithNext("bosman app connect " + app + " --github owner/name")
	}
	if err := json.Unmarshal([]byte(setting), &o); err != nil {
		return o, err
	}
	secrets, err := h.open(ctx, app, forgeScope)
	o.Token, o.Hook = secrets[tokenSecret], secrets[hookSecret]
	return o, err
}

func (o Origin) remote() source.Remote {
	r := source.Remote{URL: o.CloneURL, Pulls: true}
	if o.Token != "" {
		r.Authorization = "Bearer " + o.Token
	}
	return r
}

// Delivered acts on what a forge tells: the repository is fetched, and what
// moved there becomes changes and builds. It may be repeated.
func (h *Helm) Delivered(ctx context.Context, app string, d forge.Delivery) error {
	o, err := h.Origin(ctx, app)
	if err != nil {
		return err
	}
	repo, err := h.Repos.Open(app)
	if err != nil {
		return err
	}
	if _, err := repo.Mirror(ctx, o.remote()); err != nil {
		return err
	}
	noun, err := h.Store.App(ctx, app)
	if err != nil {
		return err
	}
	if err := h.reconcileRefs(ctx, noun); err != nil {
		return err
	}
	actor := bosman.Actor{Person: bosman.System().Person, From: o.Kind + " " + d.Sender, System: true}
	switch d.Kind {
	case forge.PullUpdated:
		if d.Base != noun.MainBranch {
			return nil
		}
		_, _, err := h.Propose(ctx, actor, Proposal{App: app, Branch: d.Branch, Fork: d.Fork, Head: d.Head, Title: d.Title, URL: d.URL, Trust: d.Trust})
		return err
	case forge.PullClosed:
		c, err := h.Store.ChangeByBranch(ctx, app, d.Fork, d.Branch)
		if bosman.KindOf(err) == bosman.KindNotFound || err == nil && (d.Merged || c.State != bosman.ChangeOpen) {
			return nil
		}
		if err != nil {
			return err
		}
		return h.closeChange(ctx, actor, c, "the pull request was closed")
	case forge.Ping, forge.BranchPushed, forge.BranchDeleted, forge.TagPushed, forge.TagDeleted:
	}
	return nil
}

// StatusKind is the kind of what is owed to an app's forge: a forge.Status as
// JSON, the newest for each commit.
func StatusKind(app string) string { return "commit-status:" + app }

// StatusKey is what a status is about: of the same key only the newest counts.
func StatusKey(s forge.Status) string { return s.Repo + " " + s.Commit + " " + s.Context }

// oweStatus notes that an app's forge must hear of a build.
func (h *Helm) oweStatus(ctx context.Context, s *store.Store, b bosman.Build) error {
	setting, err := s.Setting(ctx, originOf(b.App))
	if err != nil || setting == "" {
		return err
	}
	var o Origin
	if err := json.Unmarshal([]byte(setting), &o); err != nil {
		return err
	}
	st := forge.Status{Repo: o.Repo, Commit: b.Head, State: forge.Pending, Description: buildRef(b.Number) + " is " + string(b.State), URL: h.Addresses.Page(fmt.Sprintf("/%s/builds/%d", b.App, b.Number))}
	switch b.State {
	case bosman.BuildGreen:
		st.State = forge.Success
		if passed, _, _ := b.Report.Count(); passed > 0 {
			st.Description = fmt.Sprintf("%d tests passed", passed)
		}
		if b.Unconcerned() {
			st.Description = b.Reason
		}
	case bosman.BuildRed:
		st.State, st.Description = forge.Failure, b.Reason
	case bosman.BuildError, bosman.BuildCancelled:
		st.State, st.Description = forge.Broken, b.Reason
	case bosman.BuildQueued, bosman.BuildRunning:
	}
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return s.Owe(ctx, store.Owed{Kind: StatusKind(b.App), CoalesceKey: StatusKey(st), Data: data, At: h.now()})
}
