package postgres

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// remote makes a Cluster of a server that is not ours: one database of it,
// reached by the role of a URL, with no rights but that role's.
type remote struct {
	instance string // whose database it is
	db       bosman.Database
}

// ParseURL reads the address of a PostgreSQL database as applications write
// it: postgres://user:password@host:5432/name?sslmode=require. Errors do not
// show the password.
func ParseURL(text string) (bosman.Database, error) {
	wrong := func(why string) (bosman.Database, error) {
		return bosman.Database{}, bosman.Invalid("the address of the database is not usable: %s", why).
			WithNext("write postgres://USER:PASSWORD@HOST:5432/NAME?sslmode=require, with %-escapes in the password")
	}
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return wrong("it is not a URL") // what is wrong with it may be the password
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" && u.Scheme != "postgis" {
		return wrong("it begins with " + strconv.Quote(u.Scheme) + ", not with postgres://")
	}
	d := bosman.Database{Engine: "postgres", Name: strings.TrimPrefix(u.Path, "/"), User: u.User.Username(), Host: u.Hostname(), Port: 5432}
	d.Password, _ = u.User.Password()
	if p := u.Port(); p != "" {
		if d.Port, err = strconv.Atoi(p); err != nil {
			return wrong("the port is no number")
		}
	}
	query := u.Query()
	if h := query.Get("host"); h != "" {
		d.Host = h
	}
	if p := query.Get("port"); p != "" {
		if d.Port, err = strconv.Atoi(p); err != nil {
			return wrong("the port is no number")
		}
	}
	if p := query.Get("password"); p != "" {
		d.Password = p
	}
	for _, k := range []string{"host", "port", "password"} {
		query.Del(k)
	}
	d.Params = query.Encode()
	if d.Name == "" || d.User == "" || d.Host == "" || strings.Contains(d.Host, ",") {
		return wrong("it must name one host, a user and a database")
	}
	if _, err := pgx.ParseConfig(dsn(d, true)); err != nil {
		return wrong("its parameters are not understood")
	}
	return d, nil
}

// understood are the parameters of a URL that libpq and our driver share;
// others (of Prisma, of poolers) are for the application alone.
var understood = []string{"options", "sslcert", "sslkey", "sslmode", "sslrootcert", "sslsni", "target_session_attrs"}

// settings writes the parameters of a URL as libpq's keywords.
func settings(params string) string {
	values, err := url.ParseQuery(params)
	if err != nil {
		return "" // ParseURL made it
	}
	var b strings.Builder
	for _, k := range understood {
		if !values.Has(k) {
			continue
		}
		fmt.Fprintf(&b, " %s='%s'", k, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(values.Get(k)))
	}
	return b.String()
}

// Adopt reaches a database that Bosman did not make, the instance's of app, by
// its URL. The name of the cluster is AdoptedPrefix with both.
func Adopt(ctx context.Context, app, instance, address string, log *slog.Logger) (*Cluster, error) {
	d, err := ParseURL(address)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Name: AdoptedName(app, instance), Log: log, remote: &remote{instance: instance}}
	d.Cluster = c.Name
	c.remote.db = d
	return c, c.with(ctx, d.Name, "reach the database of "+instance, func(conn *pgx.Conn) error {
		var version int
		if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
			return err
		}
		c.facts.Lock()
		defer c.facts.Unlock()
		c.version = version
		return nil
	})
}

// AdoptedName is the cluster of an instance's adopted database.
func AdoptedName(app, instance string) string { return bosman.AdoptedPrefix + app + "/" + instance }

// IsAdopted says whether Bosman did not make this database.
func IsAdopted(d bosman.Database) bool { return d.Adopted() }

// Adopted drives one database that Bosman did not make: it reads and dumps it
// and touches nothing else.
type Adopted struct {
	cluster *Cluster
	in      *Engine
}

var (
	_ database.Engine          = (*Adopted)(nil)
	_ database.ActivityCounter = (*Adopted)(nil)
	_ database.Streamer        = (*Adopted)(nil)
	_ database.Extender        = (*Adopted)(nil)
	_ database.Limited         = (*Adopted)(nil)
)

// NewAdopted drives the database that c, made by Adopt, reaches.
func NewAdopted(app string, c *Cluster) (*Adopted, error) {
	if c.remote == nil {
		return nil, bosman.Internal("database cluster %s is one of Bosman's own", c.Name)
	}
	in, err := NewEngine(app, c)
	return &Adopted{cluster: c, in: in}, err
}

