package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mariadb"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/manifest"
)

// databases looks after the data of all instances: deploy.Databases and
// deploy.Copies over the drivers.
type databases struct {
	data      string // DATA
	records   *records
	instances *instances // runs the guard command
	vaults    *vaults    // where backups lie
	masks     *masks     // what copies must not show
	// copySource names the instance that testers' copies are made of; nil: nobody knows.
	copySource func(ctx context.Context, app string) (string, error)
	log        *slog.Logger

	postgresBin    string // programs of the PostgreSQL that a new cluster for copies is made with; "" is Debian's newest
	postgresClient string // programs that dump and restore; "" are those that fit best
	copyQuota      int64  // bytes that the copies of an app may take; 0: no bound
	keepLog        bool   // the durable cluster's log is kept: see timeline
	renewals       *renewals

	mu       sync.Mutex
	poolWhy  map[string]string // app → why there are fewer copies ready than wanted
	clusters map[string]*postgres.Cluster
	mariaDBs map[string]*mariadb.Cluster
	keepers  map[string]*database.Keeper
	looked   map[string]bosman.AdoptedDatabase // by app/instance
	down     map[string]*bosman.Error          // kinds that could not be brought up, each with why
	revived  time.Time                         // when that was tried last
	clones   *clones                           // where copies live; set by resume
}

func newDatabases(data string, r *records, log *slog.Logger) *databases {
	return &databases{data: data, records: r, log: log, clusters: map[string]*postgres.Cluster{}, mariaDBs: map[string]*mariadb.Cluster{}, keepers: map[string]*database.Keeper{}, looked: map[string]bosman.AdoptedDatabase{}, down: map[string]*bosman.Error{}, renewals: newRenewals(), poolWhy: map[string]string{}}
}

// dataDir is where an instance's files lie; "" when its release has none.
func (d *databases) snapshot(i bosman.Instance, m *bosman.Manifest) database.Snapshot {
	s := database.Snapshot{Database: i.Database, UID: unixUser(i)}
	if len(m.Data) > 0 {
		s.Files = filepath.Join(instanceDir(d.data, i.App, i.Name), "data")
	}
	return s
}

// of gives the keeper of an instance and the manifest of a release on it.
func (d *databases) of(ctx context.Context, i bosman.Instance, release int) (*database.Keeper, *bosman.Manifest, error) {
	m, err := d.records.Manifest(ctx, i.App, release)
	if err != nil {
		return nil, nil, err
	}
	if err := d.noteFurther(i.App, m.DatabaseNames()); err != nil {
		return nil, nil, err
	}
	k, err := d.keeper(ctx, i, m.Database.Engine)
	return k, m, err
}

// Ensure makes the instance's own database unless it is there.
func (d *databases) Ensure(ctx context.Context, i bosman.Instance, release int) (bosman.Database, error) {
	k, m, err := d.of(ctx, i, release)
	if err != nil || k.Engine == nil {
		return bosman.Database{}, err
	}
	db, err := k.Engine.Find(ctx, i.Name)
	if bosman.KindOf(err) == bosman.KindNotFound {
		db, err = k.Engine.Create(ctx, i.Name)
	}
	if err != nil {
		return db, err
	}
	if err := d.complete(ctx, k, i, m); err != nil {
		return db, err
	}
	if o, ok := k.Engine.(database.Owner); ok && unixUser(i) != 0 {
		err = o.Own(ctx, db, unixUser(i))
	}
	if err == nil {
		err = d.extend(ctx, k, db, m)
	}
	db.Password = ""
	if err == nil && db.Adopted() {
		i.Database = db
		d.Adopted(ctx, i) // noted for the doctor
	}
	return db, err
}

// Drop takes away the database of an instance.
func (d *databases) Drop(ctx context.Context, i bosman.Instance) error {
	if i.Database.Adopted() {
		return d.forgetAdopted(i) // it is not Bosman's to drop
	}
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil || k.Engine == nil {
		return err
	}
	db, err := k.Engine.Find(ctx, i.Name)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return k.Engine.Drop(ctx, db)
}

// dropAll takes away an instance's database, files and what was kept of it.
func (d *databases) dropAll(ctx context.Context, i bosman.Instance) error {
	if i.Database.Adopted() {
		return d.forgetAdopted(i) // it is not Bosman's to drop
	}
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return err
	}
	files := filepath.Join(instanceDir(d.data, i.App, i.Name), "data")
	kept, err := k.Kept(ctx, i.Name, files)
	if err != nil {
		return err
	}
	for _, old := range kept {
		if err := k.Drop(ctx, old.Snapshot); err != nil {
			return err
		}
	}
	if err := d.Forget(ctx, i, func(int) bool { return true }); err != nil {
		return err
	}
	return d.Drop(ctx, i)
}

