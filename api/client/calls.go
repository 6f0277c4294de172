package client

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

type m = map[string]any

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func yes(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// Me says who the server takes us for.
func (c *Client) Me(ctx context.Context) (wire.Me, error) { return get[wire.Me](ctx, c, "/me") }

// Apps lists the apps.
func (c *Client) Apps(ctx context.Context) ([]bosman.App, error) {
	return get[[]bosman.App](ctx, c, "/apps")
}

// AddApp adds an app.
func (c *Client) AddApp(ctx context.Context, name string) (bosman.App, error) {
	return post[bosman.App](ctx, c, "/apps", m{"name": name})
}

// RemoveApp removes an app; confirm must be its name.
func (c *Client) RemoveApp(ctx context.Context, name, confirm string) (wire.Ok, error) {
	var out wire.Ok
	return out, c.call(ctx, http.MethodDelete, at("apps", name)+params([]string{"confirm", confirm}), nil, &out)
}

// Status gives the jobs table of an app, "" for all.
func (c *Client) Status(ctx context.Context, app string) ([]wire.Job, error) {
	return get[[]wire.Job](ctx, c, "/status", "app", app)
}

// Policy says what holds for live.
func (c *Client) Policy(ctx context.Context, app string) (wire.LivePolicy, error) {
	return get[wire.LivePolicy](ctx, c, at("apps", app, "policy"))
}

// ConfirmPolicy lets main's policy for live hold.
func (c *Client) ConfirmPolicy(ctx context.Context, app string) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("apps", app, "confirm-policy"), nil)
}

// Tasks lists the manifest's named commands.
func (c *Client) Tasks(ctx context.Context, app string) ([]wire.Task, error) {
	return get[[]wire.Task](ctx, c, at("apps", app, "tasks"))
}

// Activity lists who changed what; app "" means all, before 0 from the newest.
func (c *Client) Activity(ctx context.Context, app string, before int64, max int) ([]bosman.Activity, error) {
	return get[[]bosman.Activity](ctx, c, "/activity", "app", app, "before", number(int(before)), "max", number(max))
}

// Changes lists changes; all also merged and closed ones.
func (c *Client) Changes(ctx context.Context, app string, all bool, max int) ([]wire.ChangeView, error) {
	return get[[]wire.ChangeView](ctx, c, at("apps", app, "changes"), "all", yes(all), "max", number(max))
}

// Change gives the change that ref names.
func (c *Client) Change(ctx context.Context, app, ref string) (wire.ChangeView, error) {
	return get[wire.ChangeView](ctx, c, at("apps", app, "changes", ref))
}

// Accept says that a change is good.
func (c *Client) Accept(ctx context.Context, app, ref, why string) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("apps", app, "changes", ref, "accept"), m{"why": why})
}

// SendBack says that it is not.
func (c *Client) SendBack(ctx context.Context, app, ref, why string) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("apps", app, "changes", ref, "send-back"), m{"why": why})
}

// Merge moves main to a change's merge result; override is an administrator's
// reason to do so although its rehearsal failed.
func (c *Client) Merge(ctx context.Context, app, ref, override string) (wire.Merged, error) {
	return post[wire.Merged](ctx, c, at("apps", app, "changes", ref, "merge"), m{"override": override})
}

// CloseChange takes a change off the road.
func (c *Client) CloseChange(ctx context.Context, app, ref string) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("apps", app, "changes", ref, "close"), nil)
}

// Try puts a change on a testing instance.
func (c *Client) Try(ctx context.Context, app, ref, instance string, exact bool) (bosman.Operation, error) {
	return post[bosman.Operation](ctx, c, at("apps", app, "changes", ref, "try"), m{"instance": instance, "exact": exact})
}

// Builds lists builds; change -1 means all, 0 those of main.
func (c *Client) Builds(ctx context.Context, app string, change, max int) ([]bosman.Build, error) {
	return get[[]bosman.Build](ctx, c, at("apps", app, "builds"), "change", strconv.Itoa(change), "max", number(max))
}

// Build queues a build of a branch.
func (c *Client) Build(ctx context.Context, app, branch string) (bosman.Build, error) {
	return post[bosman.Build](ctx, c, at("apps", app, "builds"), m{"branch": branch})
}

// BuildOf gives one build with its report.
func (c *Client) BuildOf(ctx context.Context, app string, n int) (bosman.Build, error) {
	return get[bosman.Build](ctx, c, at("apps", app, "builds", n))
}

