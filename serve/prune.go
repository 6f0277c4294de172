package serve

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build"
	"github.com/bosman-cd/bosman/internal/faults"
)

// How long logs and reports of builds stay: all younger ones and the newest
// ones, but never more than the most; workspaces that a killed build left go
// after an hour.
const (
	keepLogsFor = 30 * 24 * time.Hour
	keepLogs    = 50
	mostLogs    = 1000
	keepWork    = time.Hour
)

// pruneBuilds removes logs and reports of an app's old builds: not of those
// that do not rest, that made a release which is needed, or that are the
// newest of main or of an open change. The row says so before they go.
func (s *server) pruneBuilds(ctx context.Context, app string, needed map[int]bool, now time.Time) error {
	kept, err := build.Kept(s.opt.Data, app)
	if err != nil || len(kept) == 0 {
		return err
	}
	spared, err := s.sparedBuilds(ctx, app, needed)
	if err != nil {
		return err
	}
	slices.SortFunc(kept, func(a, b int) int { return b - a }) // newest first
	for place, n := range kept {
		b, err := s.store.Build(ctx, app, n)
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue // it is being made
		}
		if err != nil {
			return err
		}
		age := now.Sub(b.EndedAt)
		old := b.State.Final() && !spared[n] && (place >= keepLogs && age > keepLogsFor || place >= mostLogs && age > keepWork)
		if b.PrunedAt.IsZero() {
			if !old {
				continue
			}
			b.PrunedAt, b.Report = now.UTC(), nil
			if err := s.store.SaveBuild(ctx, b); err != nil {
				return err
			}
			if err := faults.Point("serve.prune.marked"); err != nil {
				return err
			}
		}
		if err := build.Remove(s.opt.Data, app, n); err != nil {
			return err
		}
	}
	return nil
}

// sparedBuilds are the builds that made needed releases or gave them to main,
// and the newest of main and of each open change.
func (s *server) sparedBuilds(ctx context.Context, app string, needed map[int]bool) (map[int]bool, error) {
	all, err := s.store.Builds(ctx, app, -1, 0)
	if err != nil {
		return nil, err
	}
	open, err := s.store.Changes(ctx, app, bosman.ChangeOpen, 0)
	if err != nil {
		return nil, err
	}
	newest := map[int]bool{0: true} // of what a newest one is still to come
	for _, c := range open {
		newest[c.Number] = true
	}
	out := map[int]bool{}
	for _, b := range all { // newest first
		if newest[b.Change] {
			out[b.Number] = true
			delete(newest, b.Change)
		}
		if b.Release != 0 && needed[b.Release] {
			out[b.Number] = true
		}
	}
	return out, nil
}

// sweepWork removes what killed builds left of their workspaces.
func (s *server) sweepWork(ctx context.Context, now time.Time) error {
	unfinished, err := s.store.UnfinishedBuilds(ctx)
	if err != nil {
		return err
	}
	_, err = build.SweepWork(s.opt.Data, now.Add(-keepWork), func(app string, n int) bool {
		return slices.ContainsFunc(unfinished, func(b bosman.Build) bool { return b.App == app && b.Number == n })
	})
	return err
}

// measureTime bounds how long the doctor counts.
const measureTime = 20 * time.Second

// takenFinding says what the parts of the data folder take on the disk. A file
// that several releases share counts once.
func takenFinding(ctx context.Context, data string) []finding {
	if _, err := os.Stat(data); err != nil {
		return nil // dataFolder says it
	}
	ctx, cancel := context.WithTimeout(ctx, measureTime)
	defer cancel()
	seen := map[inode]bool{}
	var parts []string
	for _, p := range []struct{ dir, what, of string }{
		{"releases", "releases", "*/r*"},
		{"cache", "results of build steps", ""},
		{"builds", "logs and reports of builds", "*/b*"},
		{"work", "workspaces of builds", "*/b*"},
		{"git", "repositories", "*.git"},
		{"instances", "files and logs of instances", "*/*"},
		{"backups", "backups", ""},
		{"postgres", "PostgreSQL", ""},
		{"mariadb", "MariaDB", ""},
		{"sqlite", "SQLite", ""},
	} {
		n := taken(ctx, filepath.Join(data, p.dir), seen)
		if n == 0 {
			continue
		}
		text := p.what + " " + size(n)
		if p.of != "" {
			if all, err := filepath.Glob(filepath.Join(data, p.dir, p.of)); err == nil {
				text += fmt.Sprintf(" (%d)", len(all))
			}
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return nil
	}
	what := "the data folder takes: "
	if ctx.Err() != nil {
		what = "the data folder takes at least (it was not counted to the end): "
	}
	return []finding{{good: true, what: what + strings.Join(parts, ", ")}}
}

type inode struct{ dev, ino uint64 }

// taken adds up the blocks of the files below dir that were not seen before.
// What cannot be read does not count.
func taken(ctx context.Context, dir string, seen map[inode]bool) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // ends early at the end of ctx only
		if ctx.Err() != nil {
			return fs.SkipAll
		}
		if err != nil {
			return nil //nolint:nilerr // gone, or not ours to read
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // gone
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			id := inode{uint64(st.Dev), st.Ino} //nolint:unconvert // int32 on some hosts
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		sum += st.Blocks * 512
		return nil
	})
	return sum
}
