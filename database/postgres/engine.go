package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
)

type tag = pgconn.CommandTag

// Engine drives the databases of one app on one cluster.
type Engine struct {
	Quota int64 // bytes that the app's databases on the cluster may take before copies are refused; 0: no bound. Set it first.

	home    *Cluster
	app     string
	sources map[string]*Cluster
	log     *slog.Logger
	now     func() time.Time
	masking database.Masking // nil: golden copies hold what their source holds
	adopted *sync.Map        // Cluster.Name → *Cluster, see AddSource
}

var (
	_ database.Engine          = (*Engine)(nil)
	_ database.Checker         = (*Engine)(nil)
	_ database.Refresher       = (*Engine)(nil)
	_ database.ActivityCounter = (*Engine)(nil)
	_ database.Pooler          = (*Engine)(nil)
)

// NewEngine drives the databases of app on the cluster home. Databases on the
// clusters in sources can be copied to it. All must have been ensured.
func NewEngine(app string, home *Cluster, sources ...*Cluster) (*Engine, error) {
	if err := bosman.CheckName("app", app); err != nil {
		return nil, err
	}
	e := &Engine{home: home, app: app, sources: map[string]*Cluster{home.Name: home}, log: home.log().With("app", app), now: time.Now, adopted: &sync.Map{}}
	for _, s := range sources {
		e.sources[s.Name] = s
	}
	return e, nil
}

// label is what Bosman notes on each database, as its comment.
type label struct {
	App     string          `json:"app"`
	Name    string          `json:"name"`
	KeptAt  time.Time       `json:"kept_at,omitzero"`
	Copy    bosman.CopyInfo `json:"copy,omitzero"`
	Source  string          `json:"source,omitempty"` // cluster/database that a golden copy, or one made in advance, is of
	Golden  string          `json:"golden,omitempty"` // the golden copy that this is a copy of
	Size    int64           `json:"size,omitempty"`   // on the disk, when a golden copy was made
	Counter counter         `json:"counter,omitzero"` // of the source when the golden copy was taken
	Mask    string          `json:"mask,omitempty"`   // version of the masks of a golden copy
}

func (l label) comment(db string) (string, error) {
	b, err := json.Marshal(l)
	return "COMMENT ON DATABASE " + quote(db) + " IS " + literal(string(b)), err
}

// Create implements database.Engine.
func (e *Engine) Create(ctx context.Context, name string) (bosman.Database, error) {
	return e.make(ctx, name, bosman.CopyInfo{}, func(context.Context, string) error { return nil })
}

// make makes the database name out of sight, lets fill put content into it
// and then shows it, with its rights, in one transaction.
func (e *Engine) make(ctx context.Context, name string, info bosman.CopyInfo, fill func(ctx context.Context, making string) error) (bosman.Database, error) {
	db, release, making, err := e.begin(ctx, name)
	if err != nil {
		return db, err
	}
	defer release()
	doing := "create database " + db.Name
	if err := e.home.exec(ctx, doing, "CREATE DATABASE "+quote(making)+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		return db, err
	}
	if err := e.grantWork(ctx, making); err != nil {
		return db, e.abandon(ctx, making, err)
	}
	if err := faults.Point("database.copy.made"); err != nil {
		return db, e.abandon(ctx, making, err)
	}
	if err := fill(ctx, making); err != nil {
		return db, e.abandon(ctx, making, err)
	}
	if err := faults.Point("database.copy.filled"); err != nil {
		return db, e.abandon(ctx, making, err)
	}
	if err := e.show(ctx, making, db.Name, label{App: e.app, Name: name, Copy: info, KeptAt: database.RecoveredAt(name)}); err != nil {
		return db, e.abandon(ctx, making, err)
	}
	return db, faults.Point("database.copy.shown")
}