// refuse is the error for what Bosman does not do to such a database.
func (a *Adopted) refuse(what, next string) error {
	return bosman.Invalid("%s is not Bosman's own database: %s", a.cluster.remote.instance, what).
		WithKept("the database is as it was").WithNext(next)
}

func (a *Adopted) target() string {
	d := a.cluster.remote.db
	return fmt.Sprintf("-h %s -p %d -U %s", d.Host, d.Port, d.User)
}

// Create implements database.Engine: the database exists, or cannot be had.
func (a *Adopted) Create(context.Context, string) (bosman.Database, error) {
	return bosman.Database{}, a.refuse("Bosman makes no databases on its server", "make it there, and set the secret to its URL")
}

// Copy implements database.Engine.
func (a *Adopted) Copy(context.Context, bosman.Database, string, database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	return bosman.Database{}, bosman.CopyInfo{}, a.refuse("Bosman makes no copies on its server", "take a backup; testers' copies are made on Bosman's own server")
}

// Restore implements database.Engine: it says the commands.
func (a *Adopted) Restore(_ context.Context, _, _ string) (bosman.Database, error) {
	return bosman.Database{}, a.refuse("Bosman puts no backup in its place", a.ByHand())
}

// ByHand gives the commands that restore a backup by hand, without a password.
func (a *Adopted) ByHand() string {
	d := a.cluster.remote.db
	return strings.Join([]string{
		"restore by hand: stop the instance, then, on Bosman's machine and with the number of the backup",
		"    bosman backup fetch k12 --to ./k12",
		"    createdb " + a.target() + " " + shellWord(d.Name+"_restored"),
		"    pg_restore " + a.target() + " --no-owner --no-acl --exit-on-error -d " + shellWord(d.Name+"_restored") + " k12/database.dump",
		"set the secret to the new database's URL and start the instance",
	}, "\n")
}

// Swap implements database.Engine.
func (a *Adopted) Swap(context.Context, bosman.Database, bosman.Database) (bosman.Database, error) {
	return bosman.Database{}, a.refuse("Bosman renames nothing on its server", "set the secret to the URL of the database that shall take its place")
}

// Drop implements database.Engine.
func (a *Adopted) Drop(context.Context, bosman.Database) error {
	return a.refuse("Bosman does not drop it", "drop it by hand if nobody needs it: dropdb "+a.target()+" "+shellWord(a.cluster.remote.db.Name))
}

// Find implements database.Engine.
func (a *Adopted) Find(_ context.Context, name string) (bosman.Database, error) {
	d := a.cluster.remote.db
	if err := database.CheckName(name); err != nil {
		return bosman.Database{}, err
	}
	if name != a.cluster.remote.instance {
		d.Name += "__" + strings.Join(database.Tags(name), "__")
		return d, bosman.NotFound("beside the database of %s, which is not Bosman's own, there is none", a.cluster.remote.instance)
	}
	return d, nil
}

// List implements database.Engine.
func (a *Adopted) List(ctx context.Context) ([]database.Entry, error) {
	d := a.cluster.remote.db
	bytes, err := a.cluster.bytesOf(ctx, d.Name)
	return []database.Entry{{Database: d, Name: a.cluster.remote.instance, Bytes: bytes}}, err
}

// Recover implements database.Engine: nothing is ever half done there.
func (a *Adopted) Recover(context.Context) error { return nil }

// Backup implements database.Engine.
func (a *Adopted) Backup(ctx context.Context, d bosman.Database, dir string) (database.BackupInfo, error) {
	return a.in.Backup(ctx, d, dir)
}

// BackupTo implements database.Streamer.
func (a *Adopted) BackupTo(ctx context.Context, d bosman.Database, put func(name string, write func(io.Writer) error) error) (database.BackupInfo, error) {
	return a.in.BackupTo(ctx, d, put)
}

// Inspect implements database.Engine.
func (a *Adopted) Inspect(ctx context.Context, d bosman.Database) (database.Inspection, error) {
	return a.in.Inspect(ctx, d)
}

// Schema is Inspect without counting rows.
func (a *Adopted) Schema(ctx context.Context, d bosman.Database) (database.Schema, error) {
	return a.in.Schema(ctx, d)
}