// Retry queues the same build again.
func (c *Client) Retry(ctx context.Context, app string, n int) (bosman.Build, error) {
	return post[bosman.Build](ctx, c, at("apps", app, "builds", n, "retry"), nil)
}

// CancelBuild ends a build.
func (c *Client) CancelBuild(ctx context.Context, app string, n int, why string) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("apps", app, "builds", n, "cancel"), m{"why": why})
}

// Releases lists releases.
func (c *Client) Releases(ctx context.Context, app string, max int) ([]bosman.Release, error) {
	return get[[]bosman.Release](ctx, c, at("apps", app, "releases"), "max", number(max))
}

// Instances lists an app's instances.
func (c *Client) Instances(ctx context.Context, app string) ([]bosman.Instance, error) {
	return get[[]bosman.Instance](ctx, c, at("apps", app, "instances"))
}

// Instance gives one instance.
func (c *Client) Instance(ctx context.Context, app, name string) (bosman.Instance, error) {
	return get[bosman.Instance](ctx, c, at("apps", app, "instances", name))
}

// RemoveInstance takes an instance away.
func (c *Client) RemoveInstance(ctx context.Context, app, name string) (wire.Ok, error) {
	var out wire.Ok
	return out, c.call(ctx, http.MethodDelete, at("apps", app, "instances", name), nil, &out)
}

// Deploy sends a release to an instance; release 0 lets the server choose.
func (c *Client) Deploy(ctx context.Context, app, instance string, release int, why, override string) (bosman.Operation, error) {
	return post[bosman.Operation](ctx, c, at("apps", app, "instances", instance, "deploy"), m{"release": release, "why": why, "override": override})
}

// Operate asks for reset, restart, stop, start or backup of an instance.
func (c *Client) Operate(ctx context.Context, app, instance, verb string) (bosman.Operation, error) {
	return post[bosman.Operation](ctx, c, at("apps", app, "instances", instance, verb), nil)
}

// Operations lists operations on an instance ("" for all).
func (c *Client) Operations(ctx context.Context, app, instance string, max int) ([]bosman.Operation, error) {
	return get[[]bosman.Operation](ctx, c, at("apps", app, "operations"), "instance", instance, "max", number(max))
}

// Operation gives one operation.
func (c *Client) Operation(ctx context.Context, app string, n int) (bosman.Operation, error) {
	return get[bosman.Operation](ctx, c, at("apps", app, "operations", n))
}

// CancelOperation ends an operation that waits.
func (c *Client) CancelOperation(ctx context.Context, app string, n int) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("apps", app, "operations", n, "cancel"), nil)
}

// Backups lists the backups of an instance ("" for all).
func (c *Client) Backups(ctx context.Context, app, instance string, max int) ([]bosman.Backup, error) {
	return get[[]bosman.Backup](ctx, c, at("apps", app, "backups"), "instance", instance, "max", number(max))
}

// Restore puts a backup in place, with the loss of what was written since;
// instance "" is the one it was made of.
func (c *Client) Restore(ctx context.Context, app string, backup int, instance string, migrate bool) (bosman.Operation, error) {
	return post[bosman.Operation](ctx, c, at("apps", app, "backups", backup, "restore"), m{"instance": instance, "migrate": migrate, "confirm_loss": true})
}

// Secrets lists the names of an app's secrets.
func (c *Client) Secrets(ctx context.Context, app string) ([]wire.Secret, error) {
	return get[[]wire.Secret](ctx, c, at("apps", app, "secrets"))
}

// SetSecrets sets secrets in a scope.
func (c *Client) SetSecrets(ctx context.Context, app, scope string, values map[string]string) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("apps", app, "secrets"), m{"scope": scope, "values": values})
}

// RemoveSecret forgets a secret.
func (c *Client) RemoveSecret(ctx context.Context, app, scope, name string) (wire.Ok, error) {
	var out wire.Ok
	return out, c.call(ctx, http.MethodDelete, at("apps", app, "secrets", scope, name), nil, &out)
}

// Problems lists an app's problems.
func (c *Client) Problems(ctx context.Context, app string, resolved bool, max int) ([]bosman.Problem, error) {
	return get[[]bosman.Problem](ctx, c, at("apps", app, "problems"), "resolved", yes(resolved), "max", number(max))
}

