package mariadb

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/database/mask"
)

const versions = "SELECT GROUP_CONCAT(CONCAT(id, '=', v, ' ', ROW_START) ORDER BY ROW_START, id) FROM price FOR SYSTEM_TIME ALL"

// What the rows of a table with system versioning were comes back with a
// backup and goes along with a copy; a masked copy has none of it.
func TestHistory(t *testing.T) {
	main, scratch := clusters(t)
	e, trial := engine(t, "history", main), engine(t, "history", scratch, main)
	t.Cleanup(func() { dropAll(t, e, trial) })
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	do(t, d, "CREATE TABLE price (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING", "INSERT INTO price VALUES (1, 10), (2, 5)",
		"UPDATE price SET v = 20 WHERE id = 1", "UPDATE price SET v = 30 WHERE id = 1", "DELETE FROM price WHERE id = 2",
		"CREATE TABLE named (id INT PRIMARY KEY, email VARCHAR(80), a TIMESTAMP(6) GENERATED ALWAYS AS ROW START, b TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (a, b)) WITH SYSTEM VERSIONING",
		"INSERT INTO named (id, email) VALUES (1, 'oldsecret@firma.pl')", "UPDATE named SET email = 'new@firma.pl'",
		"CREATE TABLE parts (id INT, v INT) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME (PARTITION h HISTORY, PARTITION n CURRENT)",
		"INSERT INTO parts VALUES (1, 1)", "UPDATE parts SET v = 2")
	before := ask(t, d, versions)
	whole := func(what string, x bosman.Database) {
		t.Helper()
		if got := ask(t, x, versions); got != before {
			t.Errorf("%s: %s, want %s", what, got, before)
		}
		for _, table := range []string{"named", "parts"} {
			if n := ask(t, x, "SELECT COUNT(*) FROM "+table+" FOR SYSTEM_TIME ALL"); n != "2" {
				t.Errorf("%s: %s rows of %s", what, n, table)
			}
		}
		if n := ask(t, x, "SELECT COUNT(*) FROM price"); n != "1" {
			t.Errorf("%s: %s rows of now", what, n)
		}
	}
	dir := t.TempDir()
	info, err := e.Backup(t.Context(), d, dir)
	if err != nil || info.Rows["price"] != 4 || info.Lacks != "" {
		t.Fatalf("%+v, %v", info, err)
	}
	x, err := trial.Restore(t.Context(), dir, "restored")
	if err != nil {
		t.Fatal(err)
	}
	whole("restored", x)
	if err := database.Compare(t.Context(), trial, x, "restored", info); err != nil {
		t.Error(err)
	}
	do(t, x, "DELETE HISTORY FROM price")
	if err := database.Compare(t.Context(), trial, x, "restored", info); err == nil {
		t.Error("a restore without the history counts as proven")
	}
	for _, exact := range []bool{true, false} { // by a dump, by way of a golden copy
		name := map[bool]string{true: "testing-anna", false: "testing-ben"}[exact]
		c, _, err := trial.Copy(t.Context(), d, name, database.CopyOptions{Release: 1, From: "live", Exact: exact})
		if err != nil {
			t.Fatal(err)
		}
		whole(name, c)
	}

	trial.MaskWith(func(context.Context, string, int) (mask.Spec, error) {
		return mask.Spec{Salt: "s", Types: bosman.MaskTypes, Columns: map[string]string{"named.email": "email"}}, nil
	})
	root := t.TempDir()
	k := &database.Keeper{Engine: e, Scratch: trial, State: filepath.Join(root, "state")}
	at := database.Place{Vault: databasetest.Vault(t, filepath.Join(root, "vault")), Name: "backups/rms/live/one"}
	if _, err := k.Backup(t.Context(), database.Snapshot{Database: d}, at, database.About{App: "rms", Instance: "live", Release: 1, Number: 1}); err != nil {
		t.Fatal(err)
	}
	if made, err := k.Drill(t.Context(), at, false, trial, d); err != nil || !made.Made {
		t.Fatalf("%+v, %v", made, err)
	}
	for _, exact := range []bool{true, false} { // of now, of the backup
		name := map[bool]string{true: "testing-cora", false: "testing-dan"}[exact]
		c, _, err := trial.Copy(t.Context(), d, name, database.CopyOptions{Release: 1, From: "live", Exact: exact})
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"price", "named", "parts"} {
			if n := ask(t, c, "SELECT COUNT(*) FROM "+table+" FOR SYSTEM_TIME ALL"); n != "1" {
				t.Errorf("masked %s: %s rows of %s", name, n, table)
			}
		}
	}
}

// What a backup cannot hold is said, and the backup counts without it.
func TestHistoryThatNoDumpHolds(t *testing.T) {
	main, scratch := clusters(t)
	e, trial := engine(t, "nohistory", main), engine(t, "nohistory", scratch, main)
	t.Cleanup(func() { dropAll(t, e, trial) })
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	do(t, d, "CREATE TABLE counted (id INT PRIMARY KEY, a BIGINT UNSIGNED GENERATED ALWAYS AS ROW START, b BIGINT UNSIGNED GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (a, b)) WITH SYSTEM VERSIONING",
		"INSERT INTO counted (id) VALUES (1)", "UPDATE counted SET id = 2")
	dir := t.TempDir()
	info, err := e.Backup(t.Context(), d, dir)
	if err != nil || !strings.Contains(info.Lacks, "counted") {
		t.Fatalf("%+v, %v", info, err)
	}
	if said, err := e.Lacks(t.Context(), d); err != nil || said != info.Lacks {
		t.Errorf("%q, %v", said, err)
	}
	x, err := trial.Restore(t.Context(), dir, "restored")
	if err != nil {
		t.Fatal(err)
	}
	if err := database.Compare(t.Context(), trial, x, "restored", info); err != nil {
		t.Error(err)
	}
}

func TestWhoDumpsHistory(t *testing.T) {
	for _, c := range []struct {
		server, client string
		want           bool
	}{
		{"10.11.19-MariaDB-0+deb12u1", "mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)", true},
		{"11.4.2-MariaDB", "mariadb-dump from 11.4.2-MariaDB, client 10.19 for debian-linux-gnu (x86_64)", true},
		{"10.6.18-MariaDB", "mariadb-dump  Ver 10.19 Distrib 10.6.18-MariaDB, for Linux (x86_64)", false},
		{"10.11.19-MariaDB", "mariadb-dump  Ver 10.19 Distrib 10.6.18-MariaDB, for Linux (x86_64)", false},
		{"10.6.18-MariaDB", "mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for Linux (x86_64)", false},
	} {
		if got, why := dumpsHistory(c.server, c.client); got != c.want || got == (why != "") {
			t.Errorf("%s, %s: %t %q", c.server, c.client, got, why)
		}
	}
}

func dropAll(t *testing.T, engines ...*Engine) {
	for _, e := range engines {
		all, err := e.List(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, x := range all {
			if err := e.Drop(context.Background(), x.Database); err != nil {
				t.Error(err)
			}
		}
	}
}