// Activity implements database.ActivityCounter.
func (a *Adopted) Activity(ctx context.Context, d bosman.Database) (map[string]int64, error) {
	return a.in.Activity(ctx, d)
}

// Extend implements database.Extender with the role's own rights.
func (a *Adopted) Extend(ctx context.Context, d bosman.Database, names []string) error {
	err := a.in.Extend(ctx, d, names)
	if err == nil || bosman.KindOf(err) == bosman.KindUnavailable {
		return err
	}
	return bosman.Invalid("the extensions %s cannot be made in the database of %s, which is not Bosman's own", strings.Join(names, ", "), a.cluster.remote.instance).
		WithKept("the data is as it was").WithNext("let an administrator of that server run CREATE EXTENSION for each").Because(err)
}

// Abilities implements database.Limited. Nothing is tried that would change
// anything.
func (a *Adopted) Abilities(ctx context.Context, d bosman.Database) ([]bosman.Ability, error) {
	all := []bosman.Ability{
		{Name: bosman.CanVerify, OK: true, Why: "on Bosman's own server"},
		{Name: bosman.CanCount, OK: true},
		{Name: bosman.CanRestore, Why: "Bosman does not replace a database that it did not make; it says the commands"},
		{Name: bosman.CanKeep, Why: "Bosman makes no copies on that server, so a revert with its database is a restore by hand"},
		{Name: bosman.CanRoles, Why: "a backup holds no roles of a server that is not Bosman's own"},
		{Name: bosman.CanCreate, Why: "it is made and dropped by whoever runs the server"},
		{Name: bosman.CanCheck, Why: "damage is found by the trial restore only"},
	}
	var unreadable []string
	var super bool
	err := a.cluster.with(ctx, d.Name, "see what may be done with the database of "+a.cluster.remote.instance, func(conn *pgx.Conn) error {
		if err := conn.QueryRow(ctx, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&super); err != nil {
			return err
		}
		rows, err := conn.Query(ctx, `SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind IN ('r', 'p', 'S', 'm') AND c.relpersistence <> 't' AND `+ownObjects+`
			AND NOT (has_schema_privilege(n.oid, 'USAGE') AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END) ORDER BY 1`)
		if err != nil {
			return err
		}
		unreadable, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, err
	}
	read := bosman.Ability{OK: len(unreadable) == 0}
	if !read.OK {
		more := ""
		if n := len(unreadable) - 5; n > 0 {
			more, unreadable = fmt.Sprintf(" and %d more", n), unreadable[:5]
		}
		read.Why = "the role " + d.User + " may not read " + strings.Join(unreadable, ", ") + more + ": GRANT SELECT on them"
	}
	if err := a.cluster.CannotDump(); err != nil {
		e := bosman.AsError(err)
		read = bosman.Ability{Why: e.Message + "; " + e.Next}
	}
	for _, name := range []string{bosman.CanBackup, bosman.CanCopy} {
		read.Name = name
		all = append(all, read)
	}
	whole, err := a.whole(ctx, d)
	if err != nil {
		return nil, err
	}
	all = append(all, whole)
	x := bosman.Ability{Name: bosman.CanExtend, OK: super}
	if !super {
		x.Why = "the role " + d.User + " is no superuser there; trusted extensions may still be made"
	}
	return append(all, x), nil
}

// AddSource lets databases of c be copied.
func (e *Engine) AddSource(c *Cluster) { e.adopted.Store(c.Name, c) }

// adoptedSource gives the cluster of an adopted database; nil for another.
func (e *Engine) adoptedSource(name string) *Cluster {
	if e.adopted == nil {
		return nil
	}
	v, ok := e.adopted.Load(name)
	if !ok {
		return nil
	}
	c, ok := v.(*Cluster)
	if !ok {
		return nil
	}
	return c
}

// unanswered is the error for a server that is not ours and does not answer.
func (r *remote) unanswered(doing string, err error) error {
	return bosman.Unavailable("could not %s: the database server %s:%d does not answer", doing, r.db.Host, r.db.Port).
		WithKept("nothing was changed").WithNext("see whether it runs and whether this machine may reach it").Because(err)
}

func shellWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// ShareSources lets e copy what from was given by AddSource, now and later.
func (e *Engine) ShareSources(from *Engine) { e.adopted = from.adopted }