// guardTimeout is how long an application may take to say which database it
// would use.
const guardTimeout = time.Minute

// Guard asks the application which database it would use.
func (d *databases) Guard(ctx context.Context, l deploy.Launch) error {
	m, err := d.records.Manifest(ctx, l.Instance.App, l.Release)
	if err != nil {
		return err
	}
	if err := d.extendOwn(ctx, l.Instance, m); err != nil {
		return err
	}
	command := manifest.GuardCommand(m)
	if l.Instance.Database.Engine == "" {
		return nil
	}
	if command == "" {
		return d.cameInRehearsal(ctx, l, m)
	}
	ctx, cancel := context.WithTimeout(ctx, guardTimeout)
	defer cancel()
	var out, stderr bytes.Buffer
	exit, err := d.instances.exec(ctx, l, "guard", command, nil, &out, &stderr)
	if err != nil {
		return err
	}
	where := "nothing was migrated, seeded or tested against any database"
	if !exit.OK() {
		return bosman.Failed("the application could not say which database it would use: %s", lastLine(stderr.String(), exit.String())).
			WithKept(where).WithNext("run it by hand: bosman run " + l.Instance.Name + " -- " + command)
	}
	answer, err := manifest.ParseGuard(out.String())
	if err != nil {
		return bosman.AsError(err).WithKept(where)
	}
	got := database.Reported{Engine: answer.Engine, Name: answer.Name, User: answer.User, Host: answer.Host, Port: answer.Port}
	if answer.Service != "" || !database.Same(l.Instance.Database, got) {
		want := l.Instance.Database
		return bosman.Conflict("the application would use the database %s on %s, but the database of %s is %s on %s", answer.Name, orHere(answer.Host), l.Instance.Name, want.Name, orHere(want.Host)).
			WithKept(where).WithNext("let its settings read DATABASE_URL (or DB_NAME, DB_HOST and so on); Bosman sets them for each instance")
	}
	return nil
}

func orHere(host string) string {
	if host == "" {
		return "this host"
	}
	return host
}

// Schema describes the schema as it is.
func (d *databases) Schema(ctx context.Context, i bosman.Instance) (string, error) {
	schema, err := d.schema(ctx, i)
	if err != nil || schema == nil {
		return "", err
	}
	b, err := json.Marshal(schema)
	return string(b), err
}

func (d *databases) schema(ctx context.Context, i bosman.Instance) (*database.Schema, error) {
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil || k.Engine == nil {
		return nil, err
	}
	if e, ok := k.Engine.(interface {
		Schema(context.Context, bosman.Database) (database.Schema, error)
	}); ok {
		s, err := e.Schema(ctx, i.Database)
		return &s, err
	}
	got, err := k.Engine.Inspect(ctx, i.Database)
	return &got.Schema, err
}

// Changed tells what is different since.
func (d *databases) Changed(ctx context.Context, i bosman.Instance, before string) (deploy.SchemaChange, error) {
	now, err := d.schema(ctx, i)
	if err != nil || now == nil || before == "" {
		return deploy.SchemaChange{}, err
	}
	var was database.Schema
	if err := json.Unmarshal([]byte(before), &was); err != nil {
		return deploy.SchemaChange{}, err
	}
	diff := database.Diff(was, *now)
	if diff.Same() {
		return deploy.SchemaChange{}, nil
	}
	return deploy.SchemaChange{Text: diff.String(), Destructive: diff.Destructive()}, nil
}

