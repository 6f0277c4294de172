package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
)

// The pool: copies of the newest golden copy, made in advance, that nobody may
// enter until one is renamed to the name of its instance.
//
//	making ─► ready ─► handed out
//	   │        └─► dropped (of an older generation, or more than wanted)
//	   └─► dropped (killed half-way)

// handOut renames a ready copy of the generation g to the name to. ok is false
// if none is ready.
func (e *Engine) handOut(ctx context.Context, g database.Golden, to string, info bosman.CopyInfo) (db bosman.Database, ok bool, err error) {
	if err := database.CheckName(to); err != nil {
		return db, false, err
	}
	db = e.home.database(database.NameOnServer(e.app, to), loginRole(e.app, to))
	free, err := e.home.names.Claim(ctx, db.Name)
	if err != nil {
		return db, false, err
	}
	defer free()
	begun := time.Now()
	err = e.home.talk(ctx, "hand out database "+db.Name, func(conn *pgx.Conn) error {
		ready, role, err := e.lookForReady(ctx, conn, db, g)
		if err != nil {
			return err
		}
		for _, member := range ready {
			info.Took = time.Since(begun)
			err := e.rename(ctx, conn, member, db, to, !role, label{App: e.app, Name: to, Copy: info, Golden: g.Database.Name})
			var pg *pgconn.PgError
			if errors.As(err, &pg) && (pg.Code == "3D000" || pg.Code == "55006") {
				continue // just dropped, or somebody looks into it: the next one
			}
			ok = err == nil
			return err
		}
		return nil
	})
	if err != nil || !ok {
		return db, false, err
	}
	return db, true, faults.Point("database.pool.handed")
}

// lookForReady gives the ready copies of g, and whether the role of db is
// there; KindConflict if db exists.
func (e *Engine) lookForReady(ctx context.Context, conn *pgx.Conn, db bosman.Database, g database.Golden) (ready []string, role bool, err error) {
	rows, err := conn.Query(ctx, `SELECT datname, coalesce(shobj_description(oid, 'pg_database'), ''), EXISTS (SELECT FROM pg_roles WHERE rolname = $3)
		FROM pg_database WHERE datname = $1 OR starts_with(datname, $2) ORDER BY datname`, db.Name, poolPrefix(g), db.User)
	if err != nil {
		return nil, false, err
	}
	taken := false
	var name, text string
	_, err = pgx.ForEachRow(rows, []any{&name, &text, &role}, func() error {
		var l label
		switch {
		case name == db.Name:
			taken = true
		case json.Unmarshal([]byte(text), &l) == nil && l.Golden == g.Database.Name:
			ready = append(ready, name)
		}
		return nil
	})
	if err == nil && taken {
		err = bosman.Conflict("the database %s exists already", db.Name).WithKept("it is untouched")
	}
	return ready, role, err
}

// poolPrefix begins the names of the copies ready of a golden one.
func poolPrefix(g database.Golden) string {
	base, _, _ := strings.Cut(g.Database.Name, "__"+database.TagGolden)
	return base + "__" + database.TagPool + "_"
}

// rename gives a ready copy its name and lets its instance in: one message,
// which PostgreSQL takes as one transaction.
func (e *Engine) rename(ctx context.Context, conn *pgx.Conn, member string, db bosman.Database, to string, newRole bool, l label) error {
	comment, err := l.comment(db.Name)
	if err != nil {
		return err
	}
	var statements []string
	if newRole {
		statements = loginStatements(e.home, e.app, loginRole(e.app, to))
	}
	return batch(ctx, conn, append(statements,
		"ALTER DATABASE "+quote(member)+" RENAME TO "+quote(db.Name),
		"GRANT CONNECT, TEMPORARY ON DATABASE "+quote(db.Name)+" TO "+quote(db.User), comment)...)
}

// loginStatements make the login role of an instance that has none.
func loginStatements(c *Cluster, app, login string) []string {
	owner := ownerRole(app)
	return []string{
		"CREATE ROLE " + quote(login) + " " + loginOptions + literal(c.password(login)),
		"GRANT " + quote(owner) + " TO " + quote(login),
		"ALTER ROLE " + quote(login) + " SET role = " + literal(owner),
	}
}

