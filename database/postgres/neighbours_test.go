package postgres

import (
	"fmt"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// TestNeighboursCannotReachOut: what an instance may do in its own database,
// as the role that owns everything there, must give it neither its neighbour's
// data nor the server's files, and take nothing from the neighbour. The two
// share that role.
func TestNeighboursCannotReachOut(t *testing.T) {
	main, _ := clusters(t)
	e := engine(t, "reach", main)
	t.Cleanup(func() { drop(t, e, bosman.Database{Name: "reach__"}) })
	made := func(name string) bosman.Database {
		t.Helper()
		d, err := e.Create(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		mustSQL(t, d, "CREATE TABLE candidate (name text)", "INSERT INTO candidate VALUES ('"+name+"')", "SELECT lo_from_bytea(4711, 'large')")
		return d
	}
	live, me := made("live"), made("staging")
	for _, x := range []string{"dblink", "postgres_fdw", "file_fdw", "lo"} { // as database: {extensions: …} has them made
		if err := e.Extend(t.Context(), me, []string{x}); err != nil {
			t.Fatal(err)
		}
	}
	socket := fmt.Sprintf("host=%s port=%d dbname=%s", live.Host, live.Port, live.Name)
	for _, role := range []string{"SELECT 1", "RESET ROLE"} { // as the app's owner, and as the login
		for _, s := range []string{
			"SELECT pg_read_file('PG_VERSION')", "SELECT pg_ls_dir('.')", "SELECT pg_stat_file('PG_VERSION')", "COPY candidate FROM '/etc/passwd'", "COPY candidate TO '/tmp/bosman-out'",
			"COPY candidate FROM PROGRAM 'id'", "SELECT lo_import('/etc/passwd')", "SELECT lo_export(4711, '/tmp/bosman-out')",
			"CREATE SERVER f FOREIGN DATA WRAPPER file_fdw", "CREATE SERVER p FOREIGN DATA WRAPPER postgres_fdw", "LOAD '/tmp/x.so'",
			"CREATE FUNCTION x() RETURNS int LANGUAGE c AS '/tmp/x.so', 'x'", "CREATE EXTENSION plperlu", "CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION now()",
			"SELECT dblink_connect('" + socket + "')", "SELECT dblink_connect('" + socket + " user=" + live.User + "')", "SELECT dblink_connect('" + socket + " user=bosman')",
			"SELECT dblink_connect('" + socket + " user=" + me.User + " password=" + me.Password + "')",
			"SELECT dblink_connect_u('" + socket + "')",
			"SET ROLE " + quote(live.User), "SET SESSION AUTHORIZATION " + quote(live.User), "SET ROLE " + quote(workerRole("reach")), "SET ROLE pg_read_server_files", "SET ROLE pg_read_all_data",
			"GRANT pg_read_all_data TO " + quote(me.User), "GRANT " + quote(live.User) + " TO " + quote(me.User), "ALTER ROLE " + quote(live.User) + " PASSWORD 'x'",
			"ALTER ROLE " + quote(me.User) + " SUPERUSER", "ALTER ROLE " + quote(me.User) + " CONNECTION LIMIT 1000", "ALTER ROLE " + quote(ownerRole("reach")) + " LOGIN",
			"ALTER DATABASE " + quote(live.Name) + " SET search_path = evil", "COMMENT ON DATABASE " + quote(me.Name) + " IS '{}'", "ALTER DATABASE " + quote(me.Name) + " OWNER TO " + quote(ownerRole("reach")),
			"ALTER SYSTEM SET archive_command = 'id'", "SELECT pg_reload_conf()", "SET log_statement = 'none'",
			"CREATE TABLESPACE t LOCATION '/tmp'", "CREATE PUBLICATION p FOR ALL TABLES", "SELECT pg_create_physical_replication_slot('x')", "SELECT pg_switch_wal()", "SELECT rolpassword FROM pg_authid",
			"DROP OWNED BY " + quote(live.User), "REASSIGN OWNED BY " + quote(live.User) + " TO " + quote(me.User),
		} {
			err := trySQL(me, role, s)
			if err == nil {
				t.Errorf("after %s, %s may: %s", role, me.User, s)
			}
		}
	}

	// A SECURITY DEFINER function belongs to the app's owner in every copy, never to a superuser.
	mustSQL(t, me, "CREATE FUNCTION whoami() RETURNS name LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user'")
	copied, _, err := e.Copy(t.Context(), me, "testing-anna", database.CopyOptions{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := scanSQL(t, copied, "SELECT whoami()"); got != ownerRole("reach") {
		t.Errorf("in a copy a function of the instance runs as %s", got)
	}
	if got := scanSQL(t, copied, "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') FROM pg_class WHERE relname = 'candidate'"); got != ownerRole("reach") {
		t.Errorf("in a copy the tables belong to %s", got)
	}
	if got := scanSQL(t, copied, "SELECT convert_from(lo_get(4711), 'UTF8')"); got != "large" {
		t.Errorf("in a copy a large object holds %q", got)
	}

	// What it may throw away is its own: the rights of others on theirs stay.
	mustSQL(t, me, "DROP OWNED BY "+quote(ownerRole("reach"))+" CASCADE")
	mustSQL(t, live, "CREATE TEMPORARY TABLE t (a int)", "CREATE SCHEMA other", "CREATE EXTENSION citext", "INSERT INTO candidate VALUES ('still')")
	if got := scanSQL(t, live, "SELECT count(*)::text FROM candidate"); got != "2" {
		t.Errorf("live holds %s rows", got)
	}
}

// scanSQL gives the one text that a query answers.
func scanSQL(t testing.TB, d bosman.Database, query string) (text string) {
	t.Helper()
	conn, err := connect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), query).Scan(&text); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return text
}
