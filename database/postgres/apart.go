package postgres

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// apartQuery finds what no copy and no restore takes along: what needs a
// superuser, acts on other servers or names roles that are only here. The
// names of policies are as pg_dump writes them, with their roles.
const apartQuery = `SELECT 'event trigger', evtname::text, NULL::text[] FROM pg_event_trigger t
	WHERE NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_event_trigger'::regclass AND x.objid = t.oid AND x.deptype = 'e')
UNION ALL SELECT 'publication', pubname::text, NULL FROM pg_publication
UNION ALL SELECT 'subscription', subname::text, NULL FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL SELECT 'address of the foreign server', srvname::text, NULL FROM pg_foreign_server
UNION ALL SELECT 'user mapping', usename || ' on ' || srvname, NULL FROM pg_user_mappings
UNION ALL SELECT 'foreign data wrapper', fdwname::text, NULL FROM pg_foreign_data_wrapper w WHERE fdwname <> '` + nowhere + `'
	AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_foreign_data_wrapper'::regclass AND x.objid = w.oid AND x.deptype = 'e')
UNION ALL SELECT 'grants to the role', r.rolname::text, NULL FROM (
		SELECT c.relacl AS acl, c.relowner AS owner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ` + ownObjects + `
		UNION ALL SELECT n.nspacl, n.nspowner FROM pg_namespace n WHERE ` + ownObjects + `
		UNION ALL SELECT p.proacl, p.proowner FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ` + ownObjects + `) o
	CROSS JOIN LATERAL aclexplode(o.acl) a JOIN pg_roles r ON r.oid = a.grantee WHERE NOT pg_has_role(r.oid, o.owner, 'MEMBER') GROUP BY r.rolname
UNION ALL SELECT 'policy', n.nspname || ' ' || c.relname || ' ' || p.polname, array_agg(r.rolname::text ORDER BY r.rolname)
	FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = ANY (p.polroles) GROUP BY 2
ORDER BY 1, 2`

// nowhere is the wrapper of all foreign servers in copies and restores: it has
// no handler, so that nothing behind them can be read or written, and foreign
// tables and the views over them are still there.
const nowhere = "bosman_nowhere"

// apart notes what a dump in the snapshot of tx cannot give to others, and the
// settings that it can.
func (c *Cluster) apart(ctx context.Context, tx pgx.Tx, info *database.BackupInfo) error {
	rows, err := tx.Query(ctx, apartQuery)
	if err != nil {
		return err
	}
	var kind, name string
	var roles []string
	_, err = pgx.ForEachRow(rows, []any{&kind, &name, &roles}, func() error {
		if kind != "policy" {
			info.Apart = append(info.Apart, kind+" "+name)
			return nil
		}
		if info.Policies == nil {
			info.Policies = map[string][]string{}
		}
		info.Policies[name], roles = roles, nil
		if c.remote != nil { // its roles are never ours
			info.Apart = append(info.Apart, "policy "+name+" for the roles "+strings.Join(info.Policies[name], ", "))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.readSettings(ctx, tx, info)
}

// strangers gives those policies of a dump that name roles this server has not
// got.
func (c *Cluster) strangers(ctx context.Context, policies map[string][]string) (map[string]bool, error) {
	if len(policies) == 0 {
		return nil, nil
	}
	out := map[string]bool{}
	return out, c.talk(ctx, "look for roles", func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT rolname::text FROM pg_roles")
		if err != nil {
			return err
		}
		here, err := pgx.CollectRows(rows, pgx.RowTo[string])
		for name, roles := range policies {
			out[name] = slices.ContainsFunc(roles, func(r string) bool { return !slices.Contains(here, r) })
		}
		return err
	})
}

// leftOut are the kinds of entries of a table of contents that are not
// restored, without those of extensions and schemas.
var leftOut = []string{"EVENT TRIGGER", "PUBLICATION", "SUBSCRIPTION", "SERVER", "USER MAPPING", "FOREIGN DATA WRAPPER"}

// isLeftOut says whether an entry of a table of contents, without its numbers,
// is one that only its own server can have: "PUBLICATION - debezium owner",
// "PUBLICATION TABLE app debezium users owner", "POLICY app users p owner".
func isLeftOut(entry string, strangers map[string]bool) bool {
	if policy, ok := strings.CutPrefix(entry, "POLICY "); ok {
		name, _, _ := cutLast(strings.TrimSpace(policy), " ")
		return strangers[name]
	}
	if f := strings.Fields(entry); len(f) > 2 && f[0] == "COMMENT" {
		entry = strings.Join(f[2:], " ")
		if f[2] == "POLICY" {
			return len(strangers) > 0
		}
	}
	return slices.ContainsFunc(leftOut, func(kind string) bool { return strings.HasPrefix(entry, kind+" ") })
}

// serversIn gives the foreign servers of a table of contents.
func serversIn(list []byte) (names []string) {
	for line := range bytes.Lines(list) {
		_, rest, _ := bytes.Cut(line, []byte(" SERVER - "))
		f := strings.Fields(string(line)) // 2130; 1417 16390 SERVER - billing team
		if len(f) < 7 || f[3] != "SERVER" || f[4] != "-" {
			continue
		}
		if name, _, ok := cutLast(strings.TrimSpace(string(rest)), " "); ok {
			names = append(names, name)
		}
	}
	return names
}

// nameServers makes foreign servers that lead nowhere, for the foreign tables
// of the app.
func (e *Engine) nameServers(ctx context.Context, making string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return e.home.with(ctx, making, "name foreign servers in "+making, func(conn *pgx.Conn) error {
		if err := run(ctx, conn, "CREATE FOREIGN DATA WRAPPER "+nowhere); err != nil {
			return err
		}
		for _, name := range names {
			if err := run(ctx, conn, "CREATE SERVER "+quote(name)+" FOREIGN DATA WRAPPER "+nowhere,
				"GRANT USAGE ON FOREIGN SERVER "+quote(name)+" TO "+quote(ownerRole(e.app))); err != nil {
				return err
			}
		}
		return nil
	})
}

// analyse takes the statistics of a database. Where there are foreign servers,
// which lead nowhere, tables with foreign parts are left out.
func analyse(ctx context.Context, conn *pgx.Conn, foreign bool) error {
	if !foreign {
		return run(ctx, conn, "ANALYZE")
	}
	rows, err := conn.Query(ctx, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND `+ownObjects+`
		AND NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class f ON f.oid = i.inhrelid WHERE i.inhparent = c.oid AND f.relkind = 'f')`)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n [2]string, err error) { return n, row.Scan(&n[0], &n[1]) })
	if err != nil {
		return err
	}
	for _, n := range all {
		if err := run(ctx, conn, "ANALYZE "+pgx.Identifier(n[:]).Sanitize()); err != nil {
			return fmt.Errorf("analyse %s.%s: %w", n[0], n[1], err)
		}
	}
	return nil
}

// whole says whether copies and restores hold all that d has.
func (a *Adopted) whole(ctx context.Context, d bosman.Database) (bosman.Ability, error) {
	var info database.BackupInfo
	err := a.cluster.with(ctx, d.Name, "see what does not go into copies of "+a.cluster.remote.instance, func(conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error { return a.cluster.apart(ctx, tx, &info) })
	})
	whole := bosman.Ability{Name: bosman.CanWhole, OK: len(info.Apart) == 0}
	if !whole.OK {
		whole.Why = "copies and restores are without " + strings.Join(info.Apart, ", ")
	}
	return whole, err
}
