package clone

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/database/storage"
	"github.com/bosman-cd/bosman/internal/faults"
)

// keepGoldens is how many generations stay: a change made before the last
// migration may need the one before. A copy does not need its own any more.
const keepGoldens = 2

// Strategy is what bosman.CopyInfo says of a copy that shares the blocks of a
// golden cluster.
const Strategy = "reflink"

// quickRefresh is how long a tester waits for fresher data without having asked
// for it.
const quickRefresh = 3 * time.Second

// Copy implements database.Engine: from another server by way of a golden
// copy, from one here by a dump.
func (e *Engine) Copy(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	if from.Cluster == Cluster && opt.Still {
		return e.copyStill(ctx, from, to, opt)
	}
	if from.Cluster == Cluster {
		return e.copyByDump(ctx, from, to, opt)
	}
	begun := time.Now()
	if opt.From == "" {
		opt.From = from.Name
	}
	for range 3 {
		g, err := e.choose(ctx, from, opt)
		if err != nil {
			return bosman.Database{}, bosman.CopyInfo{}, err
		}
		if !opt.Exact {
			d, info, ok, err := e.handOut(ctx, g, to, opt.From)
			if err != nil || ok {
				return d, info, err
			}
		}
		d, info, gone, err := e.copyGolden(ctx, g, to, opt.From)
		if gone {
			continue // a newer generation took its place
		}
		info.Took = time.Since(begun)
		return d, info, err
	}
	return bosman.Database{}, bosman.CopyInfo{}, bosman.Busy("the golden copy of %s is being replaced again and again", from.Name).WithNext("try again")
}

// copyGolden makes a server that is a copy of a golden one.
func (e *Engine) copyGolden(ctx context.Context, g entry, to, from string) (d bosman.Database, info bosman.CopyInfo, gone bool, err error) {
	d, release, err := e.begin(ctx, to)
	if err != nil {
		return d, info, false, err
	}
	defer release()
	x := entry{Name: to, Copy: g.Copy, Of: origin(g)}
	x.Copy.From, x.Copy.Strategy = from, Strategy
	e.host.goldens.RLock()
	data := filepath.Join(e.folder(g), "data")
	if gone = !there(data); gone {
		e.host.goldens.RUnlock()
		return d, info, gone, nil
	}
	dir, _, err := e.plant(ctx, data, "servers")
	e.host.goldens.RUnlock()
	if err != nil {
		return d, info, false, err
	}
	x.ID = filepath.Base(dir)
	err = e.launch(ctx, x)
	if err == nil {
		err = faults.Point("clone.launched")
	}
	if err != nil {
		return d, info, false, e.host.discard(ctx, dir, err)
	}
	return d, x.Copy, false, e.enter(ctx, x, dir)
}

// copyByDump copies a database here that stays in use.
func (e *Engine) copyByDump(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	begun := time.Now()
	in, back, err := e.borrow(ctx, from)
	if err != nil {
		return bosman.Database{}, bosman.CopyInfo{}, err
	}
	defer back()
	if err := opt.Suits(from, opt.Release); err != nil {
		return bosman.Database{}, bosman.CopyInfo{}, err
	}
	var info bosman.CopyInfo
	d, err := e.fresh(ctx, to, func(target *postgres.Engine) (bosman.CopyInfo, error) {
		_, info, err = target.CopyByDumpFrom(ctx, in, from, to, opt)
		return info, err
	})
	info.Took = time.Since(begun)
	return d, info, err
}

// copyStill copies a database here that nobody uses: its server is stopped
// until its blocks are shared.
func (e *Engine) copyStill(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	begun := time.Now()
	info := bosman.CopyInfo{From: opt.From, TakenAt: e.now().UTC(), Release: opt.Release, Strategy: Strategy}
	source, err := e.entryOf(from)
	if err != nil {
		return bosman.Database{}, info, err
	}
	d, release, err := e.begin(ctx, to)
	if err != nil {
		return d, info, err
	}
	defer release()
	held, err := e.host.claim(ctx, e.app, source.Name)
	if err != nil {
		return d, info, err
	}
	defer held()
	server := e.host.server(e.folder(source))
	if err := server.Stop(ctx); err != nil {
		return d, info, err
	}
	dir, tree, err := e.plant(ctx, filepath.Join(e.folder(source), "data"), "servers")
	if !source.Parked {
		again, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if lerr := e.launch(again, source); lerr != nil && err == nil {
			err = e.host.discard(ctx, dir, lerr)
		}
	}
	if err != nil {
		return d, info, err
	}
	info.Bytes = tree.Bytes
	x := entry{ID: filepath.Base(dir), Name: to, Copy: info}
	if err := e.launch(ctx, x); err != nil {
		return d, info, e.host.discard(ctx, dir, err)
	}
	info.Took = time.Since(begun)
	return d, info, e.enter(ctx, x, dir)
}

// choose finds or makes the generation to copy.
func (e *Engine) choose(ctx context.Context, from bosman.Database, opt database.CopyOptions) (entry, error) {
	return database.Generations[entry]{
		All:     func() ([]entry, error) { return e.masked(ctx, from, opt.Release) },
		Copy:    func(g entry) bosman.CopyInfo { return g.Copy },
		Stale:   func() (bool, error) { return e.Stale(ctx, from) },
		Refresh: func(exact bool) (entry, error) { return e.refresh(ctx, from, opt.Release, exact) },
		Quick:   quickRefresh,
		Now:     e.now(),
	}.Choose(from, opt)
}