// Problem gives one problem with its newest reports.
func (c *Client) Problem(ctx context.Context, app string, n int) (wire.ProblemView, error) {
	return get[wire.ProblemView](ctx, c, at("apps", app, "problems", n))
}

// Resolve says that a problem is mended, or that it is not.
func (c *Client) Resolve(ctx context.Context, app string, n int, resolved bool) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("apps", app, "problems", n, "resolve"), m{"resolved": resolved})
}

// Mails lists the mail caught from an instance ("" for all).
func (c *Client) Mails(ctx context.Context, app, instance string, max int) ([]bosman.Mail, error) {
	return get[[]bosman.Mail](ctx, c, at("apps", app, "mails"), "instance", instance, "max", number(max))
}

// Mail gives one caught message.
func (c *Client) Mail(ctx context.Context, app string, id int64) (bosman.Mail, error) {
	return get[bosman.Mail](ctx, c, at("apps", app, "mails", id))
}

// People lists everybody.
func (c *Client) People(ctx context.Context) ([]bosman.Person, error) {
	return get[[]bosman.Person](ctx, c, "/people")
}

// AddPerson adds somebody; password may be empty.
func (c *Client) AddPerson(ctx context.Context, name, email string, role bosman.Role, password string) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, "/people", m{"name": name, "email": email, "role": role, "password": password})
}

// Allow gives a person a role, on one app if it is named.
func (c *Client) Allow(ctx context.Context, name string, role bosman.Role, app string) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("people", name, "allow"), m{"role": role, "app": app})
}

// Disable shuts a person out or lets them in again.
func (c *Client) Disable(ctx context.Context, name string, disabled bool) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("people", name, "disable"), m{"disabled": disabled})
}

// SetPassword sets a person's password.
func (c *Client) SetPassword(ctx context.Context, name, password string) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, at("people", name, "password"), m{"password": password})
}

// Tokens lists a person's tokens.
func (c *Client) Tokens(ctx context.Context, person string) ([]bosman.Token, error) {
	return get[[]bosman.Token](ctx, c, at("people", person, "tokens"))
}

// NewToken makes a token.
func (c *Client) NewToken(ctx context.Context, person, name string) (wire.NewToken, error) {
	return post[wire.NewToken](ctx, c, at("people", person, "tokens"), m{"name": name})
}

// RemoveToken ends a token.
func (c *Client) RemoveToken(ctx context.Context, id string) (wire.Ok, error) {
	var out wire.Ok
	return out, c.call(ctx, http.MethodDelete, at("tokens", id), nil, &out)
}

// GitToken makes a short-lived token of one's own for git.
func (c *Client) GitToken(ctx context.Context) (wire.NewToken, error) {
	return post[wire.NewToken](ctx, c, "/git-token", nil)
}

// AtHand lists who is there to help.
func (c *Client) AtHand(ctx context.Context) ([]bosman.Person, error) {
	return get[[]bosman.Person](ctx, c, "/at-hand")
}

// SetAtHand says until when one is there to help.
func (c *Client) SetAtHand(ctx context.Context, until time.Time) (wire.Ok, error) {
	return post[wire.Ok](ctx, c, "/at-hand", m{"until": until})
}

// Connect ties an app to a repository at a forge.
func (c *Client) Connect(ctx context.Context, app, kind, repo, token, cloneURL, baseURL string) (wire.Connected, error) {
	return post[wire.Connected](ctx, c, at("apps", app, "connect"), m{"kind": kind, "repo": repo, "token": token, "clone_url": cloneURL, "base_url": baseURL})
}

// Targets lists who is told what happens.
func (c *Client) Targets(ctx context.Context) ([]wire.Target, error) {
	return get[[]wire.Target](ctx, c, "/notify")
}

// AddTarget tells t at url what happens; with Signed it gives the secret.
func (c *Client) AddTarget(ctx context.Context, t wire.Target, url string) (wire.NewToken, error) {
	return post[wire.NewToken](ctx, c, "/notify", m{"name": t.Name, "url": url, "app": t.App, "kinds": t.Kinds, "private": t.Private, "sign": t.Signed})
}

// RemoveTarget tells it no more.
func (c *Client) RemoveTarget(ctx context.Context, name string) (wire.Ok, error) {
	var out wire.Ok
	return out, c.call(ctx, http.MethodDelete, at("notify", name), nil, &out)
}
