package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/database/postgres/clone"
	"github.com/bosman-cd/bosman/database/storage"
)

// clones says where throw-away databases live and whether each copy is a
// small server of its own.
type clones struct {
	home string      // DATA, or the prepared storage
	lost error       // why the prepared storage cannot be used
	host *clone.Host // nil: copies are databases of the scratch cluster
	why  string      // why so
}

// server describes the servers of copies among those of databases.
func (c *clones) server() (v bosman.DatabaseServer, ok bool) {
	if c == nil || c.host == nil {
		return v, false
	}
	version, err := postgres.NewestVersion()
	if err != nil {
		return v, false
	}
	v = bosman.DatabaseServer{Name: clone.Cluster, Version: "PostgreSQL " + version, Strategy: clone.Strategy, Why: cloneWhy + ": " + c.why}
	if a, err := storage.Probe(c.home); err == nil {
		v.Free = a.Free
	}
	return v, true
}

// cloneWhy says how such a copy is made.
const cloneWhy = "each copy is a small server of its own that shares the blocks of a golden copy"

// cloning says whether copies with their home in a folder are small servers
// of their own that share blocks, and why or why not. bin is where somebody
// wants the programs to be, "" for Debian's.
func cloning(home, bin string) (yes bool, why string) {
	if bin != "" {
		return false, "the PostgreSQL in " + bin + " is wanted for copies"
	}
	version, err := postgres.NewestVersion()
	if err != nil {
		return false, "PostgreSQL is not installed"
	}
	if n, err := strconv.Atoi(version); err == nil && n >= 18 {
		return false, "PostgreSQL " + version + " shares blocks by itself"
	}
	a, err := storage.Probe(home)
	if err != nil {
		return false, bosman.AsError(err).Message
	}
	if !a.Reflink {
		return false, a.Why
	}
	return true, fmt.Sprintf("%s is %s, where files share their blocks", a.Dir, a.Type)
}

// openStorage mounts what was prepared and chooses how copies are made. It
// must run before any keeper is asked for.
func (d *databases) openStorage(ctx context.Context) {
	c := &clones{home: d.data}
	d.clones = c
	if _, err := storage.Mount(ctx, d.data); err != nil {
		c.lost = err
	} else if home, err := storage.Home(d.data); err != nil {
		c.lost = err
	} else {
		c.home = home
	}
	if c.lost != nil {
		d.log.Error("the storage of copies cannot be used; staging and live go on without it", "err", c.lost)
		return
	}
	yes := false
	if yes, c.why = cloning(c.home, d.postgresBin); !yes {
		return
	}
	host := &clone.Host{Dir: filepath.Join(c.home, "postgres", "clones"), ClientDir: d.postgresClient, Log: d.log}
	if err := host.Open(); err != nil {
		c.why = bosman.AsError(err).Message
		d.log.Warn("copies cannot be servers of their own here", "err", err)
		return
	}
	c.host = host
}

// copies gives the engine of an app's copies.
func (d *databases) copies(app string, scratch *postgres.Engine, main, onScratch *postgres.Cluster) (database.Engine, error) {
	if d.clones == nil || d.clones.lost == nil && d.clones.host == nil {
		return scratch, nil
	}
	if d.clones.lost != nil {
		return nil, d.clones.lost
	}
	e, err := d.clones.host.Engine(app, main, onScratch)
	if err != nil {
		return nil, err
	}
	return e.With(scratch), nil
}

// waker is an engine that stops the servers of databases nobody uses.
type waker interface {
	Wake(ctx context.Context, name string) error
}

// wake makes sure that the server of an instance's database runs.
func wake(ctx context.Context, e database.Engine, name string) error {
	w, ok := e.(waker)
	if !ok {
		return nil
	}
	err := w.Wake(ctx, name)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil // whoever looks for it says so
	}
	return err
}

// tendClones starts servers of copies that died and stops those of instances
// that do not run.
func (d *databases) tendClones(ctx context.Context) {
	if d.clones == nil || d.clones.host == nil {
		return
	}
	n, err := d.clones.host.Tend(ctx, func(app, instance string) bool {
		i, err := d.records.store.Instance(ctx, app, instance)
		return err == nil && i.Stopped && i.Operation == 0
	})
	if n > 0 {
		d.log.Warn("servers of copies had died and were started again", "servers", n)
	}
	if err != nil && ctx.Err() == nil {
		d.log.Error("the servers of copies cannot be looked after", "err", err)
	}
}