// begin checks the name, reserves it, clears what a killed run left and makes
// the roles.
func (e *Engine) begin(ctx context.Context, name string) (db bosman.Database, release func(), making string, err error) {
	if err := database.CheckName(name); err != nil {
		return db, nil, "", err
	}
	db = e.home.database(database.NameOnServer(e.app, name), loginRole(e.app, name))
	making = database.NameOnServer(e.app, database.Beside(name, database.TagMaking))
	free, err := e.home.names.Claim(ctx, db.Name)
	if err != nil {
		return db, nil, "", err
	}
	defer func() {
		if err != nil {
			free()
		}
	}()
	taken, err := e.home.exists(ctx, db.Name)
	if err != nil {
		return db, nil, "", err
	}
	if taken {
		return db, nil, "", bosman.Conflict("the database %s exists already", db.Name).WithKept("it is untouched")
	}
	if err := e.home.dropDatabase(ctx, making); err != nil {
		return db, nil, "", err
	}
	return db, free, making, e.roles(ctx, name)
}

// abandon drops what could not be finished, also when ctx has ended.
func (e *Engine) abandon(ctx context.Context, making string, why error) error {
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := e.home.dropDatabase(clean, making); err != nil {
		e.log.Warn("half-made database left behind; it goes at the next start", "database", making, "error", err)
	}
	return why
}

// loginOptions are those of a role that logs in; its password follows.
const loginOptions = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 50 PASSWORD "

// roles makes the app's owner and worker and the instance's login role.
func (e *Engine) roles(ctx context.Context, name string) error {
	owner, worker, login := ownerRole(e.app), workerRole(e.app), loginRole(e.app, name)
	return e.home.with(ctx, "postgres", "make the roles of "+login, func(conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			c := tx.Conn()
			if _, err := c.Exec(ctx, "SELECT pg_advisory_xact_lock(7266101)"); err != nil { // two makers of one role
				return err
			}
			if err := ensureRole(ctx, c, owner, "NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"); err != nil {
				return err
			}
			for _, role := range []string{worker, login} {
				if err := ensureRole(ctx, c, role, loginOptions+literal(e.home.password(role))); err != nil {
					return err
				}
				if err := run(ctx, c, "GRANT "+quote(owner)+" TO "+quote(role),
					"ALTER ROLE "+quote(role)+" SET role = "+literal(owner)); err != nil {
					return err
				}
			}
			return run(ctx, c, "GRANT "+groupWorkers+" TO "+quote(worker))
		})
	})
}

// grantWork lets the worker, and nobody else, into a database being made. The
// superuser owns the database itself, so that the app's owner, which all its
// instances can act as, cannot let one instance into the database of another.
func (e *Engine) grantWork(ctx context.Context, making string) error {
	owner, worker := ownerRole(e.app), workerRole(e.app)
	if err := e.home.exec(ctx, "set the rights of "+making,
		"REVOKE ALL ON DATABASE "+quote(making)+" FROM PUBLIC",
		"GRANT CREATE, TEMPORARY ON DATABASE "+quote(making)+" TO "+quote(owner),
		"GRANT CONNECT ON DATABASE "+quote(making)+" TO "+quote(worker)); err != nil {
		return err
	}
	return e.home.with(ctx, making, "set the rights of "+making, func(conn *pgx.Conn) error {
		return run(ctx, conn, "ALTER SCHEMA public OWNER TO "+quote(owner))
	})
}

// show renames a finished database and lets its instance in, at once.
func (e *Engine) show(ctx context.Context, making, name string, l label) error {
	comment, err := l.comment(name)
	if err != nil {
		return err
	}
	owner, worker, login := ownerRole(e.app), workerRole(e.app), loginRole(e.app, l.Name)
	return e.home.with(ctx, "postgres", "hand out database "+name, func(conn *pgx.Conn) error {
		return e.alone(ctx, conn, []string{making}, func(tx pgx.Tx) error {
			statements := []string{
				"ALTER DATABASE " + quote(making) + " RENAME TO " + quote(name),
				"REVOKE ALL ON DATABASE " + quote(name) + " FROM PUBLIC, " + quote(worker),
				"GRANT CREATE, TEMPORARY ON DATABASE " + quote(name) + " TO " + quote(owner), comment,
			}
			if l.KeptAt.IsZero() {
				statements = append(statements, "GRANT CONNECT, TEMPORARY ON DATABASE "+quote(name)+" TO "+quote(login))
			}
			return run(ctx, tx, statements...)
		})
	})
}

