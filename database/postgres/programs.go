package postgres

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
)

// Where Debian and its relatives put each version's programs.
const debianRoot = "/usr/lib/postgresql"

// serverPrograms are what running a cluster needs; all else are client
// programs, which may lie in another folder and be of a newer version.
var serverPrograms = []string{"initdb", "pg_ctl", "postgres"}

// findPrograms sets BinDir: the version that made the data, or the newest.
func (c *Cluster) findPrograms() error {
	want, err := os.ReadFile(filepath.Join(c.dataDir(), "PG_VERSION"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ground.IOError("read the version of database cluster "+c.Name, c.Dir, err)
	}
	major := strings.TrimSpace(string(want))
	if major != "" {
		c.recall()
	}
	if c.BinDir == "" {
		dir, err := newestBin(debianRoot, major)
		if err != nil {
			return err
		}
		c.BinDir = dir
	}
	for _, p := range serverPrograms {
		if _, err := os.Stat(filepath.Join(c.BinDir, p)); err != nil {
			return ground.Missing(filepath.Join(c.BinDir, p), "postgresql")
		}
	}
	if major == "" {
		return nil
	}
	out, err := exec.Command(filepath.Join(c.BinDir, "postgres"), "--version").Output()
	if err != nil {
		return ground.Missing(filepath.Join(c.BinDir, "postgres"), "postgresql-"+major)
	}
	have := strings.Fields(string(out)) // postgres (PostgreSQL) 15.18 (Debian …)
	if len(have) < 3 || majorOf(have[2]) != major {
		return bosman.Unavailable("the databases of cluster %s were made by PostgreSQL %s, but %s holds %s",
			c.Name, major, c.BinDir, strings.TrimSpace(string(out))).
			WithKept("the databases are untouched").
			WithNext("install the same version: apt-get install postgresql-" + major)
	}
	return nil
}

// The folder of the programs that made a cluster is noted beside it: one that
// is not Debian's must be found again at the next start.
func (c *Cluster) programsNote() string { return filepath.Join(c.Dir, "programs") }

// recall takes the noted folder if it is there and fits the data better than
// what was asked for: a cluster keeps the version that made it.
func (c *Cluster) recall() {
	b, err := os.ReadFile(c.programsNote())
	if err != nil {
		return // made before there were notes, or with Debian's
	}
	dir := strings.TrimSpace(string(b))
	if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
		c.BinDir = dir
	}
}

// majorOf gives 15 for "15.18" and 18 for "18beta1".
func majorOf(version string) string {
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return version
	}
	return version[:end]
}

// major is the version that made the cluster's data, 0 if there is none.
func (c *Cluster) major() int {
	if c.remote != nil {
		return c.serverVersion() / 10000
	}
	b, err := os.ReadFile(filepath.Join(c.dataDir(), "PG_VERSION"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}

// newestBin looks for ROOT/VERSION/bin, of one major version if it is given.
func newestBin(root, major string) (string, error) {
	dirs, err := filepath.Glob(filepath.Join(root, "*", "bin", "postgres"))
	if err != nil {
		return "", err
	}
	best, found := 0.0, ""
	for _, p := range dirs {
		v := filepath.Base(filepath.Dir(filepath.Dir(p)))
		n, err := strconv.ParseFloat(v, 64)
		if err == nil && (v == major || major == "" && n > best) {
			best, found = n, filepath.Dir(p)
		}
	}
	switch {
	case found != "":
		return found, nil
	case major != "" && len(dirs) > 0:
		return "", bosman.Unavailable("the databases were made by PostgreSQL %s, which is not installed", major).
			WithKept("the databases are untouched").WithNext("install it: apt-get install postgresql-" + major)
	}
	return "", ground.Missing("postgres", "postgresql")
}

// Clients is a folder with pg_dump and the other client programs.
type Clients struct {
	Dir   string
	Major int
}

// clients gives the folders with client programs that c may use: ClientDir,
// BinDir, and Debian's. Those of one version come once.
func (c *Cluster) clients() []Clients {
	c.facts.Lock()
	defer c.facts.Unlock()
	if c.found == nil {
		if c.BinDir == "" && c.remote == nil {
			c.recall() // it was not started here: the doctor looks
		}
		c.found = FindClients(c.ClientDir, c.BinDir)
	}
	return c.found
}

// FindClients looks for client programs in the given folders and in Debian's.
func FindClients(dirs ...string) []Clients {
	var out []Clients
	add := func(dir string, major int) {
		if major != 0 && !slices.ContainsFunc(out, func(k Clients) bool { return k.Major == major }) {
			out = append(out, Clients{dir, major})
		}
	}
	for _, dir := range dirs {
		if dir != "" {
			add(dir, clientMajor(dir))
		}
	}
	all, err := filepath.Glob(filepath.Join(debianRoot, "*", "bin", "pg_dump"))
	if err != nil {
		return out // the pattern is a constant
	}
	for _, p := range all {
		n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(p))))
		if err == nil {
			add(filepath.Dir(p), n)
		}
	}
	return out
}