// scratchDir is where the scratch cluster is: with the copies, unless it was
// made before there was such a place and somebody's data is still in it.
func (d *databases) scratchDir() string {
	before := filepath.Join(d.data, "postgres", scratchCluster)
	if d.clones == nil || d.clones.lost != nil || d.clones.home == d.data {
		return before
	}
	if _, err := os.Stat(before); err == nil {
		return before
	}
	return filepath.Join(d.clones.home, "postgres", scratchCluster)
}

// moveScratch leaves the place of the scratch cluster from before storage was
// prepared once nobody's data is in it any more. Golden copies and what builds
// left go with it; they are made anew.
func (d *databases) moveScratch(ctx context.Context) error {
	before := filepath.Join(d.data, "postgres", scratchCluster)
	if d.clones == nil || d.clones.home == d.data || d.scratchDir() != before {
		return nil
	}
	c := &postgres.Cluster{Name: scratchCluster, Profile: postgres.Scratch, Dir: before, Log: d.log}
	if _, err := c.Ensure(ctx); err != nil {
		return err
	}
	held, err := c.Held(ctx)
	if err != nil {
		return err
	}
	if len(held) > 0 {
		d.log.Info("the scratch cluster stays where it is: copies of instances are in it until bosman reset gives them fresh ones", "databases", held)
		return nil
	}
	if err := c.Stop(ctx); err != nil {
		return err
	}
	d.log.Info("the scratch cluster is made anew where copies share blocks", "before", before, "now", filepath.Join(d.clones.home, "postgres", scratchCluster))
	return os.RemoveAll(before)
}

// stopClones stops all servers of copies; for when everything is shut down.
func (d *databases) stopClones(ctx context.Context) error {
	home, err := storage.Home(d.data)
	if err != nil {
		return nil //nolint:nilerr // what is not mounted does not run
	}
	if d.clones == nil {
		d.clones = &clones{home: home}
	}
	host := &clone.Host{Dir: filepath.Join(home, "postgres", "clones"), ClientDir: d.postgresClient, Log: d.log}
	if _, err := os.Stat(host.Dir); err != nil {
		return nil //nolint:nilerr // there were none
	}
	if err := host.Open(); err != nil {
		return err
	}
	return host.Stop(ctx)
}

// storageFindings are what the doctor says about copies.
func storageFindings(opt Options) []finding {
	data := opt.Data
	home, err := storage.Home(data)
	if err != nil {
		e := bosman.AsError(err)
		return []finding{{false, e.Message, e.Next}}
	}
	a, err := storage.Probe(home)
	if err != nil {
		return []finding{{false, bosman.AsError(err).Message, "name a folder that can be read: --data DIR"}}
	}
	all := []finding{{true, "copies live in " + home + ": " + a.String(), ""}}
	if p, err := storage.Read(data); err == nil {
		if grow, left, err := p.Spare(); err == nil && left < grow {
			all = append(all, finding{false, fmt.Sprintf("the storage %s may grow by %s, but its disk has only %s left", p.Image, size(grow), size(left)), "free some space: a full disk below it breaks all copies at once"})
		}
	}
	return append(all, copyFinding(home, opt.PostgresBin))
}

// copyFinding says how copies of PostgreSQL databases are made, and why no
// faster.
func copyFinding(home, bin string) finding {
	yes, why := cloning(home, bin)
	if yes {
		return finding{true, "fresh copies: " + clone.Strategy + ": " + cloneWhy + ": " + why, ""}
	}
	s, err := postgres.Probe(filepath.Join(home, "postgres", scratchCluster), bin)
	if err != nil {
		return finding{true, "fresh copies of PostgreSQL databases: " + why, ""}
	}
	f := finding{true, "fresh copies: " + s.Name + ": " + s.Why, ""}
	if s.Faster != "" {
		f.what += "; nothing faster here: " + s.Faster + " (see bosman storage prepare --help)"
	}
	return f
}

// StorageOptions say what bosman storage is to do.
type StorageOptions struct {
	Data string
	Dir  string // where to mount; "" is DATA/storage
	Size int64  // bytes; 0 is the usual size
	Type string // of the file system: "xfs" or "btrfs"; "" is xfs
	Undo bool
	Ask  func(what string) error // nil error: go on
	Say  func(format string, args ...any) error
}