// alone runs fn in one transaction while everybody else's connections to the
// databases are ended again and again: a rename waits up to five seconds for
// that, and new connections wait for the rename. Nothing is left blocked if
// we die.
func (e *Engine) alone(ctx context.Context, conn *pgx.Conn, names []string, fn func(pgx.Tx) error) error {
	killer, err := connect(ctx, e.home.admin("postgres"))
	if err != nil {
		return err
	}
	const kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY($1) AND pid <> pg_backend_pid()"
	for range 50 { // a rename that finds somebody looks again a tenth of a second later only
		if t, err := killer.Exec(ctx, kill, names); err != nil || t.RowsAffected() == 0 {
			break // the rename says what is wrong
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { // waited for below
		defer close(ended)
		for {
			// Never broken off: the server would go on with it, and end who comes
			// after the rename.
			if _, err := killer.Exec(ctx, kill, names); err != nil {
				return // the rename says what is wrong
			}
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	for range 3 {
		if err = pgx.BeginFunc(ctx, conn, fn); !inUse(err) {
			break
		}
	}
	close(done)
	<-ended
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer stop()
	_ = killer.Close(end) // it has done its work
	return err
}

func inUse(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "55006"
}

// Swap implements database.Engine. Both renames are one transaction.
func (e *Engine) Swap(ctx context.Context, d, with bosman.Database) (bosman.Database, error) {
	release, err := e.home.names.Claim(ctx, d.Name)
	if err != nil {
		return bosman.Database{}, err
	}
	defer release()
	var kept bosman.Database
	err = e.home.with(ctx, "postgres", "put "+with.Name+" in the place of "+d.Name, func(conn *pgx.Conn) error {
		return e.alone(ctx, conn, []string{d.Name, with.Name}, func(tx pgx.Tx) error {
			fresh, err := e.read(ctx, tx, with.Name)
			if err != nil {
				return err
			}
			name := database.Base(fresh.Name)
			fresh.Name, fresh.KeptAt = name, time.Time{}
			freshComment, err := fresh.comment(d.Name)
			if err != nil {
				return err
			}
			login := quote(loginRole(e.app, name))
			place := []string{
				"ALTER DATABASE " + quote(with.Name) + " RENAME TO " + quote(d.Name),
				"GRANT CONNECT, TEMPORARY ON DATABASE " + quote(d.Name) + " TO " + login, freshComment,
			}
			old, err := e.read(ctx, tx, d.Name)
			if bosman.KindOf(err) == bosman.KindNotFound {
				return run(ctx, tx, place...)
			}
			if err != nil {
				return err
			}
			old.KeptAt = e.moment(ctx)
			old.Name = database.KeptName(name, old.KeptAt)
			kept = e.home.database(database.NameOnServer(e.app, old.Name), loginRole(e.app, name))
			oldComment, err := old.comment(kept.Name)
			if err != nil {
				return err
			}
			if err := run(ctx, tx, "ALTER DATABASE "+quote(d.Name)+" RENAME TO "+quote(kept.Name),
				"REVOKE CONNECT, TEMPORARY ON DATABASE "+quote(kept.Name)+" FROM "+login, oldComment); err != nil {
				return err
			}
			if err := faults.Point("postgres.swap.between"); err != nil {
				return err
			}
			return run(ctx, tx, place...)
		})
	})
	if err != nil {
		return bosman.Database{}, err
	}
	return kept, faults.Point("database.swap.renamed")
}

type querier interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}

// read gives the label of one of the app's databases.
func (e *Engine) read(ctx context.Context, q querier, name string) (label, error) {
	var text *string
	err := q.QueryRow(ctx, "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1", name).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return label{}, bosman.NotFound("there is no database %s on cluster %s", name, e.home.Name)
	}
	if err != nil {
		return label{}, err
	}
	var l label
	if text == nil || json.Unmarshal([]byte(*text), &l) != nil || l.App != e.app {
		return label{}, bosman.Conflict("the database %s is not one of %s", name, e.app).WithKept("it is untouched")
	}
	return l, nil
}

// Drop implements database.Engine. The login role goes with the last database
// of its instance.
func (e *Engine) Drop(ctx context.Context, d bosman.Database) error {
	release, err := e.home.names.Claim(ctx, d.Name)
	if err != nil {
		return err
	}
	defer release()
	var l label
	err = e.home.with(ctx, "postgres", "drop database "+d.Name, func(conn *pgx.Conn) (err error) {
		l, err = e.read(ctx, conn, d.Name)
		return err
	})
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if err := e.home.dropDatabase(ctx, d.Name); err != nil {
		return err
	}
	if err := faults.Point("database.drop.dropped"); err != nil {
		return err
	}
	return e.dropRole(ctx, l.Name)
}

// dropRole drops the login role of a name's instance unless one of its
// databases is left.
func (e *Engine) dropRole(ctx context.Context, name string) error {
	login := loginRole(e.app, name)
	return e.home.with(ctx, "postgres", "drop role "+login, func(conn *pgx.Conn) error {
		var left bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 OR starts_with(datname, $1 || '__'))", login).Scan(&left); err != nil || left {
			return err
		}
		return run(ctx, conn, "DROP ROLE IF EXISTS "+quote(login))
	})
}

