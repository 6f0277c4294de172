package mariadb

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
)

// Engine drives the databases of one app on one server.
type Engine struct {
	home    *Cluster
	app     string
	sources map[string]*Cluster
	log     *slog.Logger
	now     func() time.Time
	masking database.Masking // nil: golden copies hold what their source holds
}

var (
	_ database.Engine          = (*Engine)(nil)
	_ database.Checker         = (*Engine)(nil)
	_ database.Refresher       = (*Engine)(nil)
	_ database.Streamer        = (*Engine)(nil)
	_ database.Versioned       = (*Engine)(nil)
	_ database.ActivityCounter = (*Engine)(nil)
)

// NewEngine drives the databases of app on the server home. Databases on the
// servers in sources can be copied to it. All must have been ensured.
func NewEngine(app string, home *Cluster, sources ...*Cluster) (*Engine, error) {
	if err := bosman.CheckName("app", app); err != nil {
		return nil, err
	}
	e := &Engine{home: home, app: app, sources: map[string]*Cluster{home.Name: home}, log: home.log().With("app", app), now: time.Now}
	for _, s := range sources {
		e.sources[s.Name] = s
	}
	return e, nil
}

// reach gives the server of d, whose superuser reads it, or an error.
func (e *Engine) reach(d bosman.Database) (*Cluster, error) {
	if c, ok := e.sources[d.Cluster]; ok && d.Engine == "mariadb" {
		return c, nil
	}
	return nil, bosman.Invalid("the database %s is on %s %q, which is not one of Bosman's servers here", d.Name, d.Engine, d.Cluster)
}

// defaultCollation is that of databases made empty.
const defaultCollation = "utf8mb4_general_ci"

// Create implements database.Engine.
func (e *Engine) Create(ctx context.Context, name string) (bosman.Database, error) {
	return e.make(ctx, name, &content{collation: defaultCollation}, func(context.Context, bosman.Database) error { return nil })
}

// content is what a database is made of besides its tables.
type content struct {
	collation string
	objects   []object
	info      bosman.CopyInfo
	source    string  // of a golden copy
	written   written // to it
	mask      string  // version of its masks
}

// make makes the database name, lets fill put tables into it, adds the
// objects and then says that it is there: until its label is ready nobody
// finds it and Recover removes it.
func (e *Engine) make(ctx context.Context, name string, what *content, fill func(ctx context.Context, worker bosman.Database) error) (bosman.Database, error) {
	if err := database.CheckName(name); err != nil {
		return bosman.Database{}, err
	}
	db := e.home.database(database.NameOnServer(e.app, name), loginUser(e.app, name))
	release, err := e.home.names.Claim(ctx, db.Name)
	if err != nil {
		return db, err
	}
	defer release()
	doing := "create database " + db.Name
	worker := e.home.database(db.Name, workerUser(db.Name))
	err = e.home.with(ctx, "", doing, func(conn *sql.Conn) error {
		_, err := e.read(ctx, conn, db.Name)
		switch {
		case err == nil:
			return bosman.Conflict("the database %s exists already", db.Name).WithKept("it is untouched")
		case bosman.KindOf(err) != bosman.KindNotFound:
			return err
		}
		if err := e.home.dropDatabase(ctx, conn, db.Name); err != nil { // left by a killed run
			return err
		}
		if err := putLabel(ctx, conn, db.Name, label{App: e.app, Name: name}, false); err != nil {
			return err
		}
		if err := e.home.ensureUser(ctx, conn, worker.User); err != nil {
			return err
		}
		return run(ctx, conn, "CREATE DATABASE "+quote(db.Name)+" COLLATE "+what.collation,
			"GRANT ALL PRIVILEGES ON "+pattern(db.Name)+".* TO "+account(worker.User))
	})
	if bosman.KindOf(err) == bosman.KindConflict {
		return db, err
	}
	if err != nil {
		return db, e.abandon(ctx, db.Name, err)
	}
	if err := e.home.point("database.copy.made"); err != nil {
		return db, e.abandon(ctx, db.Name, err)
	}
	if err := fill(ctx, worker); err != nil {
		return db, e.abandon(ctx, db.Name, err)
	}
	if err := e.home.point("database.copy.filled"); err != nil {
		return db, e.abandon(ctx, db.Name, err)
	}
	if err := e.show(ctx, db, name, what); err != nil {
		return db, e.abandon(ctx, db.Name, err)
	}
	return db, e.home.point("database.copy.shown")
}

// show adds the objects, lets the instance in and says that the database is
// there.
func (e *Engine) show(ctx context.Context, db bosman.Database, name string, what *content) error {
	l := label{App: e.app, Name: name, Copy: what.info, Source: what.source, Written: what.written, Mask: what.mask}
	now, parked := park(what.objects, own(name))
	l.Parked = parked
	return e.home.with(ctx, "", "hand out database "+db.Name, func(conn *sql.Conn) error {
		if err := e.home.dress(ctx, conn, db.Name, e.home.definer(db.Name, name, db.User), now); err != nil {
			return err
		}
		if own(name) {
			if err := run(ctx, conn, "DROP USER IF EXISTS "+account(workerUser(db.Name))); err != nil {
				return err
			}
			if err := e.home.letIn(ctx, conn, db.User); err != nil {
				return err
			}
		}
		return putLabel(ctx, conn, db.Name, l, true)
	})
}

