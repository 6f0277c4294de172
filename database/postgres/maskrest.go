package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// wakefulQuery finds the triggers and rules that do not rest in a session of a
// replica, of tables that the app owns: what they are, and as what they wake.
const wakefulQuery = `SELECT 'TRIGGER', n.nspname, c.relname, t.tgname, t.tgenabled::text FROM pg_trigger t
	JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled IN ('A', 'R')
UNION ALL SELECT 'RULE', n.nspname, c.relname, r.rulename, r.ev_enabled::text FROM pg_rewrite r
	JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p') AND r.ev_enabled IN ('A', 'R')
ORDER BY 1, 2, 3, 4`

// rest lays to rest what would fire although the session is one of a replica
// (ENABLE ALWAYS, ENABLE REPLICA): a trigger that writes down what a row held
// before would keep what is masked. It gives the statements that wake them again.
func rest(ctx context.Context, tx pgx.Tx) (wake []string, err error) {
	rows, err := tx.Query(ctx, wakefulQuery)
	if err != nil {
		return nil, err
	}
	type wakeful struct{ Kind, Schema, Table, Name, Enabled string }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[wakeful])
	if err != nil {
		return nil, err
	}
	for _, w := range all {
		how := map[string]string{"A": "ENABLE ALWAYS ", "R": "ENABLE REPLICA "}[w.Enabled]
		alter, which := "ALTER TABLE "+pgx.Identifier{w.Schema, w.Table}.Sanitize()+" ", w.Kind+" "+quote(w.Name)
		if _, err := tx.Exec(ctx, alter+"DISABLE "+which); err != nil {
			return nil, err
		}
		wake = append(wake, alter+how+which)
	}
	return wake, nil
}