// clientMajor is the version of the client programs in dir, 0 if they are not
// all there.
func clientMajor(dir string) int {
	for _, p := range []string{"pg_dump", "pg_restore", "pg_dumpall"} {
		if _, err := os.Stat(filepath.Join(dir, p)); err != nil {
			return 0
		}
	}
	n, err := programVersion(filepath.Join(dir, "pg_dump"))
	if err != nil {
		return 0
	}
	return n
}

// programVersion asks one of PostgreSQL's programs for its major version.
func programVersion(path string) (int, error) {
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(out)) // pg_dump (PostgreSQL) 15.18 (Debian …)
	if len(f) < 3 {
		return 0, bosman.Internal("%s does not say its version", path)
	}
	return strconv.Atoi(majorOf(f[2]))
}

// Dumper chooses the programs that dump a server of the given major version:
// pg_dump refuses servers newer than itself. KindUnavailable if none fits.
func Dumper(server int, all []Clients) (Clients, error) {
	best := Clients{}
	for _, k := range all {
		if k.Major >= server && (best.Major == 0 || k.Major < best.Major) {
			best = k
		}
	}
	if best.Major == 0 {
		return best, bosman.Unavailable("no pg_dump here can read a PostgreSQL %d server%s", server, newestOf(all)).
			WithKept("its databases run on; they cannot be dumped").
			WithNext(fmt.Sprintf("install it: apt-get install postgresql-client-%d", server))
	}
	return best, nil
}

// Restorer chooses the programs that restore a dump whose reader must be of
// version since or newer, into a server of the given major version: the nearest,
// and those that need a relay (needsRelay) only if there are no others.
func Restorer(server, since int, all []Clients) (Clients, error) {
	best := Clients{}
	far := func(k Clients) int {
		if needsRelay(k.Major, server) {
			return 1000 + k.Major
		}
		return max(k.Major-server, server-k.Major)
	}
	for _, k := range all {
		if k.Major < since {
			continue
		}
		if best.Major == 0 || far(k) < far(best) {
			best = k
		}
	}
	if best.Major == 0 {
		return best, bosman.Unavailable("no pg_restore here can bring this dump into a PostgreSQL %d server%s", server, newestOf(all)).
			WithKept("the dump is whole").
			WithNext(fmt.Sprintf("install it: apt-get install postgresql-client-%d", max(server, since)))
	}
	return best, nil
}

// needsRelay says whether a pg_restore says what the server does not know.
func needsRelay(restore, server int) bool { return restore >= 17 && server < 17 }

func newestOf(all []Clients) string {
	newest := 0
	for _, k := range all {
		newest = max(newest, k.Major)
	}
	if newest == 0 {
		return ": there is none"
	}
	return fmt.Sprintf(": the newest is of version %d", newest)
}

// readerOf gives the oldest version of pg_restore that reads a dump: its
// archive format is in its first bytes (K_VERS_… in pg_backup_archiver.h).
func readerOf(dump string) (int, error) {
	f, err := os.Open(dump)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // it was only read
	head := make([]byte, 7)
	if _, err := io.ReadFull(f, head); err != nil || string(head[:5]) != "PGDMP" {
		return 0, bosman.Failed("%s is not a dump of PostgreSQL: it is truncated or damaged", filepath.Base(dump)).
			WithKept("what was there before is untouched").WithNext("take another backup").Because(err)
	}
	switch major, minor := head[5], head[6]; {
	case major == 1 && minor <= 14:
		return 12, nil
	case major == 1 && minor == 15:
		return 16, nil
	default:
		return 17, nil
	}
}

// dumper gives the path of a client program that fits c's server.
func (c *Cluster) dumper(program string) (string, error) {
	k, err := Dumper(c.major(), c.clients())
	return filepath.Join(k.Dir, program), err
}

// restorer gives the pg_restore that brings a dump into e's server, and its
// version.
func (e *Engine) restorer(dump string) (path string, version int, err error) {
	since, err := readerOf(dump)
	if err != nil {
		return "", 0, err
	}
	all := slices.Clone(e.home.clients())
	for _, s := range e.sources {
		all = append(all, s.clients()...)
	}
	k, err := Restorer(e.home.major(), since, all)
	return filepath.Join(k.Dir, "pg_restore"), k.Major, err
}

// CannotDump says why the cluster's databases cannot be dumped, nil if they can.
func (c *Cluster) CannotDump() error {
	if c.major() == 0 {
		return nil // there are none
	}
	_, err := c.dumper("pg_dump")
	return err
}
