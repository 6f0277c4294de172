package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/database/sqlite"
)

// The names of our PostgreSQL clusters: staging and live on the durable one,
// testers' copies, builds and the proof of backups on the other.
const (
	mainCluster    = "main"
	scratchCluster = "scratch"
)

// cluster gives a cluster of ours, made and started at the first need.
func (d *databases) cluster(ctx context.Context, name string) (*postgres.Cluster, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(bosman.EnginePostgres); err != nil {
		return nil, err
	}
	return d.clusterLocked(ctx, name)
}

func (d *databases) clusterLocked(ctx context.Context, name string) (*postgres.Cluster, error) {
	if c := d.clusters[name]; c != nil {
		return c, nil
	}
	c, err := d.startCluster(ctx, name)
	if err != nil {
		return nil, err
	}
	d.clusters[name] = c
	return c, nil
}

// startCluster makes and starts a cluster that is not known yet.
func (d *databases) startCluster(ctx context.Context, name string) (*postgres.Cluster, error) {
	profile := postgres.Main
	if name == scratchCluster {
		profile = postgres.Scratch
	}
	c := &postgres.Cluster{Name: name, Profile: profile, Dir: d.clusterDir(name), ClientDir: d.postgresClient, Log: d.log}
	if name == scratchCluster {
		c.BinDir = d.binFor(c)
	} else if d.keepLog {
		c.Spool = filepath.Join(c.Dir, "wal")
	}
	e, err := c.Ensure(ctx)
	if err != nil {
		return nil, err
	}
	if e.Recreated {
		d.log.Warn("the host crashed, so the cluster of throw-away databases was made anew; testers need fresh copies", "cluster", name)
	}
	return c, c.Recover(ctx)
}

// binFor gives the programs asked for to a cluster that is yet to be made: one
// that is there keeps its version.
func (d *databases) binFor(c *postgres.Cluster) string {
	if _, err := os.Stat(filepath.Join(c.Dir, "data", "PG_VERSION")); err == nil {
		return ""
	}
	return d.postgresBin
}

func (d *databases) clusterDir(name string) string {
	if name == scratchCluster {
		return d.scratchDir()
	}
	return filepath.Join(d.data, "postgres", name)
}

// resume starts the servers that were made before, finishes what a crash
// interrupted, and forgets databases of builds that are gone. A kind that
// cannot be brought up is noted and keeps nobody else from starting.
func (d *databases) resume(ctx context.Context) error {
	d.openStorage(ctx)
	for _, engine := range []string{bosman.EnginePostgres, bosman.EngineMariaDB, bosman.EngineSQLite, ""} {
		if err := d.bringUp(ctx, engine); err != nil {
			return err
		}
	}
	return nil
}

// watch keeps the clusters running until ctx ends.
func (d *databases) watch(ctx context.Context) {
	t := time.NewTicker(5 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		d.mu.Lock()
		all := make([]*postgres.Cluster, 0, len(d.clusters))
		for _, c := range d.clusters {
			all = append(all, c)
		}
		d.mu.Unlock()
		for _, c := range all {
			e, err := c.Ensure(ctx)
			d.tellServer(ctx, "postgres "+c.Name, e.Started, err)
		}
		d.ensureMariaDBs(ctx)
		d.revive(ctx, time.Now())
		d.tendClones(ctx)
	}
}

// stop stops the clusters; for when everything is shut down.
func (d *databases) stop(ctx context.Context) error {
	errs := []error{d.stopClones(ctx)}
	for _, name := range []string{mainCluster, scratchCluster} {
		if _, err := os.Stat(d.clusterDir(name)); err != nil {
			continue
		}
		c := &postgres.Cluster{Name: name, Dir: d.clusterDir(name), Log: d.log}
		if name == scratchCluster {
			c.Profile = postgres.Scratch
		} else {
			c.Profile = postgres.Main
		}
		errs = append(errs, c.Stop(ctx))
	}
	return errors.Join(append(errs, d.stopMariaDBs(ctx))...)
}

// keeper gives what looks after an instance's data: on the durable cluster
// for staging and live, on the other one for copies.
func (d *databases) keeper(ctx context.Context, i bosman.Instance, engine string) (*database.Keeper, error) {
	if engine == bosman.EnginePostgres {
		if k, err := d.adoptedKeeper(ctx, i); k != nil || err != nil {
			return k, err
		}
	}
	d.mu.Lock()
	err := d.usable(engine)
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return d.keeperNow(ctx, i, engine)
}

// keeperNow is keeper for who brings a kind of database up.
func (d *databases) keeperNow(ctx context.Context, i bosman.Instance, engine string) (*database.Keeper, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	durable := i.Kind == bosman.KindLive || i.Kind == bosman.KindStaging
	further, err := d.further(i.App)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("%s/%s/%v/%s", i.App, engine, durable, strings.Join(further, ","))
	if k := d.keepers[key]; k != nil {
		return k, nil
	}
	state := filepath.Join(d.data, "databases", i.App, map[bool]string{true: "durable", false: "copies"}[durable])
	k := &database.Keeper{State: state, Log: d.log}
	switch engine {
	case "postgres":
		main, err := d.clusterLocked(ctx, mainCluster)
		if err != nil {
			return nil, err
		}
		scratch, err := d.clusterLocked(ctx, scratchCluster)
		if err != nil {
			return nil, err
		}
		onScratch, err := postgres.NewEngine(i.App, scratch, main)
		if err != nil {
			return nil, err
		}
		onScratch.Quota = d.copyQuota
		k.Scratch = onScratch
		if durable {
			k.Engine, err = postgres.NewEngine(i.App, main, scratch)
		} else {
			k.Engine, err = d.copies(i.App, onScratch, main, scratch)
		}
		if err != nil {
			return nil, err
		}
		k.Engine, k.Scratch = withFurther(k.Engine, onScratch, further), withFurther(onScratch, onScratch, further)
	case "mariadb":
		if err := d.mariaDBKeeper(ctx, i.App, durable, k); err != nil {
			return nil, err
		}
	case "sqlite":
		e, err := sqlite.NewEngine(filepath.Join(d.data, "sqlite", i.App))
		if err != nil {
			return nil, err
		}
		k.Engine, k.Scratch = e, e
	case "", "none":
	default:
		return nil, bosman.Invalid("database: %q is not a kind that Bosman runs", engine).WithNext("take postgres, sqlite, mariadb or none")
	}
	if !durable {
		d.equip(i.App, k)
	}
	d.keepers[key] = k
	return k, nil
}
