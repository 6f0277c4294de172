// Package mariadb runs MariaDB servers of Bosman's own and drives the
// databases in them: instances' databases, golden copies, databases for
// builds. SQL goes over go-sql-driver, dumps over the server's own programs.
//
// It must not know apps beyond their names, nor plans, permissions or
// processes.
package mariadb

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
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
	Dir       string // absolute; holds data/, log/, golden/, tmp/, work/, secret
	SocketDir string // "" means a short folder is chosen; the socket in it is named by bosman.Database.Socket
	User      string // the Unix user it runs as; "" means mysql for root, else our own
	Log       *slog.Logger

	mu     sync.Mutex // Ensure and Stop, one at a time
	secret string
	owner  ground.Owner
	ready  bool // prepare was done in this process

	names  ground.Names
	golden sync.RWMutex // held for reading while golden copies are copied, for writing while they are dropped
	stage  sync.Mutex   // one BACKUP STAGE at a time

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

// software is what FindOwner has to know: a server of root's could read and
// write every file for whoever may load files.
var software = ground.Software{Name: "MariaDB", User: "mysql", Package: "mariadb-server"}

// ground is what the server stands on.
func (c *Cluster) ground() ground.Ground {
	return ground.Ground{Dir: c.Dir, What: "database server " + c.Name}
}

func (c *Cluster) dataDir() string { return c.ground().Data() }

func (c *Cluster) logDir() string { return c.ground().Log() }

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
	return ground.Password(c.secret, "user "+user)
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
	if c.owner, err = ground.FindOwner(c.User, software); err != nil {
		return err
	}
	if c.SocketDir == "" {
		c.SocketDir = ground.SocketDir(c.Dir)
	}
	if err := errors.Join(c.ground().Settle(c.owner, c.SocketDir), c.owner.Own(c.workDir(), 0o700)); err != nil {
		return err
	}
	secret, err := c.ground().Secret(c.initialised)
	if err == nil {
		c.secret = secret
	}
	return err
}

// workDir is where the server puts temporary tables. Each has one of its own: a
// server that starts removes all temporary tables it finds there, also those of
// another that runs.
func (c *Cluster) workDir() string { return filepath.Join(c.Dir, "work") }

// goldenDir holds the golden copies, each a folder of files.
func (c *Cluster) goldenDir() string { return filepath.Join(c.Dir, "golden") }
