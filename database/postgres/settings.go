package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/bosman-cd/bosman/database"
)

// Settings that go with no database: they say who acts, name what is only on
// one server or make work on a copy impossible.
var ownSettings = []string{
	"role", "session_authorization", "local_preload_libraries", "default_tablespace", "temp_tablespaces",
	"default_transaction_read_only", "transaction_read_only", "transaction_isolation", "transaction_deferrable",
}

// settingsQuery gives the settings of this database, each as name=value: its
// own, then those of the role that the application logs in as ($1, or the one
// the database is named after), which count for more.
const settingsQuery = `SELECT unnest(s.setconfig) FROM pg_db_role_setting s
	LEFT JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole
	WHERE coalesce(d.datname = current_database(), true) AND CASE WHEN s.setrole = 0 THEN d.oid IS NOT NULL
		WHEN $1 <> '' THEN r.rolname = $1
		ELSE r.rolname = current_database() OR starts_with(current_database(), r.rolname || '__') END
	ORDER BY CASE WHEN s.setrole = 0 THEN 0 WHEN s.setdatabase = 0 THEN 1 ELSE 2 END`

// readSettings notes the settings that go with a database, and those that do
// not: such as only a superuser may make, and the application's own, which may
// hold secrets.
func (c *Cluster) readSettings(ctx context.Context, tx pgx.Tx, info *database.BackupInfo) error {
	role := ""
	if c.remote != nil {
		role = c.remote.db.User
	}
	rows, err := tx.Query(ctx, settingsQuery, role)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	found := map[string]string{}
	for _, s := range all {
		if name, value, ok := strings.Cut(s, "="); ok && name != "role" { // that one Bosman sets
			found[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		fits, err := maySet(ctx, tx, name)
		if err != nil {
			return err
		}
		if !fits {
			info.Apart = append(info.Apart, "setting "+name)
			continue
		}
		if info.Settings == nil {
			info.Settings = map[string]string{}
		}
		info.Settings[name] = found[name]
	}
	return nil
}

// maySet says whether everybody may set name, and it goes with a database.
func maySet(ctx context.Context, q querier, name string) (ok bool, err error) {
	err = q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_settings WHERE lower(name) = lower($1) AND context = 'user' AND category <> 'Customized Options')", name).Scan(&ok)
	return ok && !slices.Contains(ownSettings, strings.ToLower(name)), err
}

// set gives a database the settings of the one that it was made of. What this
// server does not take is said in the log.
func (e *Engine) set(ctx context.Context, making string, settings map[string]string) error {
	if len(settings) == 0 {
		return nil
	}
	return e.home.with(ctx, "postgres", "set what goes with "+making, func(conn *pgx.Conn) error {
		return e.setOn(ctx, conn, making, settings)
	})
}

func (e *Engine) setOn(ctx context.Context, conn *pgx.Conn, making string, settings map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		ok, err := maySet(ctx, conn, name)
		if err != nil {
			return err
		}
		if !ok {
			e.log.Warn("a setting of the database does not go with it", "database", making, "setting", name)
			continue
		}
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			// The server itself reads the value, lists of names too.
			if _, err := tx.Exec(ctx, "SELECT set_config($1, $2, true)", name, settings[name]); err != nil {
				return err
			}
			return run(ctx, tx, "ALTER DATABASE "+quote(making)+" SET "+quote(strings.ToLower(name))+" FROM CURRENT")
		})
		if said := sqlRefused(err); said != "" {
			e.log.Warn("a setting of the database is not taken here", "database", making, "setting", name, "why", said)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sqlRefused is what the server said to a statement; "" if it said nothing.
func sqlRefused(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Message
	}
	return ""
}

// sameSettings gives a database made of another's files its settings, which
// are not in the files.
func (e *Engine) sameSettings(ctx context.Context, conn *pgx.Conn, from, making string) error {
	rows, err := conn.Query(ctx, `SELECT unnest(s.setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
		WHERE s.setrole = 0 AND d.datname = $1`, from)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	settings := map[string]string{}
	for _, s := range all {
		if name, value, ok := strings.Cut(s, "="); ok {
			settings[name] = value
		}
	}
	return e.setOn(ctx, conn, making, settings)
}
