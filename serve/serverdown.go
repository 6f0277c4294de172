package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// A kind of database whose servers cannot be brought up does not keep Bosman
// from serving the rest. Until it is brought in order nothing works with it:
//
//	ready ◄── brought in order ── down (said, tried again)
//
// It is "down" only from the start of Bosman on: a server that dies later is
// started again by watch, and what it interrupted is tried again by who asked.

// errServerDown is the cause of what fails because a kind of database is down.
var errServerDown = errors.New("the database servers of this kind were not brought up")

// reviveEvery is how often a kind of database that is down is tried again.
const reviveEvery = 15 * time.Second

var engineNames = map[string]string{bosman.EnginePostgres: "PostgreSQL", bosman.EngineMariaDB: "MariaDB", bosman.EngineSQLite: "SQLite", "": "(no database)"}

// resumeEngine brings one kind of database in order: servers that were made
// before, and what a crash interrupted in them.
func (d *databases) resumeEngine(ctx context.Context, engine string) error {
	switch engine {
	case bosman.EnginePostgres:
		if err := d.resumePostgres(ctx); err != nil {
			return err
		}
	case bosman.EngineMariaDB:
		if err := d.resumeMariaDBs(ctx); err != nil {
			return err
		}
	}
	all, err := d.records.store.Instances(ctx, "")
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Release == 0 || i.Database.Adopted() || i.Database.Engine != engine {
			continue
		}
		k, err := d.keeperNow(ctx, i, engine)
		if err != nil && errors.Is(err, d.clones.lost) {
			continue // said before; the others come up without it
		}
		if err != nil {
			return err
		}
		if err := k.Recover(ctx); err != nil {
			return err
		}
	}
	return nil
}

// resumePostgres starts the clusters that were made before and forgets
// databases of builds that are gone.
func (d *databases) resumePostgres(ctx context.Context) error {
	if err := d.moveScratch(ctx); err != nil {
		return err
	}
	for _, name := range []string{mainCluster, scratchCluster} {
		if _, err := os.Stat(d.clusterDir(name)); err != nil {
			continue
		}
		d.mu.Lock()
		c := d.clusters[name]
		d.mu.Unlock()
		if c == nil {
			var err error
			if c, err = d.startCluster(ctx, name); err != nil { // others do not wait for it
				return err
			}
			d.mu.Lock()
			d.clusters[name] = c
			d.mu.Unlock()
		}
		if name == scratchCluster {
			if _, err := c.CleanBuilds(ctx, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// bringUp brings a kind of database in order, or notes that it is down and
// why. Only the end of ctx is an error.
func (d *databases) bringUp(ctx context.Context, engine string) error {
	err := d.resumeEngine(ctx, engine)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.mu.Lock()
	was := d.down[engine]
	delete(d.down, engine)
	if err != nil {
		d.down[engine] = bosman.AsError(err)
	}
	now := d.downLocked()
	d.mu.Unlock()
	switch {
	case err != nil && was != nil && was.Message == bosman.AsError(err).Message: // said before
	case err != nil:
		d.log.Error("the databases of a kind cannot be brought up: nothing that needs them works, the rest does", "kind", engineNames[engine], "err", err)
	case was != nil:
		d.log.Warn("the databases of a kind work again", "kind", engineNames[engine])
	}
	if err := writeDown(d.data, now); err != nil {
		d.log.Warn("which databases are down was not noted for the doctor", "err", err)
	}
	return nil
}

// usable fails if a kind of database is down. d.mu is held.
func (d *databases) usable(engine string) error {
	why := d.down[engine]
	if why == nil {
		return nil
	}
	next := why.Next
	if next != "" {
		next += "; "
	}
	return bosman.Unavailable("the %s servers do not work: %s", engineNames[engine], why.Message).Because(errServerDown).
		WithKept("their databases are untouched").WithNext(next + "bosman doctor says more, and Bosman tries again every " + reviveEvery.String())
}

// revive tries again what is down, if it is time.
func (d *databases) revive(ctx context.Context, now time.Time) {
	d.mu.Lock()
	all := d.downLocked()
	due := now.Sub(d.revived) >= reviveEvery
	d.mu.Unlock()
	if !due || len(all) == 0 {
		return
	}
	for _, x := range all {
		if err := d.bringUp(ctx, x.Engine); err != nil {
			return
		}
	}
	d.mu.Lock()
	d.revived = time.Now()
	d.mu.Unlock()
}

// downEngine is what is noted for the doctor of a kind that is down.
type downEngine struct {
	Engine string `json:"engine"`
	Why    string `json:"why"`
	Next   string `json:"next"`
}

func (d *databases) downLocked() (out []downEngine) {
	for engine, err := range d.down {
		out = append(out, downEngine{engine, err.Message, err.Next})
	}
	slices.SortFunc(out, func(a, b downEngine) int { return len(a.Engine) - len(b.Engine) })
	return out
}

func downPath(data string) string { return filepath.Join(data, "databases", "down.json") }

func writeDown(data string, all []downEngine) error {
	if len(all) == 0 {
		if err := os.Remove(downPath(data)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(downPath(data)), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(downPath(data), b, 0o600)
}

// downFindings are what the doctor says of kinds of databases that are down.
func downFindings(data string) (out []finding) {
	b, err := os.ReadFile(downPath(data))
	if err != nil {
		return nil // none is
	}
	var all []downEngine
	if err := json.Unmarshal(b, &all); err != nil {
		return []finding{{false, downPath(data) + " cannot be read", "start bosman serve: it is written anew"}}
	}
	for _, x := range all {
		out = append(out, finding{false, "the " + engineNames[x.Engine] + " servers do not work, nor does what needs them: " + x.Why, x.Next})
	}
	return out
}
