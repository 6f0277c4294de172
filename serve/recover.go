package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/custody"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/release"
	"github.com/bosman-cd/bosman/source"
	"github.com/bosman-cd/bosman/store"
	"github.com/bosman-cd/bosman/vault"
)

// RecoverOptions say from what a lost Bosman is brought back, and where to.
type RecoverOptions struct {
	Data  string                 // empty, missing, or begun by an earlier run
	From  string                 // the target
	Key   func() (string, error) // gives the recovery key
	State string                 // an older state; "" is the newest
	List  bool                   // only list the states
	Log   *slog.Logger
}

// recovering is the note of a recovery under way, in DATA. While it is there
// nothing serves from DATA.
const recovering = "recovering.json"

// progress is what the note says: what was done is not done again.
//
//	rows ─► git/APP … ─► release/APP/rN … ─► mended ─► data/APP/INSTANCE … ─► (note removed)
type progress struct {
	From  string   `json:"from"`
	State string   `json:"state"` // its name in the vault
	Done  []string `json:"done"`
	Lost  []string `json:"lost"` // what could not be brought back, for people

	Moments map[string]time.Time `json:"moments"` // app/instance → of the data it has
}

// recovery is one run of Recover.
type recovery struct {
	opt   RecoverOptions
	out   io.Writer
	vault *vault.Store
	keys  *vault.Keys
	state custody.State
	p     progress

	store    *store.Store
	repos    *source.Repos
	releases *release.Store
	dbs      *databases
}

