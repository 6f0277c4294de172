package serve

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/migration"
	"github.com/bosman-cd/bosman/store"
)

// Rehearsals run the release command of a change's release on a throw-away
// copy of staging's database, one at a time:
//
//	build green ─► row (running) ─► copy ─► command, recorded ─► passed | failed | skipped
//	                    ▲                        │
//	                    └──── killed: again ─────┘   copies left behind are dropped
//
// A rehearsal that fails is said on the change; it is never an error of ours.

// rehearsalName is the instance that a rehearsal pretends to be. No person can
// make one of this name.
const rehearsalName = database.TagRehearsal

// rehearse has the releases of changes rehearsed until ctx ends.
func (s *server) rehearse(ctx context.Context) error {
	followed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() { // waited for below
		followed <- s.store.FollowAs(ctx, "rehearsals", func(ctx context.Context, e bosman.Event) error {
			if e.Kind != bosman.EventBuildEnded {
				return nil
			}
			n, err := bosman.ParseRef(bosman.LetterBuild, e.Subject)
			if err == nil {
				err = s.considerRehearsal(ctx, e.App, n)
			}
			if err != nil && ctx.Err() == nil {
				s.log.Warn("a release is not rehearsed", "app", e.App, "build", e.Subject, "err", err)
				return nil
			}
			return err
		})
	}()
	for {
		wake := s.store.Wake()
		waiting, err := s.store.UnfinishedRehearsals(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Error("rehearsals cannot be read", "err", err)
		}
		if len(waiting) > 0 && err == nil {
			if err := s.rehearseOne(ctx, waiting[0]); err != nil && ctx.Err() == nil {
				s.log.Error("a rehearsal could not be kept", "app", waiting[0].App, "release", waiting[0].Release, "err", err)
			} else if err == nil {
				continue
			}
		}
		select {
		case <-ctx.Done():
			cancel()
			return <-followed
		case err := <-followed:
			cancel()
			return err
		case <-wake:
		}
	}
}

// considerRehearsal asks for the rehearsal of a build's release if its change
// brings migrations, or nobody can tell whether it does; of a build of main if
// it brings migrations to staging: what was merged was rehearsed before, what
// was pushed to main was not.
func (s *server) considerRehearsal(ctx context.Context, app string, build int) error {
	s.considering.Lock()
	defer s.considering.Unlock()
	b, err := s.store.Build(ctx, app, build)
	if err != nil || b.State != bosman.BuildGreen || b.Release == 0 || b.Trust != bosman.TrustTeam || b.Unconcerned() {
		return err
	}
	if _, err := s.store.Rehearsal(ctx, app, b.Release); bosman.KindOf(err) != bosman.KindNotFound {
		return err // it was, or will be
	}
	m, err := s.records.Manifest(ctx, app, b.Release)
	if err != nil || m.Release == "" {
		return err
	}
	staging, err := s.staging(ctx, app)
	if err != nil || staging.Database.Engine == "" {
		return err
	}
	k, err := s.databases.keeper(ctx, bosman.Instance{App: app, Kind: bosman.KindTesting}, staging.Database.Engine)
	if err != nil {
		return err
	}
	if _, ok := k.Engine.(database.Recorder); !ok {
		return nil
	}
	if b.Change == 0 {
		step, err := s.migrations.Between(ctx, app, staging.Release, b.Release)
		if err != nil || step.Empty() {
			return err
		}
		return s.askRehearsal(ctx, app, b.Release, 0)
	}
	c, err := s.store.Change(ctx, app, b.Change)
	if err != nil {
		return err
	}
	if len(c.Migrations) == 0 {
		if known, err := s.migrations.any(ctx, app); err != nil || known {
			return err
		}
	}
	return s.askRehearsal(ctx, app, b.Release, b.Change)
}

func (s *server) askRehearsal(ctx context.Context, app string, release, change int) error {
	return s.keepRehearsal(ctx, bosman.Rehearsal{App: app, Release: release, Change: change, State: bosman.RehearsalRunning})
}

func (s *server) keepRehearsal(ctx context.Context, r bosman.Rehearsal) error {
	return s.store.InTx(ctx, func(t *store.Store) error {
		if err := t.SaveRehearsal(ctx, r); err != nil {
			return err
		}
		return s.records.tell(ctx, t, r.App, bosman.EventRehearsed, bosman.Ref(bosman.LetterRelease, r.Release))
	})
}

// staging is the app's staging instance; zero without one that runs.
func (s *server) staging(ctx context.Context, app string) (bosman.Instance, error) {
	all, err := s.store.Instances(ctx, app)
	if err != nil {
		return bosman.Instance{}, err
	}
	for _, i := range all {
		if i.Kind == bosman.KindStaging && i.Release != 0 {
			return i, nil
		}
	}
	return bosman.Instance{}, nil
}

