// Package clone gives each copy of a PostgreSQL database a small server of its
// own, made by sharing the blocks of a cleanly stopped golden cluster: the time
// of a copy follows the number of files, not their size, and what a copy does
// not change takes no room. Live and staging are never copied so: the golden
// cluster is filled by a dump, which leaves them in use.
//
// All here is throw-away: servers run without fsync, and a copy whose host
// stopped without warning is dropped.
//
// It must not know apps beyond their names, nor plans, permissions or
// processes.
package clone

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/database/storage"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// Cluster is what bosman.Database.Cluster says of a database here.
const Cluster = "clone"

// Host keeps the servers of all apps below one folder, whose file system lets
// files share blocks:
//
//	secret                    what passwords are derived from
//	empty/15/data             an empty cluster, stopped: what others begin as
//	APP/index.json            what there is; what it does not name is half made
//	APP/index.now             the same, newer, as long as the host is not restarted
//	APP/servers/ID/           data, log
//	APP/goldens/ID/data       a golden copy, stopped
//
// Sockets are in a folder of each server; an instance comes to its own by a
// symbolic link, which a swap turns over.
type Host struct {
	Dir       string // absolute
	ClientDir string // see postgres.Cluster
	Log       *slog.Logger

	secret string
	socks  string // folder of sockets, short

	names   ground.Names
	mu      sync.Mutex        // guards bins, ready and the index files
	bins    map[string]string // folder of the programs by the version of the data
	goldens sync.RWMutex      // held for reading while one is copied, for writing while generations go
	empties sync.Mutex        // one empty cluster is made at a time

	ready map[string]*postgres.Cluster // guarded by mu: servers of copies made in advance, by their folder, with a connection open to each
}

// Open makes the folders and reads the secret. KindUnavailable if the file
// system of Dir cannot share blocks.
func (h *Host) Open() error {
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	if !filepath.IsAbs(h.Dir) {
		return bosman.Invalid("the folder %q for copies is not absolute", h.Dir)
	}
	if err := os.MkdirAll(h.Dir, 0o755); err != nil {
		return diskError("make the folder for copies", h.Dir, err)
	}
	a, err := storage.Probe(h.Dir)
	if err != nil {
		return err
	}
	if !a.Reflink {
		return bosman.Unavailable("copies cannot be made by sharing blocks in %s: %s", h.Dir, a.Why).
			WithNext("make storage that can: bosman storage prepare")
	}
	h.socks = filepath.Join(h.Dir, "s")
	if len(h.socks) > maxSocks {
		sum := sha256.Sum256([]byte(h.Dir))
		h.socks = filepath.Join("/run/bosman", hex.EncodeToString(sum[:6]))
		if os.Geteuid() != 0 {
			h.socks = filepath.Join(os.TempDir(), "bosman-"+hex.EncodeToString(sum[:6]))
		}
	}
	if err := os.MkdirAll(filepath.Join(h.socks, "at"), 0o755); err != nil {
		return diskError("make the folder for sockets", h.socks, err)
	}
	if h.bins == nil {
		h.bins, h.ready = map[string]string{}, map[string]*postgres.Cluster{}
	}
	return h.loadSecret()
}

// maxSocks leaves room for "/at/0123456789ab/.s.PGSQL.5432.lock" within 108
// bytes.
const maxSocks = 64

func (h *Host) loadSecret() error {
	path := filepath.Join(h.Dir, "secret")
	b, err := os.ReadFile(path)
	if err == nil && len(b) >= 32 {
		h.secret = strings.TrimSpace(string(b))
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError("read the password of copies", h.Dir, err)
	}
	h.secret = rand.Text() + rand.Text()
	return diskError("write the password of copies", h.Dir, atomicfile.Write(path, []byte(h.secret+"\n"), 0o600))
}

// claim reserves names of an app for one caller.
func (h *Host) claim(ctx context.Context, app string, names ...string) (release func(), err error) {
	all := make([]string, 0, len(names))
	for _, n := range names {
		all = append(all, nameOf(app, n))
	}
	return h.names.Claim(ctx, all...)
}

// wait is claim that waits for whoever holds the name.
func (h *Host) wait(ctx context.Context, app, name string) (release func(), err error) {
	return h.names.Wait(ctx, nameOf(app, name))
}

// nameOf tells a name from another app's: those of apps hold no space.
func nameOf(app, name string) string { return name + " of " + app }

// apps gives the apps that have something here.
func (h *Host) apps() ([]string, error) {
	found, err := filepath.Glob(filepath.Join(h.Dir, "*", "index.json"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range found {
		out = append(out, filepath.Base(filepath.Dir(f)))
	}
	return out, nil
}

// server describes the server in a folder.
func (h *Host) server(dir string) *postgres.Cluster {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.ready[dir]; c != nil {
		return c
	}
	c := postgres.NewSolo(Cluster, dir, filepath.Join(h.socks, filepath.Base(dir)), h.secret, h.Log)
	c.BinDir, c.ClientDir = h.bins[versionIn(dir)], h.ClientDir
	return c
}

// hold lets all callers share one description of the server in a folder, with
// the connection that it keeps open, until letGo. It says whether they did not
// before.
func (h *Host) hold(dir string) bool {
	c := h.server(dir)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ready[dir] != nil {
		return false
	}
	h.ready[dir] = c
	return true
}

func (h *Host) letGo(ctx context.Context, dir string) {
	h.mu.Lock()
	c := h.ready[dir]
	delete(h.ready, dir)
	h.mu.Unlock()
	if c != nil {
		c.LetGo(ctx)
	}
}

// start starts the server in a folder unless it runs. Where its programs are
// is looked up once for each version.
func (h *Host) start(ctx context.Context, dir string, settings ...string) (started bool, err error) {
	c := h.server(dir)
	if started, err = c.Launch(ctx, settings...); err != nil {
		return started, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bins[versionIn(dir)] = c.BinDir
	return started, nil
}

// versionIn is the major version of the data in a server's folder.
func versionIn(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "data", "PG_VERSION"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// at is the folder by which the database of an app's name is reached.
func (h *Host) at(app, name string) string {
	sum := sha256.Sum256([]byte(app + "/" + name))
	return filepath.Join(h.socks, "at", hex.EncodeToString(sum[:6]))
}

// link makes a name lead to the server id.
func (h *Host) link(app, name, id string) error {
	at := h.at(app, name)
	to := filepath.Join("..", id)
	if is, err := os.Readlink(at); err == nil && is == to {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return diskError("make the folder for sockets", h.socks, err)
	}
	fresh := at + "." + id
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError("lead to the copy", h.socks, err)
	}
	if err := os.Symlink(to, fresh); err != nil {
		return diskError("lead to the copy", h.socks, err)
	}
	return diskError("lead to the copy", h.socks, os.Rename(fresh, at))
}

// unlink forgets where a name leads, if it leads to id.
func (h *Host) unlink(app, name, id string) error {
	at := h.at(app, name)
	if is, err := os.Readlink(at); err != nil || is != filepath.Join("..", id) {
		return nil
	}
	return diskError("forget the way to a copy", h.socks, os.Remove(at))
}

// diskError makes an error of files one for people.
func diskError(doing, dir string, err error) error {
	if err == nil {
		return nil
	}
	var known *bosman.Error
	if errors.As(err, &known) {
		return err
	}
	return bosman.Unavailable("could not %s in %s", doing, dir).Because(err)
}