// definer is in whose name the objects of a database act: the instance's user
// in its own database, which that user alone can enter, else one who cannot
// log in and may do nothing elsewhere.
func (c *Cluster) definer(db, name, login string) string {
	if own(name) {
		return login
	}
	return workerUser(db)
}

// dress makes objects in the database db whose definer is user. The server
// wants to know that the definer exists and may do what the object does.
func (c *Cluster) dress(ctx context.Context, conn *sql.Conn, db, user string, objects []object) error {
	if err := c.setUser(ctx, conn, user, "LOCK"); err != nil {
		return err
	}
	if err := run(ctx, conn, "GRANT ALL PRIVILEGES ON "+pattern(db)+".* TO "+account(user)); err != nil {
		return err
	}
	return createObjects(ctx, conn, db, user, objects)
}

// letIn makes the user of an instance, who may do everything in the database
// of the same name and nothing elsewhere.
func (c *Cluster) letIn(ctx context.Context, conn *sql.Conn, user string) error {
	if err := c.ensureUser(ctx, conn, user); err != nil {
		return err
	}
	return run(ctx, conn, "GRANT ALL PRIVILEGES ON "+pattern(user)+".* TO "+account(user))
}

// park splits objects into those that may be and those that must wait.
func park(objects []object, inPlace bool) (now, parked []object) {
	for _, o := range objects {
		if o.Kind == "EVENT" && !inPlace {
			parked = append(parked, o)
		} else {
			now = append(now, o)
		}
	}
	return now, parked
}

// abandon drops what could not be finished, also when ctx has ended.
func (e *Engine) abandon(ctx context.Context, db string, why error) error {
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err := e.home.with(clean, "", "drop database "+db, func(conn *sql.Conn) error {
		return e.home.dropDatabase(clean, conn, db)
	})
	if err != nil {
		e.log.Warn("half-made database left behind; it goes at the next start", "database", db, "error", err)
	}
	return why
}

// dropDatabase drops a database whatever state it is in, with its label, the
// user who fills it and all connections.
func (c *Cluster) dropDatabase(ctx context.Context, conn *sql.Conn, db string) error {
	if _, err := conn.ExecContext(ctx, "UPDATE bosman.labels SET ready = FALSE WHERE name = ?", db); err != nil {
		return err
	}
	if err := c.point("mariadb.drop.unlabelled"); err != nil {
		return err
	}
	if err := c.dropSchema(ctx, conn, db); err != nil {
		return err
	}
	if err := os.RemoveAll(c.exportDir(db)); err != nil {
		return ground.IOError("drop database "+db, c.Dir, err)
	}
	_, err := conn.ExecContext(ctx, "DELETE FROM bosman.labels WHERE name = ?", db)
	return err
}

// dropSchema drops the database itself. Whoever uses it is thrown out until
// that succeeds: a connection may come between.
func (c *Cluster) dropSchema(ctx context.Context, conn *sql.Conn, db string) error {
	if err := run(ctx, conn, "DROP USER IF EXISTS "+account(workerUser(db)), "SET SESSION lock_wait_timeout = 2, foreign_key_checks = 0"); err != nil {
		return err
	}
	var err error
	for range 15 {
		if err := kill(ctx, conn, []string{workerUser(db)}, []string{db}); err != nil {
			return err
		}
		if err = run(ctx, conn, "DROP DATABASE IF EXISTS "+quote(db)); number(err) != errLockWait {
			break
		}
	}
	if err != nil {
		return err
	}
	return run(ctx, conn, "SET SESSION lock_wait_timeout = 10, foreign_key_checks = 1")
}

// Drop implements database.Engine. The user goes with the last database of
// its instance.
func (e *Engine) Drop(ctx context.Context, d bosman.Database) error {
	release, err := e.home.names.Claim(ctx, d.Name)
	if err != nil {
		return err
	}
	defer release()
	return e.home.with(ctx, "", "drop database "+d.Name, func(conn *sql.Conn) error {
		l, err := e.read(ctx, conn, d.Name)
		if bosman.KindOf(err) == bosman.KindNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		user := loginUser(e.app, l.Name)
		if own(l.Name) {
			if err := shutOut(ctx, conn, user); err != nil {
				return err
			}
		}
		if err := e.home.dropDatabase(ctx, conn, d.Name); err != nil {
			return err
		}
		if err := e.home.point("database.drop.dropped"); err != nil {
			return err
		}
		return dropUser(ctx, conn, user)
	})
}

// shutOut lets a user in no more and ends its connections.
func shutOut(ctx context.Context, conn *sql.Conn, user string) error {
	if err := run(ctx, conn, "ALTER USER IF EXISTS "+account(user)+" ACCOUNT LOCK"); err != nil {
		return err
	}
	return kill(ctx, conn, []string{user}, nil)
}

// dropUser drops the user of an instance unless one of its databases is left.
func dropUser(ctx context.Context, conn *sql.Conn, user string) error {
	var left int
	if err := conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM bosman.labels WHERE name = ? OR LEFT(name, ?) = ?", user, len(user)+2, user+"__").Scan(&left); err != nil || left > 0 {
		return err
	}
	return run(ctx, conn, "DROP USER IF EXISTS "+account(user))
}

// Recover implements database.Engine.
func (e *Engine) Recover(ctx context.Context) error {
	return e.home.recoverDatabases(ctx, e.app)
}

// integer reads what the server wrote; what is none counts as 0.
func integer(s string) int64 {
	whole, _, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
