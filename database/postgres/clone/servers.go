package clone

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/database/storage"
	"github.com/bosman-cd/bosman/internal/faults"
)

// working sizes a server while it is filled.
var working = []string{"shared_buffers=96MB", "maintenance_work_mem=96MB", "max_wal_size=1GB", "autovacuum=off"}

// leave is what stays free for the copies that are there: they grow.
const leave = 64 << 20

// plant copies a stopped cluster into a new folder below parent ("servers" or
// "goldens") and gives that folder.
func (e *Engine) plant(ctx context.Context, data, parent string) (dir string, tree storage.Tree, err error) {
	dir = filepath.Join(e.host.Dir, e.app, parent, strings.ToLower(rand.Text()[:12]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return dir, tree, diskError("make the folder of a copy", e.host.Dir, err)
	}
	if free, err := database.Free(dir); err == nil && free < leave {
		return dir, tree, e.host.discard(ctx, dir, bosman.Unavailable("the disk that holds %s is full", e.host.Dir).
			WithKept("what was there before is untouched").WithNext("free some space: bosman databases shows what takes it"))
	}
	tree, err = storage.Clone(ctx, data, filepath.Join(dir, "data"), func(path string) bool {
		return path == "postmaster.pid" || path == "postmaster.opts"
	})
	if err == nil {
		err = faults.Point("clone.planted")
	}
	if err != nil {
		return dir, tree, e.host.discard(ctx, dir, err)
	}
	return dir, tree, nil
}

// discard ends and removes a server that is not, or no longer, in the index;
// also when ctx has ended. It gives why, or what went wrong.
func (h *Host) discard(ctx context.Context, dir string, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	err := h.uproot(ctx, dir)
	if err != nil && why != nil {
		h.Log.Warn("a half-made copy is left; it goes at the next start", "folder", dir, "error", err)
		return why
	}
	return errors.Join(why, err)
}

// uproot ends a server and removes its folders.
func (h *Host) uproot(ctx context.Context, dir string) error {
	h.letGo(ctx, dir)
	if err := h.server(dir).Halt(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(h.socks, filepath.Base(dir))); err != nil {
		return diskError("remove the socket of a copy", h.socks, err)
	}
	return diskError("remove a copy", h.Dir, os.RemoveAll(dir))
}

// empty gives the data folder of an empty cluster that is stopped.
func (h *Host) empty(ctx context.Context) (data string, err error) {
	h.empties.Lock()
	defer h.empties.Unlock()
	version, err := postgres.NewestVersion()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(h.Dir, "empty", version)
	data = filepath.Join(dir, "data")
	if _, err := os.Stat(data); err == nil {
		return data, nil
	}
	making := filepath.Join(h.Dir, "empty", version+".making")
	if err := errors.Join(h.uproot(ctx, making), os.MkdirAll(making, 0o755)); err != nil {
		return "", diskError("make an empty cluster", h.Dir, err)
	}
	c := h.server(making)
	err = c.Found(ctx)
	if err == nil {
		err = faults.Point("clone.empty.made")
	}
	if err == nil {
		err = c.Stop(ctx)
	}
	if err == nil {
		err = storage.Sync(making)
	}
	if err != nil {
		return "", h.discard(ctx, making, err)
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(h.socks, filepath.Base(making))), os.Rename(making, dir)); err != nil {
		return "", diskError("make an empty cluster", h.Dir, err)
	}
	return data, nil
}

// folder is that of an entry.
func (e *Engine) folder(x entry) string {
	parent := "servers"
	if x.Golden != nil {
		parent = "goldens"
	}
	return filepath.Join(e.host.Dir, e.app, parent, x.ID)
}

// inner drives the database on the server in dir.
func (e *Engine) inner(dir string) (*postgres.Engine, error) {
	in, err := postgres.NewEngine(e.app, e.host.server(dir), e.sources...)
	if err == nil && e.face != nil {
		in.ShareSources(e.face)
	}
	return in, err
}

// launch starts the server of an entry unless it runs, and makes sure that it
// holds the name that the index says.
func (e *Engine) launch(ctx context.Context, x entry) error {
	started, err := e.host.start(ctx, e.folder(x))
	if err != nil || !started {
		return err
	}
	return e.adopt(ctx, x)
}

// adopt brings a running server to what the index says of it.
func (e *Engine) adopt(ctx context.Context, x entry) error {
	in, err := e.inner(e.folder(x))
	if err != nil {
		return err
	}
	if err := in.Adopt(ctx, x.Name, !x.KeptAt.IsZero() || database.HasTag(x.Name, database.TagPool)); err != nil {
		return err
	}
	return e.host.link(e.app, x.Name, x.ID)
}

// borrow gives the engine of a database here with its server running; back
// stops the server again if it was stopped on purpose.
func (e *Engine) borrow(ctx context.Context, d bosman.Database) (in *postgres.Engine, back func(), err error) {
	x, err := e.entryOf(d)
	if err != nil {
		return nil, nil, err
	}
	if x.Golden != nil {
		return nil, nil, bosman.Conflict("nobody connects to the golden copy %s", d.Name).WithNext("make a copy of it")
	}
	if err := e.launch(ctx, x); err != nil {
		return nil, nil, err
	}
	in, err = e.inner(e.folder(x))
	back = func() {
		if !x.Parked {
			return
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if err := e.host.server(e.folder(x)).Stop(end); err != nil {
			e.log.Warn("the server of a copy nobody uses goes on", "database", d.Name, "error", err)
		}
	}
	return in, back, err
}

// there says whether a folder is.
func there(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
