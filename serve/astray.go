package serve

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/manifest"
)

// An application that cannot be asked which database it would use is watched
// on a copy before live is migrated with it:
//
//	deploy live ─► it can be asked, or live ran this before ──────────► Guard
//	      └─► rehearsal: none ─► asked for ─► running ─► over ─► astray? refused : Guard
//	                                             └ the deployment waits

// beforeLive says what a deployment to live waits for: the rehearsal of its
// release, which it asks for where there is none. An error says that live must
// not be migrated with it.
func (s *server) beforeLive(ctx context.Context, op bosman.Operation, i bosman.Instance) (string, error) {
	m, err := s.records.Manifest(ctx, op.App, op.Release)
	if err != nil || m.Database.Engine == "none" {
		return "", err
	}
	r, err := s.databases.unasked(ctx, i, op.Release, m)
	if err != nil || r == nil {
		return "", err
	}
	again := r.State == bosman.RehearsalSkipped && r.Took == 0 && r.EndedAt.Before(op.CreatedAt)
	if r.State == "" || again && r.Astray() != "" {
		r.State = bosman.RehearsalRunning
		if err := s.askRehearsal(ctx, op.App, op.Release, 0); err != nil {
			return "", err
		}
	}
	if r.State == bosman.RehearsalRunning {
		return bosman.Ref(bosman.LetterRelease, op.Release) + " is rehearsed on a copy: its application cannot be asked which database it uses", nil
	}
	return "", refuseAstray(r)
}

// cameInRehearsal refuses to migrate live with a release whose command, on a
// copy, was seen at another database, or was not seen at all. It is for
// applications that cannot be asked.
func (d *databases) cameInRehearsal(ctx context.Context, l deploy.Launch, m *bosman.Manifest) error {
	r, err := d.unasked(ctx, l.Instance, l.Release, m)
	if err != nil || r == nil {
		return err
	}
	return refuseAstray(r)
}

func refuseAstray(r *bosman.Rehearsal) error {
	ref := bosman.Ref(bosman.LetterRelease, r.Release)
	const kept = "nothing was migrated"
	switch why := r.Astray(); {
	case r.State == "" || r.State == bosman.RehearsalRunning:
		return bosman.Conflict("%s was not rehearsed yet, so nobody knows which database it uses", ref).WithKept(kept).
			WithNext("bosman rehearse " + ref + " --again --wait, then deploy again")
	case why == "":
		return nil
	case r.State == bosman.RehearsalSkipped && r.Took == 0 && len(r.Outside) == 0:
		return bosman.Conflict("%s could not be rehearsed: %s", ref, why).WithKept(kept).
			WithNext("mend that and deploy again, or set guard: in bosman.yaml; if all is well: bosman rehearse " + ref + ` --accept --why "…"`)
	default:
		return bosman.Conflict("when %s was rehearsed, %s: it may use another one", ref, why).WithKept(kept).
			WithNext("let it read DATABASE_URL, or set guard: in bosman.yaml; if all is well: bosman rehearse " + ref + ` --accept --why "…"`)
	}
}

// unasked gives the rehearsal that decides whether an instance may be migrated
// with a release, one without a state if there is none yet; nil where none is
// needed.
func (d *databases) unasked(ctx context.Context, i bosman.Instance, release int, m *bosman.Manifest) (*bosman.Rehearsal, error) {
	if i.Kind != bosman.KindLive || m.Release == "" || manifest.GuardCommand(m) != "" {
		return nil, nil
	}
	r, err := d.records.store.Rehearsal(ctx, i.App, release)
	switch {
	case bosman.KindOf(err) == bosman.KindNotFound:
		r = bosman.Rehearsal{App: i.App, Release: release}
	case err != nil:
		return nil, err
	case r.State != bosman.RehearsalRunning && r.Astray() == "":
		return nil, nil
	}
	if same, err := d.asLiveRan(ctx, i, release, m); err != nil || same {
		return nil, err
	}
	return &r, nil
}

// asLiveRan says whether the instance ran this very release command before and
// the migrations are the same: then it goes nowhere new.
func (d *databases) asLiveRan(ctx context.Context, i bosman.Instance, release int, m *bosman.Manifest) (bool, error) {
	if i.Release == 0 {
		return false, nil
	}
	before, err := d.records.Manifest(ctx, i.App, i.Release)
	if err != nil || before.Release != m.Release {
		return false, err
	}
	step, err := d.instances.helm.SchemaStep(ctx, i.App, i.Release, release)
	return err == nil && step.Empty(), err
}

// rehearsalData gives what a rehearsal runs on: a copy of staging's database.
// On behalf of a deployment an empty one will do, which shows where the command
// goes; empty says then why.
func (s *server) rehearsalData(ctx context.Context, r *bosman.Rehearsal, rel bosman.Release, k *database.Keeper, engine string, staging bosman.Instance) (db bosman.Database, empty string, err error) {
	switch staging.Database.Engine {
	case "":
		empty = "staging has no database to copy"
	case engine:
		db, r.Copy, err = k.Engine.Copy(ctx, staging.Database, rehearsalName, database.CopyOptions{
			Release: staging.Release, From: staging.Name, Accept: s.accepts(ctx, rel),
		})
		if err == nil || r.Change != 0 || ctx.Err() != nil {
			return db, "", err
		}
		empty = bosman.AsError(err).Message // its data is newer, or cannot be masked
	default:
		empty = "staging's database is of another kind"
	}
	if r.Change != 0 {
		return db, "", bosman.Conflict("%s", empty)
	}
	db, err = k.Engine.Create(ctx, rehearsalName)
	return db, empty, err
}

// otherFiles gives the SQLite files that a rehearsed command made: an
// application that does not find its database often makes one. All that it may
// write to lies in the folder of its instance.
func (s *server) otherFiles(i bosman.Instance) []string {
	var found []string
	_ = filepath.WalkDir(instanceDir(s.opt.Data, i.App, i.Name), func(path string, f fs.DirEntry, err error) error {
		if err == nil && f.Type().IsRegular() && isSQLite(path) {
			found = append(found, "the SQLite file "+f.Name())
		}
		return nil // what cannot be read is not said
	})
	return found
}

// isSQLite says whether a file begins as SQLite's do.
func isSQLite(path string) bool {
	const magic = "SQLite format 3\x00"
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // it was read
	b := make([]byte, len(magic))
	_, err = io.ReadFull(f, b)
	return err == nil && string(b) == magic
}