// generations gives the golden copies of from, newest first.
func (e *Engine) generations(from bosman.Database) ([]entry, error) {
	x, err := e.host.read(e.app)
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(x.Entries, func(en entry) bool {
		return en.Golden == nil || en.Golden.Source != from.Cluster+"/"+from.Name
	})
	slices.SortFunc(all, func(a, b entry) int { return b.Copy.TakenAt.Compare(a.Copy.TakenAt) })
	return all, nil
}

// Goldens implements database.Refresher.
func (e *Engine) Goldens(_ context.Context, from bosman.Database) ([]database.Golden, error) {
	all, err := e.generations(from)
	return database.GoldensOf(all, e.asGolden), err
}

func (e *Engine) asGolden(g entry) database.Golden {
	return database.GoldenOf(e.describe(g.Name), g.Copy)
}

// Stale implements database.Refresher.
func (e *Engine) Stale(ctx context.Context, from bosman.Database) (bool, error) {
	all, err := e.generations(from)
	if err != nil || len(all) == 0 {
		return true, err
	}
	now, err := e.face.Mark(ctx, from)
	return err == nil && now.Data != all[0].Golden.Mark.Data, err
}

// Refresh implements database.Refresher.
func (e *Engine) Refresh(ctx context.Context, from bosman.Database, release int) (database.Golden, error) {
	if from.Cluster == Cluster {
		return database.Golden{}, bosman.Invalid("%s is a copy itself: golden copies are made of databases on other servers", from.Name)
	}
	g, err := e.refresh(ctx, from, release, false)
	return e.asGolden(g), err
}

// refresh makes a new generation. exact makes one also if nothing but other
// databases of the source's server were written to.
func (e *Engine) refresh(ctx context.Context, from bosman.Database, release int, exact bool) (entry, error) {
	unlock, err := e.host.wait(ctx, e.app, "golden copy of "+from.Cluster+"/"+from.Name)
	if err != nil {
		return entry{}, err
	}
	defer unlock()
	now, err := e.face.Mark(ctx, from)
	if err != nil {
		return entry{}, err
	}
	all, err := e.generations(from)
	if err != nil {
		return entry{}, err
	}
	spec, version, err := e.maskSpec(ctx, from, release)
	if err != nil {
		return entry{}, err
	}
	if len(all) > 0 && all[0].Copy.Release == release && all[0].Golden.Mask == version {
		was := all[0].Golden.Mark
		if was == now || !exact && was.Data == now.Data {
			return all[0], nil
		}
	}
	g, err := e.makeGolden(ctx, from, release, now, spec)
	if err != nil {
		return g, err
	}
	return g, e.dropGoldens(ctx, from)
}

// goldenName is what the database of a golden copy is called on its server.
const goldenName = "golden"

// makeGolden fills a server by a dump of the source and stops it cleanly.
func (e *Engine) makeGolden(ctx context.Context, from bosman.Database, release int, mark postgres.Mark, spec mask.Spec) (entry, error) {
	begun := time.Now()
	name, err := e.face.NameOf(ctx, from)
	if err != nil {
		return entry{}, err
	}
	version, err := spec.Version()
	if err != nil {
		return entry{}, err
	}
	data, err := e.host.empty(ctx)
	if err != nil {
		return entry{}, err
	}
	dir, _, err := e.plant(ctx, data, "goldens")
	if err != nil {
		return entry{}, err
	}
	g := entry{ID: filepath.Base(dir), Golden: &golden{Source: from.Cluster + "/" + from.Name, Mark: mark, Mask: version}}
	g.Copy, err = e.fillGolden(ctx, dir, from, release, spec)
	if err != nil {
		return g, e.host.discard(ctx, dir, err)
	}
	g.Copy.From, g.Copy.Release, g.Copy.Took = name, release, time.Since(begun)
	g.Copy.Bytes = bytesOf(filepath.Join(dir, "data", "base"))
	g.Name = database.GoldenName(name, g.Copy.TakenAt)
	if err := e.host.update(e.app, func(all *index) error {
		all.Entries = append(all.Entries, g)
		return nil
	}); err != nil {
		return g, e.host.discard(ctx, dir, err)
	}
	return g, faults.Point("clone.golden.entered")
}

func (e *Engine) fillGolden(ctx context.Context, dir string, from bosman.Database, release int, spec mask.Spec) (info bosman.CopyInfo, err error) {
	c := e.host.server(dir)
	if _, err := e.host.start(ctx, dir, working...); err != nil {
		return info, err
	}
	in, err := e.inner(dir)
	if err != nil {
		return info, err
	}
	_, info, err = in.CopyByDump(ctx, from, goldenName, database.CopyOptions{Release: release})
	if err != nil {
		return info, err
	}
	if err := in.Mask(ctx, goldenName, spec); err != nil {
		return info, err
	}
	if err := in.Settle(ctx, goldenName); err != nil {
		return info, err
	}
	if err := faults.Point("clone.golden.filled"); err != nil {
		return info, err
	}
	if err := c.Stop(ctx); err != nil {
		return info, err
	}
	// Without fsync the server left its writing to the kernel: all copies rely
	// on these files, also after the host crashed.
	if err := storage.Sync(dir); err != nil {
		return info, diskError("write the golden copy to its disk", e.host.Dir, err)
	}
	return info, faults.Point("clone.golden.stopped")
}

// dropGoldens drops all generations of from but the newest ones.
func (e *Engine) dropGoldens(ctx context.Context, from bosman.Database) error {
	all, err := e.generations(from)
	if err != nil || len(all) <= keepGoldens {
		return err
	}
	for _, g := range all[keepGoldens:] {
		if err := e.Drop(ctx, e.describe(g.Name)); err != nil && bosman.KindOf(err) != bosman.KindBusy {
			return err
		}
	}
	return nil
}
