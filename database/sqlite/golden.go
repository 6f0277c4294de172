package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Golden copies are made only of data that has to be masked: any other copy is
// made of the source itself.
const (
	keepGoldens  = 2               // a change made before the last migration may need the one before
	quickRefresh = 3 * time.Second // what a tester waits for fresher data without having asked for it
)

// label lies beside a database: where its content came from.
type label struct {
	bosman.CopyInfo
	Source  string `json:"source,omitempty"`  // the file that a golden copy is of
	Mask    string `json:"mask,omitempty"`    // version of its masks
	Written string `json:"written,omitempty"` // see written
}

// generation is one golden copy.
type generation struct {
	name string
	label
}

func (e *Engine) asGolden(g generation) database.Golden {
	return database.Golden{Database: e.database(g.name), Copy: g.CopyInfo}
}

// generations gives the golden copies of from, newest first.
func (e *Engine) generations(ctx context.Context, from bosman.Database) ([]generation, error) {
	all, err := e.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []generation
	for _, x := range all {
		if !x.Golden {
			continue
		}
		g := generation{name: x.Name}
		err := readLabel(e.folder(x.Name), &g.label)
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile
		}
		if err != nil {
			return nil, trouble("read where "+x.Name+" came from", err)
		}
		if g.Source == from.Name {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b generation) int { return b.TakenAt.Compare(a.TakenAt) })
	return out, nil
}

// Goldens implements database.Refresher.
func (e *Engine) Goldens(ctx context.Context, from bosman.Database) ([]database.Golden, error) {
	all, err := e.generations(ctx, from)
	out := make([]database.Golden, 0, len(all))
	for _, g := range all {
		out = append(out, e.asGolden(g))
	}
	return out, err
}

// offered are the generations with the masks of now.
func (e *Engine) offered(ctx context.Context, from bosman.Database, release int) ([]generation, error) {
	name, err := e.nameOf(from)
	if err != nil {
		return nil, err
	}
	_, version, err := e.masking.Spec(ctx, name, release)
	if err != nil {
		return nil, err
	}
	all, err := e.generations(ctx, from)
	return slices.DeleteFunc(all, func(g generation) bool { return g.Mask != version }), err
}

// Offered implements database.Refresher.
func (e *Engine) Offered(ctx context.Context, from bosman.Database, release int) ([]database.Golden, error) {
	if masked, err := e.isMasked(ctx, from, release); !masked || err != nil {
		return nil, err // copies are made of the source itself
	}
	all, err := e.offered(ctx, from, release)
	out := make([]database.Golden, 0, len(all))
	for _, g := range all {
		out = append(out, e.asGolden(g))
	}
	return out, err
}

// written tells the states of a database file apart by size and time, with
// what waits in its -wal file.
func written(path string) (string, error) {
	state := ""
	for _, name := range []string{path, path + "-wal"} {
		info, err := os.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && name != path:
		case err != nil:
			return "", trouble("look at database "+path, err)
		case info.Size() > 0: // an empty -wal file says nothing
			state += fmt.Sprintf("%d@%d ", info.Size(), info.ModTime().UnixNano())
		}
	}
	return state, nil
}

// settled is written after the -wal file was written back, if it can be.
func settled(ctx context.Context, path string) (state string, err error) {
	err = quiet(ctx, path, func() error {
		state, err = written(path)
		return err
	})
	if bosman.KindOf(err) == bosman.KindBusy { // a long writer
		return written(path)
	}
	return state, err
}

// Stale implements database.Refresher.
func (e *Engine) Stale(ctx context.Context, from bosman.Database) (bool, error) {
	all, err := e.generations(ctx, from)
	if err != nil || len(all) == 0 {
		return true, err
	}
	now, err := written(from.Name)
	return now != all[0].Written, err
}

// Refresh implements database.Refresher. Of data that is not masked there is
// no golden copy: it gives none, and drops those from before.
func (e *Engine) Refresh(ctx context.Context, from bosman.Database, release int) (database.Golden, error) {
	g, err := e.refresh(ctx, from, release, false)
	if err != nil || g.name == "" {
		return database.Golden{}, err
	}
	return e.asGolden(g), nil
}

