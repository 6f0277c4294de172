// Package postgres runs PostgreSQL clusters of Bosman's own and drives the
// databases in them: instances' databases, golden copies, databases for
// builds. SQL goes over pgx, dumps over the server's own programs.
//
// It must not know apps beyond their names, nor plans, permissions or
// processes.
package postgres

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
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
	Spool     string // of a Main cluster: where finished segments of its log wait to be kept; "" means the log is not kept
	SpoolMost int64  // bytes that may wait there; 0 means a tenth of the disk, at most 16 GB
	Log       *slog.Logger

	mu     sync.Mutex // Ensure and Stop, one at a time
	secret string
	owner  ground.Owner
	remote *remote   // a server that is not ours; see Adopt
	asOf   time.Time // of a Replayed server: the moment of its data

	names ground.Names

	facts    sync.Mutex // guards what follows
	found    []Clients
	strategy Strategy
	version  int // of the running server: 150018

	uses map[string]int // golden copies being copied; -1: being dropped

	talking turn // guards line, see talk
	line    *pgx.Conn
	keeps   bool // of a Solo server: the line stays open
}

// software is what FindOwner has to know: PostgreSQL refuses root.
var software = ground.Software{Name: "PostgreSQL", User: "postgres", Package: "postgresql"}

// ground is what the server stands on.
func (c *Cluster) ground() ground.Ground {
	return ground.Ground{Dir: c.Dir, What: "database cluster " + c.Name}
}

func (c *Cluster) dataDir() string { return c.ground().Data() }

func (c *Cluster) logDir() string { return c.ground().Log() }

// tmpDir is for dumps on their way; only Bosman reads it.
func (c *Cluster) tmpDir() string { return c.ground().Tmp() }

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
	return ground.Password(c.secret, "role "+role)
}

// settle fills in what the fields leave open and makes the folders.
func (c *Cluster) settle() error {
	if !filepath.IsAbs(c.Dir) {
		return bosman.Invalid("the folder %q of database cluster %s is not absolute", c.Dir, c.Name)
	}
	if c.Name == "" {
		c.Name = string(c.Profile)
	}
	if !slices.Contains([]Profile{Main, Scratch, Solo, Replayed}, c.Profile) {
		return bosman.Invalid("database cluster %s has no profile %q", c.Name, c.Profile)
	}
	if c.Port == 0 {
		c.Port = 5432
	}
	var err error
	if c.owner, err = ground.FindOwner(c.User, software); err != nil {
		return err
	}
	if c.SocketDir == "" {
		c.SocketDir = ground.SocketDir(c.Dir)
	}
	if err := c.ground().Settle(c.owner, c.SocketDir); err != nil {
		return err
	}
	if (c.Profile == Solo || c.Profile == Replayed) && c.secret != "" {
		return nil // it was told
	}
	secret, err := c.ground().Secret(c.initialised)
	if err == nil {
		c.secret = secret
	}
	return err
}

// initialised says whether the data folder holds a cluster that initdb
// finished: initdb works beside it and is renamed into place.
func (c *Cluster) initialised() bool {
	_, err := os.Stat(filepath.Join(c.dataDir(), "PG_VERSION"))
	return err == nil
}
