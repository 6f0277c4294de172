package postgres

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/database/storage"
)

// Strategy is a way to make a fresh copy of a database.
type Strategy struct {
	Name   string // as in bosman.CopyInfo.Strategy
	Why    string // what it does and costs: one sentence
	Faster string // why nothing faster is possible here; "" when this is the fastest
}

// The ways of package postgres, fastest first. Package clone has a faster one
// for PostgreSQL before 18.
const (
	StrategyClone    = "clone"    // PostgreSQL 18 shares the blocks of a golden copy: time follows the number of files, not bytes
	StrategyTemplate = "template" // the files of a golden copy are copied by a server without fsync
	StrategyStill    = "still"    // the files of a database that stands still are copied by the server that has it
	StrategyDump     = "dump"     // pg_dump and pg_restore
)

// Probe says how copies would be made in a cluster in dir (which need not
// exist) with the server programs in binDir; "" means Debian's newest.
func Probe(dir, binDir string) (Strategy, error) {
	c := &Cluster{Name: string(Scratch), Profile: Scratch, Dir: dir, BinDir: binDir}
	if err := c.findPrograms(); err != nil {
		return Strategy{}, err
	}
	major := c.major()
	if major == 0 {
		var err error
		if major, err = serverMajor(c.BinDir); err != nil {
			return Strategy{}, err
		}
	}
	return strategyOf(major, reflinks(dir)), nil
}

// strategyOf chooses for a scratch cluster. noLinks says why its file system
// shares no blocks, "" if it does.
func strategyOf(major int, noLinks string) Strategy {
	switch {
	case major >= 18 && noLinks == "":
		return Strategy{Name: StrategyClone, Why: fmt.Sprintf("PostgreSQL %d clones the files of a golden copy (file_copy_method=clone): copies share their blocks", major)}
	case major >= 18:
		return Strategy{
			Name: StrategyTemplate, Why: "the files of a golden copy are copied by a server without fsync (TEMPLATE … STRATEGY FILE_COPY)",
			Faster: "PostgreSQL 18's file_copy_method=clone needs a file system that shares blocks, and " + noLinks,
		}
	case noLinks == "":
		return Strategy{
			Name: StrategyTemplate, Why: "the files of a golden copy are copied by a server without fsync (TEMPLATE … STRATEGY FILE_COPY)",
			Faster: fmt.Sprintf("the file system shares blocks, but file_copy_method=clone needs PostgreSQL 18 and this is %d", major),
		}
	}
	return Strategy{
		Name: StrategyTemplate, Why: "the files of a golden copy are copied by a server without fsync (TEMPLATE … STRATEGY FILE_COPY)",
		Faster: fmt.Sprintf("clones need a file system that shares blocks, and %s; file_copy_method=clone also needs PostgreSQL 18, and this is %d", noLinks, major),
	}
}

// Strategy says how copies are made on the running cluster.
func (c *Cluster) Strategy() Strategy {
	c.facts.Lock()
	defer c.facts.Unlock()
	return c.strategy
}

// serverVersion is that of the running server: 150018.
func (c *Cluster) serverVersion() int {
	c.facts.Lock()
	defer c.facts.Unlock()
	return c.version
}

// learn asks the running server how it copies files.
func (c *Cluster) learn(ctx context.Context, conn *pgx.Conn) error {
	var version int
	var method *string
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('file_copy_method', true)").Scan(&version, &method); err != nil {
		return err
	}
	s := Strategy{Name: StrategyDump, Why: "databases of staging and live are in use, so a copy beside them is a dump that is restored", Faster: "a copy of the files needs a source that stands still"}
	if c.Profile != Main {
		noLinks := ""
		if method == nil || *method != "clone" {
			noLinks = reflinks(c.dataDir())
			if version >= 180000 && noLinks == "" {
				noLinks = "the server was started without it" // it is, at its next start
			}
		}
		s = strategyOf(version/10000, noLinks)
	}
	c.facts.Lock()
	defer c.facts.Unlock()
	c.strategy, c.version = s, version
	return nil
}

// serverMajor is the major version of the server programs in dir.
func serverMajor(dir string) (int, error) {
	out, err := programVersion(filepath.Join(dir, "postgres"))
	if err != nil {
		return 0, ground.Missing(filepath.Join(dir, "postgres"), "postgresql")
	}
	return out, nil
}

// reflinks says why files in dir, or where dir will be, cannot share blocks;
// "" if they can.
func reflinks(dir string) string {
	a, err := storage.Probe(dir)
	if err != nil {
		return bosman.AsError(err).Message
	}
	return a.Why
}