// rehearseOne carries a rehearsal out and keeps what came of it; the error is
// about keeping it.
func (s *server) rehearseOne(ctx context.Context, r bosman.Rehearsal) error {
	accepted := r.Accepted
	r = bosman.Rehearsal{App: r.App, Release: r.Release, Change: r.Change, State: r.State, Accepted: accepted, StartedAt: time.Now().UTC()}
	limit := bosman.RehearsalTime
	if m, err := s.records.Manifest(ctx, r.App, r.Release); err == nil { // else perform says why not
		limit = m.Migration.Limit()
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := s.perform(bounded, &r)
	if ctx.Err() != nil {
		return ctx.Err() // it is done again after the next start
	}
	switch {
	case bounded.Err() != nil:
		// A slow migration is not a wrong one.
		r.State, r.Reason = bosman.RehearsalSkipped, fmt.Sprintf("not known: it took longer than %s (migrations: {time: …} in bosman.yaml gives it more)", limitText(limit))
	case err != nil:
		r.State, r.Reason = bosman.RehearsalSkipped, bosman.AsError(err).Message
		s.log.Warn("a release could not be rehearsed", "app", r.App, "release", r.Release, "err", err)
	}
	r.EndedAt = time.Now().UTC()
	return s.keepRehearsal(ctx, r)
}

// limitText is 45m rather than 45m0s.
func limitText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// perform rehearses; an error means that it could not be rehearsed.
func (s *server) perform(ctx context.Context, r *bosman.Rehearsal) (err error) {
	rel, err := s.records.Release(ctx, r.App, r.Release)
	if err != nil {
		return err
	}
	if rel.Trust != bosman.TrustTeam {
		return bosman.Forbidden("code of strangers gets no copy")
	}
	if r.Change != 0 {
		if b, err := s.store.LatestBuild(ctx, r.App, r.Change); err == nil && b.Release != r.Release && b.Release != 0 {
			return bosman.Conflict("a newer push of %s took its place", bosman.Ref(bosman.LetterChange, r.Change))
		}
	}
	m, err := s.records.releases.Manifest(rel)
	if err != nil {
		return err
	}
	if m.Release == "" {
		return bosman.Conflict("there is no release command")
	}
	if m.Database.Engine == "none" {
		return bosman.Conflict("there is no database")
	}
	staging, err := s.staging(ctx, r.App)
	if err != nil {
		return err
	}
	k, err := s.databases.keeper(ctx, bosman.Instance{App: r.App, Kind: bosman.KindTesting}, m.Database.Engine)
	if err != nil {
		return err
	}
	recorder, ok := k.Engine.(database.Recorder)
	if !ok {
		return bosman.Conflict("what is done to a database of this kind cannot be recorded")
	}
	i, err := s.rehearsalInstance(ctx, r.App)
	if err != nil {
		return err
	}
	if err := s.clearRehearsal(ctx, k, i); err != nil {
		return err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if cerr := s.clearRehearsal(clean, k, i); cerr != nil {
			s.log.Warn("the copy of a rehearsal was left behind; it goes before the next one", "app", r.App, "err", cerr)
		}
	}()
	db, empty, err := s.rehearsalData(ctx, r, rel, k, m.Database.Engine, staging)
	if err != nil {
		return err
	}
	i.Database = db
	if o, ok := k.Engine.(database.Owner); ok && unixUser(i) != 0 {
		if err := o.Own(ctx, db, unixUser(i)); err != nil {
			return err
		}
	}
	if err := faults.Point("serve.rehearsal.copied"); err != nil {
		return err
	}
	if err := s.rehearseOn(ctx, r, m, recorder, i); err != nil || empty == "" || r.Took == 0 {
		return err
	}
	// What an empty database bears says nothing of one with data.
	r.State, r.Reason = bosman.RehearsalSkipped, empty+"; the command ran on an empty database"
	return nil
}

// accepts says data of which releases suits a release: of those it grew from.
func (s *server) accepts(ctx context.Context, rel bosman.Release) func(int) bool {
	return func(n int) bool {
		older, err := s.store.Release(ctx, rel.App, n)
		if err != nil {
			return false
		}
		ok, err := tags{s.repos}.IsAncestor(ctx, rel.App, older.Commit, rel.Commit)
		return err == nil && ok
	}
}

// rehearseOn runs the release command on the copy and judges what it did.
func (s *server) rehearseOn(ctx context.Context, r *bosman.Rehearsal, m *bosman.Manifest, recorder database.Recorder, i bosman.Instance) error {
	l := deploy.Launch{Instance: i, Release: r.Release, ID: fmt.Sprintf("%s.%s.%s", i.App, i.Name, bosman.Ref(bosman.LetterRelease, r.Release)), Part: deploy.PartWeb}
	if err := s.databases.Guard(ctx, l); err != nil {
		if ctx.Err() != nil {
			return err
		}
		r.State, r.Reason = bosman.RehearsalFailed, bosman.AsError(err).Message
		return nil
	}
	before, err := s.databases.schema(ctx, i)
	if err != nil {
		return err
	}
	out := &tail{max: tailLines}
	var exit string
	ok := false
	closed := &runtime.Closed{}
	command := runtime.Command{Label: "release", Shell: "renice -n 10 -p $$ >/dev/null 2>&1; " + m.Release, Stdout: out, Stderr: out, Closed: closed}
	if m.Migration.Network {
		command.Closed = nil
	}
	rec, done, err := recorder.Record(ctx, i.Database, func(ctx context.Context) error {
		begun := time.Now()
		// People and their instances come first.
		e, err := s.instances.execute(ctx, l, command)
		r.Took, ok, exit = time.Since(begun), e.OK(), e.String()
		return err
	})
	// Where it went is known also of a command that was cut short.
	r.Sessions, r.Closed, r.Outside = rec.Sessions, closed.Is, s.notOurs(closed.Outside)
	if r.Sessions == 0 {
		r.Outside = append(r.Outside, s.otherFiles(i)...)
	}
	if ctx.Err() != nil {
		r.Took = 0
		return ctx.Err()
	}
	if err == nil {
		err = done
	}
	if err != nil {
		return err
	}
	r.Output, r.Locks = out.String(), rec.Locks
	r.Others, r.OthersTook, r.Blind = rec.Others, rec.OthersTook, rec.Blind
	var texts []string
	for _, st := range rec.Statements {
		for _, text := range migration.SchemaSQL(st.SQL) {
			texts = append(texts, text)
			r.Statements = append(r.Statements, bosman.RanStatement{SQL: cutText(text, 2000), Took: st.Took, Failed: st.Failed, Error: st.Error})
			st.Took, st.Failed, st.Error = 0, false, "" // of all that were sent together
		}
	}
	r.Dangers = migration.LintSQL("", texts)
	after, err := s.databases.schema(ctx, i)
	if err != nil {
		return err
	}
	if before != nil && after != nil {
		if diff := database.Diff(*before, *after); !diff.Same() {
			r.Schema, r.Destructive = diff.String(), diff.Destructive()
		}
	}
	r.State = bosman.RehearsalPassed
	if !ok {
		r.State, r.Reason = bosman.RehearsalFailed, lastLine(r.Output, exit)
		if tried := r.Tried(); tried != "" {
			r.Reason = "it " + tried + " (" + r.Reason + ")"
		}
	}
	return nil
}

// notOurs leaves out what a command finds in its environment of Bosman itself:
// where errors are reported and mail is caught.
func (s *server) notOurs(tried []string) []string {
	ours := map[string]bool{strconv.Itoa(s.mail.Port): true}
	if u, err := url.Parse(s.addresses.intake()); err == nil {
		ours[u.Port()] = true
	}
	return slices.DeleteFunc(tried, func(place string) bool {
		host, port, err := net.SplitHostPort(place)
		ip := net.ParseIP(host)
		return err == nil && ours[port] && ip != nil && (ip.IsLoopback() || host == s.mail.Host)
	})
}

// rehearsalInstance is the instance that a rehearsal pretends to be: a Unix
// user and a key of its own, made once for each app.
func (s *server) rehearsalInstance(ctx context.Context, app string) (bosman.Instance, error) {
	i := bosman.Instance{App: app, Name: rehearsalName, Kind: bosman.KindTesting, ErrorKey: access.RandomKey(16), URL: s.addresses.Instance(app, rehearsalName, 1)}
	err := s.store.InTx(ctx, func(t *store.Store) error {
		setting := "rehearsal-user:" + app
		text, err := t.Setting(ctx, setting)
		if err != nil {
			return err
		}
		if _, err := fmt.Sscan(text, &i.UID); err == nil {
			return nil
		}
		n, err := t.Next(ctx, "", 'u')
		if err != nil {
			return err
		}
		i.UID = helm.FirstUID + n
		sealed, err := s.helm.Box.Seal(access.RandomKey(32))
		if err != nil {
			return err
		}
		if err := t.SaveSecret(ctx, store.SealedSecret{App: app, Scope: "instance:" + rehearsalName, Name: "SECRET_KEY", Sealed: sealed, SetAt: time.Now().UTC(), SetBy: "bosman"}); err != nil {
			return err
		}
		return t.SetSetting(ctx, setting, fmt.Sprint(i.UID))
	})
	return i, err
}

// clearRehearsal drops the copy and the folder of a rehearsal.
func (s *server) clearRehearsal(ctx context.Context, k *database.Keeper, i bosman.Instance) error {
	db, err := k.Engine.Find(ctx, i.Name)
	if err == nil {
		err = k.Engine.Drop(ctx, db)
	}
	if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
		return err
	}
	return os.RemoveAll(instanceDir(s.opt.Data, i.App, i.Name))
}

// cutText keeps the beginning of a long text.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + " …"
}
