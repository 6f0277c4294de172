// Package postgres runs PostgreSQL clusters of Bosman's own and drives the
// databases in them: instances' databases, golden copies, databases for
// builds. SQL goes over pgx, dumps over the server's own programs.
//
// It must not know apps beyond their names, nor plans, permissions or
// processes.
package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// Profile says what a cluster is for.
type Profile string

// The profiles of clusters.
const (
	Main    Profile = "main"    // durable: staging and live
	Scratch Profile = "scratch" // fsync off: testers' copies, golden copies, builds, verification; may be lost with the host
)

// superuser is the role that Bosman alone uses.
const superuser = "bosman"

// groups of roles that pg_hba.conf tells apart.
const (
	groupWorkers = "bosman_workers" // restores as an app's owner, into databases not yet handed out
	groupBuilds  = "bosman_builds"  // builds, on the scratch cluster
)

// Cluster is one PostgreSQL server with a folder of its own. Set the exported
// fields, then call Ensure.
type Cluster struct {
	Name      string // "main" or "scratch": bosman.Database.Cluster
	Profile   Profile
	Dir       string // absolute; holds data/, log/, secret
	SocketDir string // "" means a short folder is chosen: see Ensure
	Port      int    // part of the socket's name; 0 means 5432
	BinDir    string // "" means the newest of /usr/lib/postgresql/*/bin, or the one that fits the data
	ClientDir string // where pg_dump and the other client programs are; "" means those that fit best, see FindClients
	User      string // the Unix user it runs as; "" means postgres for root, else our own
	Log       *slog.Logger

	mu     sync.Mutex // Ensure and Stop, one at a time
	secret string
	owner  owner
	remote *remote // a server that is not ours; see Adopt

	names    sync.Mutex // guards what follows
	working  map[string]bool
	found    []Clients
	strategy Strategy
	version  int // of the running server: 150018

	uses map[string]int // golden copies being copied; -1: being dropped

	talking sync.Mutex // guards line, see talk
	line    *pgx.Conn
}

// owner is the Unix user a server runs as.
type owner struct {
	uid, gid uint32
	switched bool // another than ours
}

func (c *Cluster) dataDir() string { return filepath.Join(c.Dir, "data") }

// tmpDir is for dumps on their way; only Bosman reads it.
func (c *Cluster) tmpDir() string { return filepath.Join(c.Dir, "tmp") }

func (c *Cluster) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log.With("cluster", c.Name)
}

// database fills in how role reaches the database name.
func (c *Cluster) database(name, role string) bosman.Database {
	return bosman.Database{
		Engine: "postgres", Cluster: c.Name, Name: name, User: role,
		Password: c.password(role), Host: c.SocketDir, Port: c.Port,
	}
}

// admin is the superuser's way into the database name.
func (c *Cluster) admin(name string) bosman.Database {
	if c.remote != nil { // with the rights it gave us, and no other database
		return c.remote.db
	}
	return c.database(name, superuser)
}

// password derives the password of a role from the cluster's secret, so that
// asking twice gives the same and nothing needs to be stored.
func (c *Cluster) password(role string) string {
	if role == superuser {
		return c.secret
	}
	h := hmac.New(sha256.New, []byte(c.secret))
	_, _ = h.Write([]byte("role " + role)) // a hash never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:20]))
}

// settle fills in what the fields leave open and makes the folders.
func (c *Cluster) settle() error {
	if !filepath.IsAbs(c.Dir) {
		return bosman.Invalid("the folder %q of database cluster %s is not absolute", c.Dir, c.Name)
	}
	if c.Name == "" {
		c.Name = string(c.Profile)
	}
	if c.Profile != Main && c.Profile != Scratch && c.Profile != Solo {
		return bosman.Invalid("database cluster %s has no profile %q", c.Name, c.Profile)
	}
	if c.Port == 0 {
		c.Port = 5432
	}
	var err error
	if c.owner, err = findOwner(c.User); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return ioError("make the folder of database cluster "+c.Name, c.Dir, err)
	}
	if err := os.MkdirAll(c.tmpDir(), 0o700); err != nil {
		return ioError("make the folder of database cluster "+c.Name, c.Dir, err)
	}
	if c.owner.switched {
		if err := reachable(c.Dir); err != nil {
			return err
		}
	}
	if err := c.own(filepath.Join(c.Dir, "log"), 0o750); err != nil {
		return err
	}
	if c.SocketDir == "" {
		c.SocketDir = c.shortSocketDir()
	}
	if len(c.SocketDir) > maxSocketDir {
		return bosman.Invalid("the socket folder %s is too long for a Unix socket", c.SocketDir).
			WithNext("choose one of at most 80 bytes")
	}
	if err := c.own(c.SocketDir, 0o755); err != nil {
		return err
	}
	return c.loadSecret()
}