// Find implements database.Engine.
func (e *Engine) Find(ctx context.Context, name string) (bosman.Database, error) {
	if err := database.CheckName(name); err != nil {
		return bosman.Database{}, err
	}
	db := e.home.database(database.NameOnServer(e.app, name), loginRole(e.app, name))
	ok, err := e.home.exists(ctx, db.Name)
	if err == nil && !ok {
		err = bosman.NotFound("there is no database %s on cluster %s", db.Name, e.home.Name)
		if at := e.home.ground().LostAt(); !at.IsZero() && len(database.Tags(name)) == 0 {
			err = database.LostWithHost(name, at)
		}
	}
	return db, err
}

// List implements database.Engine.
func (e *Engine) List(ctx context.Context) ([]database.Entry, error) {
	labels, err := e.labels(ctx)
	if err != nil {
		return nil, err
	}
	var out []database.Entry
	for _, l := range labels {
		if strings.HasSuffix(l.db, "__"+database.TagMaking) {
			continue
		}
		out = append(out, database.Entry{
			Database: e.home.database(l.db, loginRole(e.app, l.Name)), Name: l.Name, KeptAt: l.KeptAt,
			Golden: database.HasTag(l.Name, database.TagGolden), Pool: database.HasTag(l.Name, database.TagPool), Bytes: l.bytes, Copy: l.Copy,
		})
	}
	return out, nil
}

type labelled struct {
	label
	db    string
	bytes int64
}

// labels reads the labels of all databases of the app, with their sizes.
func (e *Engine) labels(ctx context.Context) ([]labelled, error) {
	var out []labelled
	err := e.home.with(ctx, "postgres", "list databases", func(conn *pgx.Conn) (err error) {
		out, err = e.readLabels(ctx, conn, "coalesce(pg_database_size(oid), 0)") // null while it is being dropped
		return err
	})
	return out, err
}

// marks is labels without sizes, which take the longer the more files there are.
func (e *Engine) marks(ctx context.Context) ([]labelled, error) {
	var out []labelled
	err := e.home.talk(ctx, "list databases", func(conn *pgx.Conn) (err error) {
		out, err = e.readLabels(ctx, conn, "0::bigint")
		return err
	})
	return out, err
}

func (e *Engine) readLabels(ctx context.Context, conn *pgx.Conn, size string) ([]labelled, error) {
	rows, err := conn.Query(ctx, `SELECT datname, coalesce(shobj_description(oid, 'pg_database'), ''), `+size+`
		FROM pg_database WHERE NOT datistemplate ORDER BY datname`)
	if err != nil {
		return nil, err
	}
	var out []labelled
	var l labelled
	var text string
	_, err = pgx.ForEachRow(rows, []any{&l.db, &text, &l.bytes}, func() error {
		l.label = label{}
		if json.Unmarshal([]byte(text), &l.label) == nil && l.App == e.app {
			out = append(out, l)
		}
		return nil
	})
	return out, err
}

// Recover implements database.Engine.
func (e *Engine) Recover(ctx context.Context) error {
	return e.home.recoverDatabases(ctx, database.Mangle(e.app)+"__")
}