// Recover brings a lost Bosman back into an empty data folder: its state,
// repositories, the releases that serve, and the data of live and staging
// from their newest verified backups. It may be repeated after it was
// interrupted. What could not be brought back is said and is no error, unless
// nothing could.
func Recover(ctx context.Context, opt RecoverOptions, out io.Writer) (err error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	r := &recovery{opt: opt, out: out}
	if r.opt.Data, err = filepath.Abs(opt.Data); err != nil {
		return err
	}
	if !opt.List {
		if err := r.begun(); err != nil {
			return err
		}
	}
	if err := r.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.vault.Close()) }()
	if opt.List {
		return r.list(ctx)
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(r.opt.Data, "serve.lock"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := r.bring(ctx); err != nil {
		return err
	}
	return r.finish()
}

// begun reads the note of an earlier run, or sees that the folder is empty.
func (r *recovery) begun() error {
	b, err := os.ReadFile(r.path(recovering))
	if err == nil {
		if err := json.Unmarshal(b, &r.p); err != nil {
			return bosman.Unavailable("the note of an interrupted recovery cannot be read").Because(err).WithNext("empty " + r.opt.Data + " and begin again")
		}
		if r.p.From != r.opt.From {
			return bosman.Conflict("%s is being recovered from %s", r.opt.Data, r.p.From).WithKept("it is as it was").WithNext("go on with that target, or name another folder with --data")
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return bosman.Unavailable("%s cannot be read", r.opt.Data).Because(err)
	}
	entries, err := os.ReadDir(r.opt.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return bosman.Unavailable("%s cannot be read", r.opt.Data).Because(err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "lost+found" })
	if len(entries) > 0 {
		return bosman.Conflict("%s is not empty: it holds %s", r.opt.Data, entries[0].Name()).
			WithKept("nothing was changed").WithNext("name an empty folder with --data")
	}
	return nil
}

func (r *recovery) path(parts ...string) string {
	return filepath.Join(append([]string{r.opt.Data}, parts...)...)
}

// open asks for the key and opens the target with it.
func (r *recovery) open(ctx context.Context) error {
	secret, err := r.opt.Key()
	if err != nil {
		return err
	}
	if r.keys, err = vault.ParseKey(secret); err != nil {
		return err
	}
	r.vault, err = vault.Open(ctx, r.opt.From, vault.Options{Keys: r.keys, S3: vault.S3FromEnv(os.Getenv)})
	return err
}

func (r *recovery) say(format string, args ...any) error {
	_, err := fmt.Fprintf(r.out, format+"\n", args...)
	return err
}

func (r *recovery) list(ctx context.Context) error {
	names, err := custody.States(ctx, r.vault)
	if err != nil {
		return err
	}
	for _, name := range names {
		short := name[strings.LastIndexByte(name, '/')+1:]
		st, _, err := custody.Newest(ctx, r.vault, short)
		if err != nil {
			err = r.say("%s  cannot be used: %s", short, bosman.AsError(err).Message)
		} else {
			err = r.say("%s  from %s, bosman %s, %d repositories, %d releases", short, st.Host, st.Version, len(st.Repos), len(st.Releases))
		}
		if err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return r.say("there is no backup of Bosman's own state in %s", r.vault.Target())
	}
	return r.listLog(ctx)
}

// begin chooses the state and notes it.
func (r *recovery) begin(ctx context.Context) error {
	named := strings.TrimPrefix(r.p.State, "bosman/state/")
	if named == "" {
		named = r.opt.State
	}
	st, skipped, err := custody.Newest(ctx, r.vault, named)
	if err != nil {
		return err
	}
	r.state = st
	for _, s := range skipped {
		if err := r.say("passed over a newer state: %s", s); err != nil {
			return err
		}
	}
	again := ""
	if r.p.State != "" {
		again = "going on with "
	}
	if err := r.say("%sthe state of %s (%s ago), written by bosman %s on %s", again, st.At.Format("2006-01-02 15:04:05 MST"), time.Since(st.At).Round(time.Second), st.Version, st.Host); err != nil {
		return err
	}
	if err := os.MkdirAll(r.opt.Data, 0o755); err != nil {
		return bosman.Unavailable("%s cannot be made", r.opt.Data).Because(err)
	}
	r.p.From, r.p.State = r.opt.From, st.Name
	return r.note()
}

func (r *recovery) note() error {
	b, err := json.MarshalIndent(r.p, "", "  ")
	if err == nil {
		err = atomicfile.Write(r.path(recovering), append(b, '\n'), 0o600)
	}
	if err != nil {
		return bosman.Unavailable("what was done cannot be noted").Because(err).WithKept("what was brought back stays").WithNext("free space and run the same command again")
	}
	return nil
}

// step does something once, also when the recovery is run again.
func (r *recovery) step(name, what string, do func() error) error {
	if slices.Contains(r.p.Done, name) {
		return nil
	}
	begun := time.Now()
	if err := do(); err != nil {
		return err
	}
	if err := faults.Point("recover." + strings.SplitN(name, "/", 2)[0]); err != nil {
		return err
	}
	r.p.Done = append(r.p.Done, name)
	if err := r.note(); err != nil {
		return err
	}
	if what == "" {
		return nil
	}
	return r.say("✓ %s (%s)", what, short(time.Since(begun)))
}

// lose notes what could not be brought back.
func (r *recovery) lose(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	r.p.Lost = append(r.p.Lost, line)
	return r.say("✕ %s", line)
}

// bring does all steps in order.
func (r *recovery) bring(ctx context.Context) (err error) {
	if err := r.step("rows", "rows, keys and settings", func() error { return custody.Bring(ctx, r.vault, r.state, r.opt.Data) }); err != nil {
		return err
	}
	own, err := vault.OpenKeys(r.path("backup.key"))
	if err != nil {
		return err
	}
	own.Add(r.keys) // backups made before there was a recovery key open with the server's
	r.keys.Add(own)
	if r.store, err = store.Open(ctx, r.path("bosman.db")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.store.Close()) }()
	r.releases = release.New(r.path("releases"), parse)
	if r.repos, err = source.New(ctx, r.path("git")); err != nil {
		return err
	}
	for _, p := range r.state.Repos {
		if err := r.step("git/"+p.App, "the repository of "+p.App, func() error {
			return custody.BringBundle(ctx, r.vault, p, r.opt.Data, func(file string) error {
				return r.repos.Unbundle(ctx, p.App, p.Main, file, p.Digest)
			})
		}); err != nil {
			return err
		}
	}
	for _, p := range r.state.Releases {
		if err := r.bringRelease(ctx, p); err != nil {
			return err
		}
	}
	if err := r.step("mended", "", func() error { return r.mend(ctx) }); err != nil {
		return err
	}
	if err := r.bringData(ctx, own); err != nil {
		return err
	}
	return r.offerLog(ctx)
}

func (r *recovery) bringRelease(ctx context.Context, p custody.Part) error {
	ref := bosman.Ref(bosman.LetterRelease, p.Number)
	return r.step(fmt.Sprintf("release/%s/%s", p.App, ref), fmt.Sprintf("release %s of %s", ref, p.App), func() error {
		err := custody.BringRelease(ctx, r.vault, p, r.releases.Dir(p.App, p.Number))
		if err == nil {
			if err = r.releases.Verify(p.App, p.Number); err != nil {
				err = errors.Join(err, r.releases.Remove(p.App, p.Number))
			}
		}
		switch kind := bosman.KindOf(err); kind {
		case bosman.KindFailed, bosman.KindConflict, bosman.KindNotFound, bosman.KindForbidden:
			return r.lose("release %s of %s: %s", ref, p.App, bosman.AsError(err).Message)
		}
		return err
	})
}

// mend makes the rows true here: what ran when they were copied does not, and
// what was not brought back is not here.
func (r *recovery) mend(ctx context.Context) error {
	now := time.Now().UTC()
	why := bosman.Failed("the server was lost while it ran").WithKept("the state is as it was on " + r.state.At.Format("2006-01-02 15:04 MST")).WithNext("ask for it again if it is still wanted")
	line := bosman.Activity{At: now, Who: "bosman", From: "recover", What: fmt.Sprintf("brought back from %s, as of %s", r.vault.Target(), r.state.At.Format(time.RFC3339))}
	ended, err := r.store.Abandon(ctx, why, line)
	if err != nil {
		return err
	}
	for _, op := range ended {
		if err := r.lose("%s was under way and has ended", op); err != nil {
			return err
		}
	}
	apps, err := r.store.Apps(ctx)
	if err != nil {
		return err
	}
	for _, app := range apps {
		if err := r.mendApp(ctx, app.Name, now); err != nil {
			return err
		}
	}
	return nil
}

func (r *recovery) mendApp(ctx context.Context, app string, now time.Time) error {
	return r.store.InTx(ctx, func(s *store.Store) error {
		releases, err := s.Releases(ctx, app, 0)
		if err != nil {
			return err
		}
		for _, rel := range releases {
			if here, err := r.releases.Load(app, rel.Number); err == nil {
				rel.Dir = here.Dir
			} else if rel.PrunedAt.IsZero() {
				rel.PrunedAt = now
			}
			if err := s.SaveRelease(ctx, rel); err != nil {
				return err
			}
		}
		backups, err := s.Backups(ctx, app, "", 0)
		if err != nil {
			return err
		}
		for _, b := range backups {
			if b.Name != "" && b.Where == r.state.Target {
				b.Where = r.opt.From
				if err := s.SaveBackup(ctx, b); err != nil {
					return err
				}
			}
		}
		all, err := s.Instances(ctx, app)
		if err != nil {
			return err
		}
		for _, i := range all {
			if i.Kind == bosman.KindLive || i.Kind == bosman.KindStaging || i.Release == 0 {
				continue
			}
			if err := r.lose("the copy on %s of %s: give it a fresh one with bosman try", i.Name, app); err != nil {
				return err
			}
			if err := s.SaveInstance(ctx, emptied(i)); err != nil {
				return err
			}
		}
		return nil
	})
}

// emptied is an instance to which nothing was ever deployed.
func emptied(i bosman.Instance) bosman.Instance {
	i.Release, i.Previous, i.Change, i.ProcessID, i.Stopped, i.Operation = 0, 0, 0, "", false, 0
	i.Database, i.Copy, i.State, i.Note = bosman.Database{}, bosman.CopyInfo{}, bosman.InstanceEmpty, "its data was lost with the server"
	return i
}

// finish removes the note and says what to do next.
func (r *recovery) finish() error {
	lost := r.p.Lost
	if err := os.Remove(r.path(recovering)); err != nil {
		return bosman.Unavailable("the note of the recovery cannot be removed").Because(err)
	}
	if err := r.say("\nNot brought back: logs of builds and instances, bodies of error reports, caches, and older releases: they are built again when asked for."); err != nil {
		return err
	}
	for _, line := range lost {
		if err := r.say("✕ %s", line); err != nil {
			return err
		}
	}
	flags := slices.DeleteFunc(slices.Clone(r.state.Flags), func(f string) bool { return strings.HasPrefix(f, "--backup-target ") })
	flags = append([]string{"--data " + r.opt.Data}, append(flags, "--backup-target "+r.opt.From)...)
	return r.say("\nBosman is back as of %s. Start it:\n\n    bosman serve %s\n", r.state.At.Format("2006-01-02 15:04:05 MST"), strings.Join(flags, " "))
}

// refuseRecovering keeps serve from a folder whose recovery is not finished.
func refuseRecovering(data string) error {
	if _, err := os.Lstat(filepath.Join(data, recovering)); err != nil {
		return nil //nolint:nilerr // there is no note
	}
	return bosman.Conflict("the recovery of %s was interrupted", data).WithKept("what was brought back stays").
		WithNext("finish it with the same bosman recover command")
}