// maxSocketDir leaves room for "/.s.PGSQL.5432.lock" within 108 bytes.
const maxSocketDir = 80

// shortSocketDir is Dir/socket where that is short enough, else a folder
// named by a hash of it under /run/bosman, or under the user's own temporary
// folder.
func (c *Cluster) shortSocketDir() string {
	dir := filepath.Join(c.Dir, "socket")
	if len(dir) <= maxSocketDir {
		return dir
	}
	sum := sha256.Sum256([]byte(c.Dir))
	short := hex.EncodeToString(sum[:6])
	if os.Geteuid() == 0 {
		return filepath.Join("/run/bosman", short)
	}
	if run := os.Getenv("XDG_RUNTIME_DIR"); run != "" && len(run) < 50 {
		return filepath.Join(run, "bosman-"+short)
	}
	return filepath.Join("/tmp", "bosman-"+strconv.Itoa(os.Geteuid())+"-"+short)
}

// own makes a folder that belongs to the server's user.
func (c *Cluster) own(dir string, mode fs.FileMode) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return ioError("make the folder "+dir, dir, err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return ioError("look at "+dir, dir, err)
	}
	if !info.IsDir() {
		return bosman.Conflict("%s is not a folder", dir).WithNext("remove it")
	}
	if c.owner.switched {
		if err := os.Lchown(dir, int(c.owner.uid), int(c.owner.gid)); err != nil {
			return ioError("give "+dir+" to the database user", dir, err)
		}
	}
	if err := os.Chmod(dir, mode); err != nil {
		return ioError("set the mode of "+dir, dir, err)
	}
	return nil
}

func (c *Cluster) loadSecret() error {
	if c.Profile == Solo && c.secret != "" {
		return nil // it was told
	}
	path := filepath.Join(c.Dir, "secret")
	b, err := os.ReadFile(path)
	switch {
	case err == nil && len(b) >= 32:
		c.secret = strings.TrimSpace(string(b))
		return nil
	case err == nil:
		return bosman.Conflict("the password file %s of database cluster %s is damaged", path, c.Name).
			WithKept("the databases are untouched").WithNext("put it back from a backup")
	case !errors.Is(err, fs.ErrNotExist):
		return ioError("read the password of database cluster "+c.Name, c.Dir, err)
	}
	if c.initialised() {
		return bosman.Conflict("the password file %s of database cluster %s is missing", path, c.Name).
			WithKept("the databases are untouched").WithNext("put it back from a backup")
	}
	secret := rand.Text() + rand.Text()
	if err := atomicfile.Write(path, []byte(secret+"\n"), 0o600); err != nil {
		return ioError("write the password of database cluster "+c.Name, c.Dir, err)
	}
	c.secret = secret
	return nil
}

// initialised says whether the data folder holds a cluster that initdb
// finished: initdb works beside it and is renamed into place.
func (c *Cluster) initialised() bool {
	_, err := os.Stat(filepath.Join(c.dataDir(), "PG_VERSION"))
	return err == nil
}

// findOwner gives the user to run as: PostgreSQL refuses root.
func findOwner(name string) (owner, error) {
	if os.Geteuid() != 0 {
		return owner{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}, nil
	}
	if name == "" {
		name = "postgres"
	}
	u, err := user.Lookup(name)
	if err != nil {
		return owner{}, bosman.Unavailable("the Unix user %s does not exist", name).
			WithNext("install PostgreSQL: apt-get install postgresql").Because(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil || uid == 0 {
		return owner{}, bosman.Invalid("PostgreSQL cannot run as the Unix user %s", name).Because(err)
	}
	return owner{uid: uint32(uid), gid: uint32(gid), switched: true}, nil
}

// reachable says whether other users may enter all folders above dir.
func reachable(dir string) error {
	for p := dir; ; p = filepath.Dir(p) {
		info, err := os.Stat(p)
		if err != nil {
			return ioError("look at "+p, p, err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			return bosman.Unavailable("the database user cannot enter the folder %s", p).
				WithNext("use another data folder, for example /var/lib/bosman, or allow it: chmod o+x " + p)
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}

// claim reserves a name for one caller at a time.
func (c *Cluster) claim(ctx context.Context, name string) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.names.Lock()
	defer c.names.Unlock()
	if c.working[name] {
		return nil, bosman.Busy("the database %s is being worked on", name).WithNext("wait until that has ended")
	}
	if c.working == nil {
		c.working = map[string]bool{}
	}
	c.working[name] = true
	return func() {
		c.names.Lock()
		defer c.names.Unlock()
		delete(c.working, name)
	}, nil
}

// wait is claim that waits for whoever holds the name.
func (c *Cluster) wait(ctx context.Context, name string) (release func(), err error) {
	for {
		release, err = c.claim(ctx, name)
		if bosman.KindOf(err) != bosman.KindBusy {
			return release, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
