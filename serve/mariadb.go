package serve

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mariadb"
)

// mariaDB gives a MariaDB server of ours, made and started at the first need.
// Its names are those of the PostgreSQL clusters.
func (d *databases) mariaDB(ctx context.Context, name string) (*mariadb.Cluster, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(bosman.EngineMariaDB); err != nil {
		return nil, err
	}
	return d.mariaDBLocked(ctx, name)
}

func (d *databases) mariaDBLocked(ctx context.Context, name string) (*mariadb.Cluster, error) {
	if c := d.mariaDBs[name]; c != nil {
		return c, nil
	}
	c := d.newMariaDB(name)
	e, err := c.Ensure(ctx)
	if err != nil {
		return nil, err
	}
	if e.Recreated {
		d.log.Warn("the host crashed, so the server of throw-away databases was made anew; testers need fresh copies", "server", "mariadb "+name)
	}
	if err := c.Recover(ctx); err != nil {
		return nil, err
	}
	d.mariaDBs[name] = c
	return c, nil
}

func (d *databases) mariaDBDir(name string) string { return filepath.Join(d.data, "mariadb", name) }

func (d *databases) newMariaDB(name string) *mariadb.Cluster {
	profile := mariadb.Main
	if name == scratchCluster {
		profile = mariadb.Scratch
	}
	return &mariadb.Cluster{Name: name, Profile: profile, Dir: d.mariaDBDir(name), Log: d.log}
}

// madeMariaDBs names the servers that were made before.
func (d *databases) madeMariaDBs() []string {
	var out []string
	for _, name := range []string{mainCluster, scratchCluster} {
		if _, err := os.Stat(d.mariaDBDir(name)); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// resumeMariaDBs starts the servers that were made before and forgets
// databases of builds that are gone.
func (d *databases) resumeMariaDBs(ctx context.Context) error {
	for _, name := range d.madeMariaDBs() {
		d.mu.Lock()
		c, err := d.mariaDBLocked(ctx, name)
		d.mu.Unlock()
		if err != nil {
			return err
		}
		if name != scratchCluster {
			continue
		}
		if _, err := c.CleanBuilds(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// ensureMariaDBs starts servers that died.
func (d *databases) ensureMariaDBs(ctx context.Context) {
	d.mu.Lock()
	all := make([]*mariadb.Cluster, 0, len(d.mariaDBs))
	for _, c := range d.mariaDBs {
		all = append(all, c)
	}
	d.mu.Unlock()
	for _, c := range all {
		e, err := c.Ensure(ctx)
		d.tellServer(ctx, "mariadb "+c.Name, e.Started, err)
	}
}

// tellServer says what became of a database server that was looked after.
func (d *databases) tellServer(ctx context.Context, name string, started bool, err error) {
	switch {
	case err != nil && ctx.Err() == nil:
		d.log.Error("a database server does not run", "server", name, "err", err)
	case started:
		d.log.Warn("a database server had died and was started again", "server", name)
	}
}

// stopMariaDBs stops the servers; for when everything is shut down.
func (d *databases) stopMariaDBs(ctx context.Context) error {
	var errs []error
	for _, name := range d.madeMariaDBs() {
		errs = append(errs, d.newMariaDB(name).Stop(ctx))
	}
	return errors.Join(errs...)
}

// mariaDBKeeper fills in the engines of a keeper.
func (d *databases) mariaDBKeeper(ctx context.Context, app string, durable bool, k *database.Keeper) error {
	main, err := d.mariaDBLocked(ctx, mainCluster)
	if err != nil {
		return err
	}
	scratch, err := d.mariaDBLocked(ctx, scratchCluster)
	if err != nil {
		return err
	}
	onScratch, err := mariadb.NewEngine(app, scratch, main)
	if err != nil {
		return err
	}
	k.Scratch, k.Engine = onScratch, onScratch
	if durable {
		k.Engine, err = mariadb.NewEngine(app, main, scratch)
	}
	return err
}

// mariaDBForBuild gives a build a database to test on.
func (t testDatabases) mariaDBForBuild(ctx context.Context, id string) (bosman.Database, func(context.Context) error, error) {
	scratch, err := t.databases.mariaDB(ctx, scratchCluster)
	if err != nil {
		return bosman.Database{}, nil, err
	}
	d, err := scratch.BuildDatabase(ctx, id)
	return d, func(ctx context.Context) error { return scratch.CleanBuild(ctx, id) }, err
}