// PrepareStorage makes storage on which copies share blocks, or takes it away
// again.
func PrepareStorage(ctx context.Context, o StorageOptions) (err error) {
	if o.Data, err = filepath.Abs(o.Data); err != nil {
		return err
	}
	if o.Undo {
		return undoStorage(ctx, o)
	}
	if err := os.MkdirAll(o.Data, 0o755); err != nil {
		return bosman.Unavailable("the data folder %s cannot be used", o.Data).Because(err)
	}
	p, needed, err := storage.Propose(o.Data, storage.Prepared{Dir: o.Dir, Size: o.Size, Type: o.Type})
	if err != nil {
		return err
	}
	if !needed {
		home, err := storage.Home(o.Data)
		if err != nil {
			return err
		}
		a, err := storage.Probe(home)
		if err != nil {
			return err
		}
		return o.Say("Nothing is needed: copies live in %s (%s).\n", home, a)
	}
	if _, err := os.Stat(p.Image); err != nil {
		what := fmt.Sprintf("This makes the file %s, which grows up to %s as copies change, with a file system of type %s in it, and mounts it at %s.\n"+
			"Golden copies, testers' copies and databases of builds will live there; staging and live stay where they are.", p.Image, size(p.Size), p.Kind(), p.Dir)
		if err := o.Ask(what); err != nil {
			return err
		}
	}
	if err := storage.Prepare(ctx, o.Data, p); err != nil {
		return err
	}
	a, err := storage.Probe(p.Dir)
	if err != nil {
		return err
	}
	return o.Say("Mounted at %s: %s.\nbosman serve mounts it again at each start. Restart it now so that new copies are made there; those that exist stay where they are until their next fresh copy.\n", p.Dir, a)
}

// undoStorage takes prepared storage away, unless somebody's copy is in it.
func undoStorage(ctx context.Context, o StorageOptions) (err error) {
	p, err := storage.Read(o.Data)
	if err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(o.Data, "serve.lock"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	on, err := storage.Mounted(p.Dir)
	if err != nil {
		return err
	}
	if on {
		host := &clone.Host{Dir: filepath.Join(p.Dir, "postgres", "clones")}
		used, err := inUse(ctx, host, filepath.Join(p.Dir, "postgres", scratchCluster))
		if err != nil {
			return err
		}
		if len(used) > 0 {
			return bosman.Conflict("copies live in the storage at %s: %s", p.Dir, strings.Join(used, ", ")).
				WithKept("they are untouched").
				WithNext("start bosman serve, take those instances away (bosman instances remove NAME), stop it and try again")
		}
	}
	what := fmt.Sprintf("This unmounts %s and removes the file %s with the golden copies and the databases of builds in it; they are made anew elsewhere.", p.Dir, p.Image)
	if err := o.Ask(what); err != nil {
		return err
	}
	if on {
		if err := stopAll(ctx, p.Dir); err != nil {
			return err
		}
	}
	if err := storage.Undo(ctx, o.Data); err != nil {
		return err
	}
	return o.Say("Taken away. New copies are made in %s.\n", filepath.Join(o.Data, "postgres"))
}

// inUse names the databases of instances in prepared storage.
func inUse(ctx context.Context, host *clone.Host, scratch string) (used []string, err error) {
	if _, err := os.Stat(host.Dir); err == nil {
		if err := host.Open(); err != nil {
			return nil, err
		}
		if used, err = host.Held(); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(scratch); err != nil {
		return used, nil //nolint:nilerr // it was never made
	}
	c := &postgres.Cluster{Name: scratchCluster, Profile: postgres.Scratch, Dir: scratch}
	if _, err := c.Ensure(ctx); err != nil {
		return used, err
	}
	held, err := c.Held(ctx)
	return append(used, held...), err
}

// stopAll stops what runs in prepared storage.
func stopAll(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	host := &clone.Host{Dir: filepath.Join(dir, "postgres", "clones")}
	if _, err := os.Stat(host.Dir); err == nil {
		if err := errors.Join(host.Open(), host.Stop(ctx)); err != nil {
			return err
		}
	}
	scratch := filepath.Join(dir, "postgres", scratchCluster)
	if _, err := os.Stat(scratch); err != nil {
		return nil //nolint:nilerr // it was never made
	}
	return (&postgres.Cluster{Name: scratchCluster, Profile: postgres.Scratch, Dir: scratch}).Stop(ctx)
}