// Fill implements database.Pooler.
func (e *Engine) Fill(ctx context.Context, from bosman.Database, want int) (database.Pool, error) {
	var p database.Pool
	if e.home.Profile != Scratch {
		return p, bosman.Invalid("copies are made ready on the scratch cluster, not on %s", e.home.Name)
	}
	release, err := e.home.names.Claim(ctx, "pool of "+from.Cluster+"/"+from.Name)
	if err != nil {
		return p, err
	}
	defer release()
	ctx = database.Low(ctx)
	for {
		ready, g, err := e.tidyPool(ctx, from, want)
		p.Ready = ready
		if err != nil || g == nil || ready >= want {
			return p, err
		}
		if p.Why, err = e.home.tight(e.home.need(g.Size), 2); err != nil || p.Why != "" {
			return p, err
		}
		if e.Quota > 0 {
			taken, err := e.taken(ctx)
			if err != nil {
				return p, err
			}
			if taken+2*e.home.need(g.Size) > e.Quota {
				p.Why = "the quota of " + e.app + " leaves no room for a copy made in advance"
				return p, nil
			}
		}
		if err := e.addReady(ctx, *g); err != nil {
			return p, err
		}
	}
}

// tidyPool drops copies of older generations and those too many. g is the
// newest generation, nil if there is none.
func (e *Engine) tidyPool(ctx context.Context, from bosman.Database, want int) (ready int, g *labelled, err error) {
	all, err := e.marks(ctx)
	if err != nil {
		return 0, nil, err
	}
	if gens := generationsOf(all, from); len(gens) > 0 {
		g = &gens[0]
	}
	source := from.Cluster + "/" + from.Name
	for _, l := range slices.Backward(all) {
		if l.Source != source || !database.HasTag(l.Name, database.TagPool) {
			continue
		}
		if g != nil && l.Golden == g.db && ready < want {
			ready++
			continue
		}
		if err := e.home.dropDatabase(ctx, l.db); err != nil {
			return ready, g, err
		}
	}
	return ready, g, nil
}

// addReady makes one more copy of g.
func (e *Engine) addReady(ctx context.Context, g labelled) error {
	done, there, err := e.useGolden(ctx, g.db)
	if err != nil || !there {
		return err // the next round finds the newer one
	}
	defer done()
	base := database.Base(g.Name)
	name := database.Beside(base, database.TagPool+"_"+database.Stamp(e.now()))
	db := database.NameOnServer(e.app, name)
	making := database.NameOnServer(e.app, database.Beside(base, database.TagPool+"__"+database.TagMaking))
	if err := e.home.dropDatabase(ctx, making); err != nil {
		return err
	}
	if err := e.roles(ctx, base); err != nil {
		return err
	}
	if err := e.clone(ctx, g.db, making); err != nil {
		return e.abandon(ctx, making, err)
	}
	if err := faults.Point("database.pool.made"); err != nil {
		return e.abandon(ctx, making, err)
	}
	l := label{App: e.app, Name: name, Source: g.Source, Golden: g.db, Copy: g.Copy, Size: g.Size}
	l.Copy.Strategy = e.home.Strategy().Name
	comment, err := l.comment(db)
	if err != nil {
		return e.abandon(ctx, making, err)
	}
	err = e.home.with(ctx, "postgres", "keep a copy ready", func(conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			return run(ctx, tx, "ALTER DATABASE "+quote(making)+" RENAME TO "+quote(db),
				"GRANT CREATE, TEMPORARY ON DATABASE "+quote(db)+" TO "+quote(ownerRole(e.app)), comment)
		})
	})
	if err != nil {
		return e.abandon(ctx, making, err)
	}
	return faults.Point("database.pool.ready")
}

// useGolden keeps a generation from being dropped until done is called. there
// is false if it is gone.
func (e *Engine) useGolden(ctx context.Context, name string) (done func(), there bool, err error) {
	c := e.home
	c.facts.Lock()
	if c.uses == nil {
		c.uses = map[string]int{}
	}
	if c.uses[name] < 0 { // being dropped
		c.facts.Unlock()
		return nil, false, nil
	}
	c.uses[name]++
	c.facts.Unlock()
	done = func() {
		c.facts.Lock()
		defer c.facts.Unlock()
		if c.uses[name]--; c.uses[name] == 0 {
			delete(c.uses, name)
		}
	}
	err = c.talk(ctx, "look for database "+name, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there)
	})
	if err != nil || !there {
		done()
		return nil, false, err
	}
	return done, true, nil
}

// dropUnused drops a generation unless it is being copied; dropped says which.
func (e *Engine) dropUnused(ctx context.Context, name string) error {
	c := e.home
	c.facts.Lock()
	if c.uses == nil {
		c.uses = map[string]int{}
	}
	if c.uses[name] != 0 {
		c.facts.Unlock()
		return nil // the next round
	}
	c.uses[name] = -1
	c.facts.Unlock()
	defer func() {
		c.facts.Lock()
		defer c.facts.Unlock()
		delete(c.uses, name)
	}()
	return c.dropDatabase(ctx, name)
}
