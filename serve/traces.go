package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/deploy"
)

// traces tell of changes that no count of rows shows, see database.Tracer, and
// of the instance's files.
type traces map[string]string

// traceFiles is the trace of an instance's files; unseen is that of more than
// can be looked at in time.
const (
	traceFiles = "files"
	unseen     = "?"
)

const (
	// filesLimit bounds how long files are looked at: requests may be waiting.
	filesLimit = 2 * time.Second
	// settleLimit bounds how long the sessions of processes that have ended may
	// hold up a change of places.
	settleLimit = 3 * time.Second
)

// traces reads them as they are now.
func (d *databases) traces(ctx context.Context, i bosman.Instance) (traces, error) {
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return nil, err
	}
	out := traces{}
	if t, ok := k.Engine.(database.Tracer); ok {
		if out, err = t.Traces(ctx, i.Database); err != nil {
			return nil, err
		}
	}
	out[traceFiles], err = filesTrace(ctx, d.files(i), time.Now().Add(filesLimit))
	return out, err
}

// filesTrace gives number, size and newest change of the files under a folder.
// What is written, renamed or made has a newer change, what is removed is one
// less.
func filesTrace(ctx context.Context, dir string, until time.Time) (string, error) {
	var count, size, newest int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && time.Now().After(until) {
			err = errTooMany
		}
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) { // it has just gone
			return nil
		}
		if err != nil {
			return err
		}
		if e.IsDir() {
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		count, size = count+1, size+info.Size()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			newest = max(newest, st.Ctim.Nano())
		}
		return nil
	})
	if errors.Is(err, errTooMany) {
		return unseen, nil
	}
	return fmt.Sprint(count, size, newest), err
}

var errTooMany = errors.New("too many files to look at in time")

// Settled waits until the processes of i have let go of its database.
func (d *databases) Settled(ctx context.Context, i bosman.Instance, since time.Time) (bool, error) {
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return false, err
	}
	s, ok := k.Engine.(database.Settler)
	if !ok { // nothing is counted late there
		return true, nil
	}
	return s.Settled(ctx, i.Database, since, settleLimit)
}

// traced adds to what was counted what the traces tell. Between the beginning
// and the end of the release command it is the command that leaves them,
// unless others were let in.
func (m marks) traced(w bosman.Written, now traces) bosman.Written {
	if !w.Known {
		return w
	}
	backup, migrate := m.Traces[deploy.MomentBackup], m.Traces[deploy.MomentMigrate]
	migrated, ended := m.Traces[deploy.MomentMigrated]
	_, held := m.At[deploy.MomentHeld]
	if backup == nil || now == nil { // nobody looked
		w.Certain = false
		return w
	}
	changed := map[string]bool{}
	compare := func(before, after traces) {
		for what, trace := range before {
			is, there := after[what]
			switch {
			case !there: // a table that was dropped: the schema tells
			case trace == unseen || is == unseen:
				w.Certain = false
			case trace != is:
				changed[what] = true
			}
		}
	}
	switch {
	case migrate == nil:
		compare(backup, now)
	case !ended:
		compare(backup, migrate)
		w.Certain = false
	default:
		compare(backup, migrate)
		compare(migrated, now)
		for what, trace := range migrate {
			if is, there := migrated[what]; there && is != trace && what != database.TraceSchema && !held {
				w.Certain = false
			}
		}
	}
	for _, what := range slices.Sorted(maps.Keys(changed)) {
		if what == traceFiles {
			w.Other = append(w.Other, "files were changed")
			continue
		}
		w.Other = append(w.Other, database.TraceWords(what))
	}
	const shown = 8
	if more := len(w.Other) - shown; more > 0 {
		w.Other = append(w.Other[:shown], fmt.Sprintf("and %d more", more))
	}
	return w
}
