// Package mariadb runs MariaDB servers of Bosman's own and drives the
// databases in them: instances' databases, golden copies, databases for
// builds. SQL goes over go-sql-driver, dumps over the server's own programs.
//
// It must not know apps beyond their names, nor plans, permissions or
// processes.
package mariadb

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

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Profile says what a cluster is for.
type Profile string

// The profiles of clusters.
const (
	Main    Profile = "main"    // durable: staging and live
	Scratch Profile = "scratch" // not synced: testers' copies, builds, verification; may be lost with the host
)

// The users that Bosman alone uses.
const (
	superuser = "bosman"
	dumper    = "bosman_dump" // reads everything, writes nothing
)

// Cluster is one MariaDB server with a folder of its own. Set the exported
// fields, then call Ensure.
type Cluster struct {
	Name      string // "main" or "scratch": bosman.Database.Cluster
	Profile   Profile
	Dir       string // absolute; holds data/, log/, golden/, tmp/, secret
	SocketDir string // "" means a short folder is chosen; the socket in it is named by bosman.Database.Socket
	User      string // the Unix user it runs as; "" means mysql for root, else our own
	Log       *slog.Logger

	mu     sync.Mutex // Ensure and Stop, one at a time
	secret string
	owner  owner
	ready  bool // prepare was done in this process

	names   sync.Mutex // guards working
	working map[string]bool
	golden  sync.RWMutex // held for reading while golden copies are copied, for writing while they are dropped
	stage   sync.Mutex   // one BACKUP STAGE at a time

	at func(point string) // a test's own, which breaks the server there
}

// point is a place where a test may break Bosman or the server.
func (c *Cluster) point(name string) error {
	if c.at != nil {
		c.at(name)
	}
	return faults.Point(name)
}

// port is part of bosman.Database; the server listens on its socket alone.
const port = 3306

// owner is the Unix user a server runs as.
type owner struct {
	uid, gid uint32
	switched bool // another than ours
}

func (c *Cluster) dataDir() string { return filepath.Join(c.Dir, "data") }

func (c *Cluster) logDir() string { return filepath.Join(c.Dir, "log") }

// tmpDir is for dumps on their way; only Bosman reads it.
func (c *Cluster) tmpDir() string { return filepath.Join(c.Dir, "tmp") }

func (c *Cluster) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log.With("cluster", c.Name)
}

// database fills in how user reaches the database name.
func (c *Cluster) database(name, user string) bosman.Database {
	return bosman.Database{
		Engine: "mariadb", Cluster: c.Name, Name: name, User: user,
		Password: c.password(user), Host: c.SocketDir, Port: port,
	}
}

func (c *Cluster) socket() string { return c.database("", "").Socket() }

// password derives the password of a user from the cluster's secret, so that
// asking twice gives the same and nothing needs to be stored.
func (c *Cluster) password(user string) string {
	if user == superuser {
		return c.secret
	}
	h := hmac.New(sha256.New, []byte(c.secret))
	_, _ = h.Write([]byte("user " + user)) // a hash never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:20]))
}

// settle fills in what the fields leave open and makes the folders.
func (c *Cluster) settle() error {
	if !filepath.IsAbs(c.Dir) {
		return bosman.Invalid("the folder %q of database server %s is not absolute", c.Dir, c.Name)
	}
	if c.Name == "" {
		c.Name = string(c.Profile)
	}
	if c.Profile != Main && c.Profile != Scratch {
		return bosman.Invalid("database server %s has no profile %q", c.Name, c.Profile)
	}
	var err error
	if c.owner, err = findOwner(c.User); err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(c.Dir, 0o755), os.MkdirAll(c.tmpDir(), 0o700)); err != nil {
		return ioError("make the folder of database server "+c.Name, c.Dir, err)
	}
	if c.owner.switched {
		if err := reachable(c.Dir); err != nil {
			return err
		}
	}
	if err := c.own(c.logDir(), 0o750); err != nil {
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

// maxSocketDir leaves room for the socket's name within 108 bytes.
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
	if err := c.give(dir); err != nil {
		return err
	}
	if err := os.Chmod(dir, mode); err != nil {
		return ioError("set the mode of "+dir, dir, err)
	}
	return nil
}

// give makes path the server's user's.
func (c *Cluster) give(path string) error {
	if !c.owner.switched {
		return nil
	}
	if err := os.Lchown(path, int(c.owner.uid), int(c.owner.gid)); err != nil {
		return ioError("give "+path+" to the database user", path, err)
	}
	return nil
}

func (c *Cluster) loadSecret() error {
	path := filepath.Join(c.Dir, "secret")
	b, err := os.ReadFile(path)
	switch {
	case err == nil && len(b) >= 32:
		c.secret = strings.TrimSpace(string(b))
		return nil
	case err == nil:
		return bosman.Conflict("the password file %s of database server %s is damaged", path, c.Name).
			WithKept("the databases are untouched").WithNext("put it back from a backup")
	case !errors.Is(err, fs.ErrNotExist):
		return ioError("read the password of database server "+c.Name, c.Dir, err)
	}
	if c.initialised() {
		return bosman.Conflict("the password file %s of database server %s is missing", path, c.Name).
			WithKept("the databases are untouched").WithNext("put it back from a backup")
	}
	secret := rand.Text() + rand.Text()
	if err := atomicfile.Write(path, []byte(secret+"\n"), 0o600); err != nil {
		return ioError("write the password of database server "+c.Name, c.Dir, err)
	}
	c.secret = secret
	return nil
}

// findOwner gives the user to run as: a server of root's could read and write
// every file for whoever may load files.
func findOwner(name string) (owner, error) {
	if os.Geteuid() != 0 {
		return owner{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}, nil
	}
	if name == "" {
		name = "mysql"
	}
	u, err := user.Lookup(name)
	if err != nil {
		return owner{}, bosman.Unavailable("the Unix user %s does not exist", name).
			WithNext("install MariaDB: apt-get install mariadb-server").Because(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil || uid == 0 {
		return owner{}, bosman.Invalid("MariaDB is not run as the Unix user %s", name).Because(err)
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

// goldenDir holds the golden copies, each a folder of files.
func (c *Cluster) goldenDir() string { return filepath.Join(c.Dir, "golden") }
