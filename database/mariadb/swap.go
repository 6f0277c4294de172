package mariadb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// swapping is a swap under way, noted in bosman.swaps before anything is
// touched. See DESIGN.md.
type swapping struct {
	App   string `json:"app"`
	User  string `json:"user"`
	Place string `json:"place"`
	With  string `json:"with"`
	Kept  string `json:"kept,omitempty"` // "" when the place was empty

	Fresh label  `json:"fresh"` // of the place afterwards
	Was   label  `json:"was"`   // of with before
	Old   label  `json:"old"`   // of the place before
	After *label `json:"after"` // of kept

	Coming  side `json:"coming"`
	Leaving side `json:"leaving"`
}

// side is the content of one of the two databases.
type side struct {
	Collation string   `json:"collation"`
	Tables    []string `json:"tables"`
	Objects   []object `json:"objects"`
}

func readSide(ctx context.Context, conn *sql.Conn, db string) (s side, err error) {
	if err := conn.QueryRowContext(ctx, "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", db).Scan(&s.Collation); err != nil {
		return s, err
	}
	if s.Tables, err = tables(ctx, conn, db); err != nil {
		return s, err
	}
	s.Objects, err = readObjects(ctx, conn, db)
	return s, err
}

// tables gives everything in db that RENAME TABLE moves: tables and sequences.
func tables(ctx context.Context, q querier, db string) ([]string, error) {
	return column(ctx, q, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE <> 'VIEW' ORDER BY TABLE_NAME", db)
}

// Swap implements database.Engine. All tables change places in one statement,
// which the server does wholly or not at all, also when it is killed.
func (e *Engine) Swap(ctx context.Context, d, with bosman.Database) (kept bosman.Database, err error) {
	release, err := e.home.names.Claim(ctx, d.Name)
	if err != nil {
		return kept, err
	}
	defer release()
	doing := "put " + with.Name + " in the place of " + d.Name
	err = e.home.with(ctx, "", doing, func(conn *sql.Conn) error {
		fresh, err := e.read(ctx, conn, with.Name)
		if err != nil {
			return err
		}
		if d.Name == with.Name {
			return bosman.Invalid("the database %s cannot take its own place", d.Name)
		}
		name := database.Base(fresh.Name)
		s := swapping{App: e.app, User: loginUser(e.app, name), Place: d.Name, With: with.Name, Was: fresh}
		s.Fresh = label{App: e.app, Name: name, Copy: fresh.Copy}
		old, err := e.read(ctx, conn, d.Name)
		switch {
		case err == nil:
			s.Old = old
			after := label{App: e.app, Copy: old.Copy, KeptAt: e.now().UTC().Truncate(time.Millisecond)}
			after.Name = database.KeptName(name, after.KeptAt)
			s.Kept = database.NameOnServer(e.app, after.Name)
			s.After = &after
			kept = e.home.database(s.Kept, s.User)
		case bosman.KindOf(err) == bosman.KindNotFound:
			if err := e.home.dropDatabase(ctx, conn, d.Name); err != nil { // what is half made there is nobody's
				return err
			}
		default:
			return err
		}
		return e.home.swap(ctx, conn, s)
	})
	if err != nil {
		return bosman.Database{}, err
	}
	return kept, e.home.point("database.swap.renamed")
}

// swap does it, on a connection that holds the swap's lock.
func (c *Cluster) swap(ctx context.Context, conn *sql.Conn, s swapping) error {
	if err := lock(ctx, conn, s.Place); err != nil {
		return err
	}
	if err := shutOut(ctx, conn, s.User); err != nil {
		return err
	}
	if err := kill(ctx, conn, nil, []string{s.With, s.Place}); err != nil {
		return c.reopen(ctx, conn, s, err)
	}
	if err := c.note(ctx, conn, &s); err != nil {
		return c.reopen(ctx, conn, s, err)
	}
	if err := c.move(ctx, conn, s); err != nil {
		// Back, or forward if the tables have moved: as after a crash.
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, _ = conn.ExecContext(back, "DO RELEASE_ALL_LOCKS()") // a connection that broke released it
		if rerr := c.with(back, "", "undo the swap of "+s.Place, func(other *sql.Conn) error { return c.settleSwap(back, other, s) }); rerr != nil {
			c.log().Error("a swap could not be undone; its instance is shut out until it can", "database", s.Place, "error", rerr)
		}
		return err
	}
	return c.settleSwap(ctx, conn, s)
}

func (c *Cluster) reopen(ctx context.Context, conn *sql.Conn, s swapping, why error) error {
	err := run(context.WithoutCancel(ctx), conn, "ALTER USER IF EXISTS "+account(s.User)+" ACCOUNT UNLOCK")
	return errors.Join(why, err)
}

// reopenAll lets those in who were shut out for a swap that came to nothing and
// could not be let in again: that is written to the disk too, which may have
// been full. Whoever is being swapped now is left to that.
func (c *Cluster) reopenAll(ctx context.Context, conn *sql.Conn) error {
	locked := func() ([]string, error) {
		return column(ctx, conn, "SELECT User FROM mysql.global_priv WHERE JSON_VALUE(Priv, '$.account_locked') = 1")
	}
	out, err := locked()
	if err != nil || len(out) == 0 {
		return err
	}
	all, err := c.labels(ctx, conn)
	if err != nil {
		return err
	}
	for _, l := range all {
		user := loginUser(l.App, l.Name)
		if !l.ready || !own(l.Name) || !slices.Contains(out, user) {
			continue
		}
		release, err := c.names.Claim(ctx, l.db)
		if bosman.KindOf(err) == bosman.KindBusy {
			continue
		}
		if err == nil {
			var still []string
			if still, err = locked(); err == nil && slices.Contains(still, user) { // whoever was at it may have ended between
				err = c.letIn(ctx, conn, user)
			}
			release()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lock holds the place of a swap as long as the connection lives: a killed
// Bosman's last statement may still run when the next one starts.
func lock(ctx context.Context, conn *sql.Conn, place string) error {
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 600)", "bosman "+place).Scan(&got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return bosman.Busy("a swap of %s is under way", place).WithNext("wait until it has ended")
	}
	return nil
}

// note reads both databases and writes down what will be done.
func (c *Cluster) note(ctx context.Context, conn *sql.Conn, s *swapping) error {
	var err error
	if s.Coming, err = readSide(ctx, conn, s.With); err != nil {
		return err
	}
	if s.Kept != "" {
		if s.Leaving, err = readSide(ctx, conn, s.Place); err != nil {
			return err
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "REPLACE INTO bosman.swaps (name, doc) VALUES (?, ?)", s.Place, b); err != nil {
		return err
	}
	return c.point("mariadb.swap.noted")
}

// move makes the databases that are missing, drops what cannot be moved and
// moves the tables.
func (c *Cluster) move(ctx context.Context, conn *sql.Conn, s swapping) error {
	var renames []string
	add := func(from, to string, names []string) {
		for _, t := range names {
			renames = append(renames, quote(from)+"."+quote(t)+" TO "+quote(to)+"."+quote(t))
		}
	}
	statements := []string{"CREATE DATABASE IF NOT EXISTS " + quote(s.Place) + " COLLATE " + s.Coming.Collation}
	if s.Kept != "" {
		statements = append(statements, "CREATE DATABASE IF NOT EXISTS "+quote(s.Kept)+" COLLATE "+s.Leaving.Collation)
		add(s.Place, s.Kept, s.Leaving.Tables)
	}
	add(s.With, s.Place, s.Coming.Tables)
	if err := run(ctx, conn, statements...); err != nil {
		return err
	}
	if s.Kept != "" {
		if err := dropObjects(ctx, conn, s.Place, s.Leaving.Objects); err != nil {
			return err
		}
	}
	if err := dropObjects(ctx, conn, s.With, s.Coming.Objects); err != nil {
		return err
	}
	if err := c.point("mariadb.swap.bare"); err != nil {
		return err
	}
	if len(renames) > 0 {
		if err := run(ctx, conn, "SET SESSION foreign_key_checks = 0", "RENAME TABLE "+strings.Join(renames, ", ")); err != nil {
			return err
		}
	}
	return c.point("mariadb.swap.moved")
}

// empty says whether a database that is to go holds no table.
func empty(ctx context.Context, conn *sql.Conn, db string) error {
	left, err := tables(ctx, conn, db)
	if err == nil && len(left) > 0 {
		err = bosman.Internal("the database %s should be empty after a swap and holds %d tables", db, len(left)).WithKept("it is untouched")
	}
	return err
}

// moved says whether the tables have changed places.
func (s swapping) moved(ctx context.Context, conn *sql.Conn) (bool, error) {
	db, names := s.With, s.Coming.Tables
	if len(names) == 0 {
		db, names = s.Place, s.Leaving.Tables
	}
	if len(names) == 0 {
		return true, nil
	}
	there, err := tables(ctx, conn, db)
	if err != nil {
		return false, err
	}
	for _, t := range there {
		if t == names[0] {
			return false, nil
		}
	}
	return true, nil
}

// settleSwap finishes a swap whose tables have moved and undoes one whose
// tables have not. It may be repeated.
func (c *Cluster) settleSwap(ctx context.Context, conn *sql.Conn, s swapping) error {
	if err := lock(ctx, conn, s.Place); err != nil {
		return err
	}
	moved, err := s.moved(ctx, conn)
	if err != nil {
		return err
	}
	if !moved {
		return c.undoSwap(ctx, conn, s)
	}
	inPlace, _ := park(append(s.Coming.Objects, s.Was.Parked...), true)
	if err := c.dress(ctx, conn, s.Place, s.User, inPlace); err != nil {
		return err
	}
	if s.Kept != "" {
		beside, parked := park(s.Leaving.Objects, false)
		s.After.Parked = parked
		if err := c.dress(ctx, conn, s.Kept, workerUser(s.Kept), beside); err != nil {
			return err
		}
	}
	if err := run(ctx, conn, "ALTER DATABASE "+quote(s.Place)+" COLLATE "+s.Coming.Collation); err != nil {
		return err
	}
	if err := c.point("mariadb.swap.dressed"); err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	err = putLabel(ctx, tx, s.Place, s.Fresh, true)
	if err == nil && s.After != nil {
		err = putLabel(ctx, tx, s.Kept, *s.After, true)
	}
	if err == nil {
		err = putLabel(ctx, tx, s.With, s.Was, false)
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, "DELETE FROM bosman.swaps WHERE name = ?", s.Place)
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if err := c.point("mariadb.swap.labelled"); err != nil {
		return err
	}
	if err := empty(ctx, conn, s.With); err != nil {
		return err
	}
	if err := c.dropDatabase(ctx, conn, s.With); err != nil {
		return err
	}
	return c.letIn(ctx, conn, s.User)
}

// undoSwap puts everything back as it was.
func (c *Cluster) undoSwap(ctx context.Context, conn *sql.Conn, s swapping) error {
	if err := c.dress(ctx, conn, s.With, workerUser(s.With), s.Coming.Objects); err != nil {
		return err
	}
	gone := s.Place
	if s.Kept != "" {
		gone = s.Kept
		if err := c.dress(ctx, conn, s.Place, s.User, s.Leaving.Objects); err != nil {
			return err
		}
		if err := c.letIn(ctx, conn, s.User); err != nil {
			return err
		}
	}
	if err := empty(ctx, conn, gone); err != nil {
		return err
	}
	if err := c.dropSchema(ctx, conn, gone); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, "DELETE FROM bosman.swaps WHERE name = ?", s.Place)
	return err
}

// recoverSwap settles the swap of a note unless somebody is at it.
func (c *Cluster) recoverSwap(ctx context.Context, conn *sql.Conn, note, app string) error {
	var s swapping
	if err := json.Unmarshal([]byte(note), &s); err != nil {
		return bosman.Internal("the note of a swap cannot be read").Because(err)
	}
	if app != "" && s.App != app {
		return nil
	}
	release, err := c.names.Claim(ctx, s.Place)
	if bosman.KindOf(err) == bosman.KindBusy {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	// Whoever was at it may have ended between.
	var left int
	if err := conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM bosman.swaps WHERE name = ?", s.Place).Scan(&left); err != nil || left == 0 {
		return err
	}
	c.log().Info("a swap that was broken off is finished or undone", "database", s.Place)
	return c.settleSwap(ctx, conn, s)
}

// recoverSwaps settles the swaps that a killed Bosman left, and lets those in
// again who were shut out for one.
func (c *Cluster) recoverSwaps(ctx context.Context, app string) error {
	return c.with(ctx, "", "finish swaps", func(conn *sql.Conn) error {
		notes, err := column(ctx, conn, "SELECT doc FROM bosman.swaps")
		if err != nil {
			return err
		}
		for _, n := range notes {
			if err := c.recoverSwap(ctx, conn, n, app); err != nil {
				return err
			}
		}
		all, err := c.labels(ctx, conn)
		if err != nil {
			return err
		}
		for _, l := range all {
			if l.ready && own(l.Name) && (app == "" || l.App == app) {
				if err := c.letIn(ctx, conn, loginUser(l.App, l.Name)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
