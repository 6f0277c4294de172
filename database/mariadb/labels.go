package mariadb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// label is what Bosman notes of each database, in its own one. A database
// exists for Bosman when its label is ready: whatever lies under the name of
// another one is half made or half dropped.
type label struct {
	App     string          `json:"app"`
	Name    string          `json:"name"`
	KeptAt  time.Time       `json:"kept_at,omitzero"`
	Copy    bosman.CopyInfo `json:"copy,omitzero"`
	Source  string          `json:"source,omitempty"` // server/database a golden copy is of
	Written written         `json:"written,omitzero"` // to the source when the golden copy was begun
	Mask    string          `json:"mask,omitempty"`   // version of the masks of a golden copy
	Parked  []object        `json:"parked,omitempty"` // events, which would run wherever they are: they wait while the database stands beside an instance's own
}

type labelled struct {
	label
	db    string
	ready bool
	bytes int64
}

// putLabel writes a label.
func putLabel(ctx context.Context, q execer, db string, l label, ready bool) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, "REPLACE INTO bosman.labels (name, ready, doc) VALUES (?, ?, ?)", db, ready, b)
	return err
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// read gives the label of one of the app's databases that is there and ready.
func (e *Engine) read(ctx context.Context, q querier, db string) (label, error) {
	none := bosman.NotFound("there is no database %s on server %s", db, e.home.Name)
	var text string
	err := q.QueryRowContext(ctx, `SELECT l.doc FROM bosman.labels l JOIN information_schema.SCHEMATA s ON s.SCHEMA_NAME = l.name
		WHERE l.name = ? AND l.ready`, db).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return label{}, none
	}
	if err != nil {
		return label{}, err
	}
	var l label
	if json.Unmarshal([]byte(text), &l) != nil || l.App != e.app {
		return label{}, bosman.Conflict("the database %s is not one of %s", db, e.app).WithKept("it is untouched")
	}
	return l, nil
}

// labels reads the labels of all databases of all apps.
func (c *Cluster) labels(ctx context.Context, conn *sql.Conn) ([]labelled, error) {
	rows, err := table(ctx, conn, `SELECT l.name, l.ready, l.doc, COALESCE(s.SCHEMA_NAME, ''), COALESCE(f.bytes, 0)
		FROM bosman.labels l LEFT JOIN information_schema.SCHEMATA s ON s.SCHEMA_NAME = l.name
		LEFT JOIN (SELECT SUBSTRING_INDEX(NAME, '/', 1) AS db, SUM(FILE_SIZE) AS bytes FROM information_schema.INNODB_SYS_TABLESPACES GROUP BY 1) f ON f.db = l.name
		ORDER BY l.name`)
	if err != nil {
		return nil, err
	}
	var out []labelled
	for _, r := range rows {
		l := labelled{db: r[0], ready: r[1] == "1" && r[3] != ""}
		if err := json.Unmarshal([]byte(r[2]), &l.label); err != nil {
			return nil, bosman.Internal("the label of database %s cannot be read", r[0]).Because(err)
		}
		l.bytes = integer(r[4])
		out = append(out, l)
	}
	return out, nil
}

// List implements database.Engine.
func (e *Engine) List(ctx context.Context) ([]database.Entry, error) {
	var out []database.Entry
	err := e.home.with(ctx, "", "list databases", func(conn *sql.Conn) error {
		all, err := e.home.labels(ctx, conn)
		for _, l := range all {
			if l.App != e.app || !l.ready {
				continue
			}
			out = append(out, database.Entry{
				Database: e.home.database(l.db, loginUser(e.app, l.Name)), Name: l.Name, KeptAt: l.KeptAt,
				Golden: database.HasTag(l.Name, database.TagGolden), Bytes: l.bytes, Copy: l.Copy,
			})
		}
		return err
	})
	return out, err
}

// Find implements database.Engine.
func (e *Engine) Find(ctx context.Context, name string) (bosman.Database, error) {
	if err := database.CheckName(name); err != nil {
		return bosman.Database{}, err
	}
	db := e.home.database(database.NameOnServer(e.app, name), loginUser(e.app, name))
	err := e.home.with(ctx, "", "look for database "+db.Name, func(conn *sql.Conn) error {
		_, err := e.read(ctx, conn, db.Name)
		return err
	})
	if at := e.home.ground().LostAt(); bosman.KindOf(err) == bosman.KindNotFound && !at.IsZero() && len(database.Tags(name)) == 0 {
		err = database.LostWithHost(name, at)
	}
	return db, err
}

// bytesOf says how large the files of a database are.
func (c *Cluster) bytesOf(ctx context.Context, db string) (n int64, err error) {
	err = c.with(ctx, "", "measure database "+db, func(conn *sql.Conn) error {
		var files, others string
		if err := conn.QueryRowContext(ctx, `SELECT COALESCE(SUM(FILE_SIZE), 0) FROM information_schema.INNODB_SYS_TABLESPACES
			WHERE NAME LIKE CONCAT(REPLACE(?, '_', '\\_'), '/%')`, db).Scan(&files); err != nil {
			return err
		}
		err := conn.QueryRowContext(ctx, `SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES
			WHERE TABLE_SCHEMA = ? AND TABLE_TYPE <> 'VIEW' AND ENGINE <> 'InnoDB'`, db).Scan(&others)
		n = integer(files) + integer(others)
		return err
	})
	return n, err
}