// refresh makes a new generation unless nothing was written since the newest;
// always if exact.
func (e *Engine) refresh(ctx context.Context, from bosman.Database, release int, exact bool) (none generation, err error) {
	name, err := e.nameOf(from)
	if err != nil {
		return none, err
	}
	if err := exists(from.Name); err != nil {
		return none, err
	}
	done, err := e.turn.Wait(ctx, "golden copy")
	if err != nil {
		return none, err
	}
	defer done()
	spec, version, err := e.masking.Spec(ctx, name, release)
	if err != nil {
		return none, err
	}
	if spec.Empty() {
		return none, e.dropGoldens(ctx, from, 0)
	}
	all, err := e.generations(ctx, from)
	if err != nil {
		return none, err
	}
	now, err := settled(ctx, from.Name)
	if err != nil {
		return none, err
	}
	if len(all) > 0 && !exact && all[0].Release == release && all[0].Mask == version && all[0].Written == now {
		return all[0], nil
	}
	g := generation{label: label{
		CopyInfo: bosman.CopyInfo{From: name, Release: release}, Source: from.Name, Mask: version, Written: now,
	}}
	if err := e.makeGolden(ctx, &g, name, spec); err != nil {
		return none, err
	}
	return g, e.dropGoldens(ctx, from, keepGoldens)
}

// makeGolden copies the file that g names and masks the copy while it lies in
// a folder that is handed out to nobody, and that Recover removes.
func (e *Engine) makeGolden(ctx context.Context, g *generation, name string, spec mask.Spec) error {
	begun := time.Now()
	g.name = database.GoldenName(name, begun)
	_, err := e.make(ctx, g.name, func(file string) (label, error) {
		g.TakenAt = time.Now().UTC()
		var err error
		if g.Strategy, err = copyFile(ctx, g.Source, file); err != nil {
			return g.label, err
		}
		if err := faults.Point("database.golden.made"); err != nil {
			return g.label, err
		}
		if err := e.mask(ctx, file, spec); err != nil {
			return g.label, err
		}
		g.Bytes, err = sizeOf(file)
		g.Took = time.Since(begun)
		return g.label, err
	})
	if err != nil {
		return err
	}
	return faults.Point("database.golden.shown")
}

// dropGoldens drops all generations of from but the newest ones.
func (e *Engine) dropGoldens(ctx context.Context, from bosman.Database, keep int) error {
	e.golden.Lock() // after the copies under way
	defer e.golden.Unlock()
	all, err := e.generations(ctx, from)
	if err != nil {
		return err
	}
	for i, g := range all {
		if i < keep {
			continue
		}
		if err := e.Drop(ctx, e.database(g.name)); err != nil {
			return err
		}
	}
	return nil
}

// choose finds or makes the generation to copy: one with other masks than
// those of now is not handed out.
func (e *Engine) choose(ctx context.Context, from bosman.Database, opt database.CopyOptions) (generation, error) {
	return database.Generations[generation]{
		All:     func() ([]generation, error) { return e.offered(ctx, from, opt.Release) },
		Copy:    func(g generation) bosman.CopyInfo { return g.CopyInfo },
		Stale:   func() (bool, error) { return e.Stale(ctx, from) },
		Refresh: func(exact bool) (generation, error) { return e.refresh(ctx, from, opt.Release, exact) },
		Quick:   quickRefresh,
		Now:     time.Now(),
	}.Choose(from, opt)
}

// copyGolden makes a copy by way of a golden one.
func (e *Engine) copyGolden(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	begun := time.Now()
	if opt.From == "" {
		opt.From = from.Name
	}
	for range 3 {
		g, err := e.choose(ctx, from, opt)
		if err != nil {
			return bosman.Database{}, bosman.CopyInfo{}, err
		}
		d, info, err := e.cloneGolden(ctx, g, to, opt.From, begun)
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue // a newer generation took its place
		}
		return d, info, err
	}
	return bosman.Database{}, bosman.CopyInfo{}, bosman.Busy("the golden copy of %s is being replaced again and again", opt.From).WithNext("try again")
}

func (e *Engine) cloneGolden(ctx context.Context, g generation, to, from string, begun time.Time) (bosman.Database, bosman.CopyInfo, error) {
	e.golden.RLock()
	defer e.golden.RUnlock()
	info := g.CopyInfo
	info.From = from
	source := e.database(g.name)
	if err := exists(source.Name); err != nil {
		return bosman.Database{}, info, err
	}
	d, err := e.make(ctx, to, func(file string) (label, error) {
		cloned, err := database.CopyFile(source.Name, file, 0o640) // nobody writes there
		if err != nil {
			return label{}, err
		}
		if info.Strategy = "file"; cloned {
			info.Strategy = "clone"
		}
		info.Bytes, err = sizeOf(file)
		info.Took = time.Since(begun)
		return label{CopyInfo: info}, err
	})
	info.Took = time.Since(begun)
	return d, info, err
}