// Copy builds a copy of another instance's data beside that of i.
func (d *databases) Copy(ctx context.Context, i, from bosman.Instance, o deploy.CopyOptions) (deploy.Prepared, error) {
	k, m, err := d.of(ctx, i, from.Release)
	if err != nil {
		return deploy.Prepared{}, err
	}
	if err := d.maskable(ctx, k, from); err != nil {
		return deploy.Prepared{}, err
	}
	if err := os.MkdirAll(instanceDir(d.data, i.App, i.Name), 0o755); err != nil {
		return deploy.Prepared{}, bosman.Unavailable("the folder of %s cannot be made", i.Name).Because(err)
	}
	info, err := k.PrepareCopy(ctx, d.shown(from, m), i.Name, d.snapshot(i, m), database.CopyOptions{
		Exact: o.Exact, MaxAge: time.Minute, Release: from.Release, Accept: o.Accept, From: from.Name,
	})
	if err != nil {
		return deploy.Prepared{}, err
	}
	d.renewals.want(i.App, false) // one that was ready may be gone
	note := fmt.Sprintf("%s from %s in %s by %s", size(info.Bytes), from.Name, short(info.Took), info.Strategy)
	if info.Release != 0 && info.Release != from.Release {
		note += fmt.Sprintf("; the data is of %s: what %s runs by now is not part of this change", bosman.Ref(bosman.LetterRelease, info.Release), from.Name)
	}
	db, err := place(ctx, k, i.Name)
	return deploy.Prepared{Name: i.Name, Database: db, Copy: info, Note: note}, err
}

// Offered gives the releases whose data a copy of from could hold now, newest
// first.
func (d *databases) Offered(ctx context.Context, i, from bosman.Instance, exact bool) ([]int, error) {
	k, _, err := d.of(ctx, i, from.Release)
	if err != nil || k.Engine == nil {
		return nil, err
	}
	r, ok := k.Engine.(database.Refresher)
	if !ok || exact {
		return []int{from.Release}, nil
	}
	if err := d.lend(ctx, from); err != nil {
		return nil, err
	}
	all, err := r.Offered(ctx, from.Database, from.Release)
	if err != nil || len(all) == 0 { // one is made then
		return []int{from.Release}, err
	}
	out := make([]int, 0, len(all))
	for _, g := range all {
		out = append(out, g.Copy.Release)
	}
	return out, nil
}

// own gives an instance's own database with its password, which is kept
// nowhere but on the database server's side.
func (d *databases) own(ctx context.Context, i bosman.Instance) (bosman.Database, error) {
	if i.Database.Engine == "" {
		return bosman.Database{}, nil
	}
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return bosman.Database{}, err
	}
	if err := wake(ctx, k.Engine, i.Name); err != nil {
		return bosman.Database{}, err
	}
	return k.Engine.Find(ctx, i.Name)
}

// place names the database an instance has or will have, without password.
func place(ctx context.Context, k *database.Keeper, name string) (bosman.Database, error) {
	if k.Engine == nil {
		return bosman.Database{}, nil
	}
	find := k.Engine.Find
	if p, ok := k.Engine.(interface {
		Place(context.Context, string) (bosman.Database, error)
	}); ok { // another server than before
		find = p.Place
	}
	db, err := find(ctx, name)
	if bosman.KindOf(err) == bosman.KindNotFound {
		err = nil
	}
	db.Password = ""
	return db, err
}

// Swap puts what was prepared in place and keeps what was there.
func (d *databases) Swap(ctx context.Context, i bosman.Instance, p deploy.Prepared) (string, error) {
	k, err := d.keeper(ctx, i, p.Database.Engine)
	if err != nil {
		return "", err
	}
	kept, err := k.SwapIn(ctx, i.Name)
	if err != nil {
		return "", err
	}
	if i.Kind == bosman.KindTesting || i.Kind == bosman.KindPreview {
		if err := d.pruneKept(ctx, k, i.Name, filepath.Join(instanceDir(d.data, i.App, i.Name), "data")); err != nil {
			return "", err
		}
	}
	if kept.Database.Name != "" {
		return kept.Database.Name, nil
	}
	return kept.Files, nil
}

// keptCopies is how many replaced copies of a testing instance stay.
const keptCopies = 1

func (d *databases) pruneKept(ctx context.Context, k *database.Keeper, name, files string) error {
	kept, err := k.Kept(ctx, name, files)
	if err != nil {
		return err
	}
	for n, old := range kept {
		if n >= keptCopies {
			if err := k.Drop(ctx, old.Snapshot); err != nil {
				return err
			}
		}
	}
	return nil
}

// Unswap takes a Swap back.
func (d *databases) Unswap(ctx context.Context, i bosman.Instance, p deploy.Prepared, _ string) error {
	k, err := d.keeper(ctx, i, p.Database.Engine)
	if err != nil {
		return err
	}
	return k.SwapBack(ctx, i.Name)
}

// Discard drops what was prepared and not used.
func (d *databases) Discard(ctx context.Context, i bosman.Instance, p deploy.Prepared) error {
	k, err := d.keeper(ctx, i, p.Database.Engine)
	if err != nil {
		return err
	}
	return k.Discard(ctx, i.Name)
}
