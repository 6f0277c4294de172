package serve

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// sayOn runs SQL in the database of an instance and prints the rows.
func (w *world) sayOn(instance, engine, statements string) string {
	w.t.Helper()
	connect := map[string]string{
		"sqlite": `import os, sqlite3
c = sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///"))`,
		"mariadb": `import os, MySQLdb
c = MySQLdb.connect(host="localhost", user=os.environ["DB_USER"], password=os.environ["DB_PASSWORD"], database=os.environ["DB_NAME"])`,
	}[engine]
	return w.run(instance, `/usr/bin/python3 -c '`+connect+`
k = c.cursor()
for s in """`+statements+`""".split(";"):
    k.execute(s)
for r in k.fetchall() or []: print(*r, sep="|")
c.commit()'`)
}

// A tester of an app on SQLite or MariaDB gets live's data, masked: no word of
// it is in the copy or its files, and what is not listed lets none be made.
func TestCopyOfLiveIsMasked(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"sqlite", "mariadb"} {
		t.Run(engine, func(t *testing.T) {
			need.Slow(t, "builds, deploys and copies live")
			if engine == "mariadb" {
				need.File(t, "/usr/sbin/mariadbd", "mariadb-server")
				need.File(t, "/usr/lib/python3/dist-packages/MySQLdb", "python3-mysqldb")
			}
			copyOfLive(t, engine)
		})
	}
}

func copyOfLive(t *testing.T, engine string) {
	w := newWorld(t, engine)
	ctx, anna := t.Context(), bosman.Actor{Person: "anna", From: "test"}
	m := strings.Replace(tinyManifest, "database: DATABASE", "database: {engine: "+engine+", mask: {person.email: email}, mask_sql: [mask.sql]}", 1)
	m = strings.Replace(m, "for: 3s", "for: 1s", 1) + "  testing: {copy: live}\n"
	w.write("bosman.yaml", m)
	w.write("mask.sql", "UPDATE person SET note = 'from the file';\n")
	w.commit("masks")
	w.push("anna", "main")
	w.staging(1)
	w.must("deploy", "live", "1")
	w.sayOn("live", engine, `CREATE TABLE person (id INTEGER PRIMARY KEY, email VARCHAR(80) NOT NULL UNIQUE, phone VARCHAR(30), note VARCHAR(80));
INSERT INTO person VALUES (1, "verysecret@firma.pl", "+48 600700800", "verysecret note")`)

	// The phone is not listed.
	w.git(w.work, "checkout", "-q", "-b", "feature")
	w.write("words.txt", "hello two\n")
	w.commit("two")
	w.push("piotr", "feature")
	refused := w.op(w.s.helm.Try(ctx, anna, "tiny", "feature", "testing-anna"))
	if refused.State == bosman.OpDone || refused.Error == nil || !strings.Contains(refused.Error.Next, "person.phone: phone") {
		t.Fatalf("try: %s %v", refused.State, refused.Error)
	}
	report, err := w.s.helm.MasksOf(ctx, anna, "tiny", "live")
	if err != nil || len(report) != 1 || len(report[0].Masked) != 1 || len(report[0].Left) != 1 || report[0].Left[0].Suggest != "person.phone: phone" {
		t.Errorf("the report %+v, %v", report, err)
	}

	w.git(w.work, "checkout", "-q", "main")
	w.write("bosman.yaml", strings.Replace(m, "person.email: email", "person.email: email, person.phone: phone", 1))
	w.commit("the phone")
	w.push("anna", "main")
	w.staging(3) // the second release is the branch's
	try := w.op(w.s.helm.Try(ctx, anna, "tiny", "feature", "testing-anna"))
	if try.State != bosman.OpDone {
		w.dump()
		t.Fatalf("try: %s %v", try.State, try.Error)
	}
	said := strings.TrimSpace(w.sayOn("testing-anna", engine, "SELECT email, phone, note FROM person"))
	email, rest, _ := strings.Cut(said, "@")
	if !strings.HasPrefix(email, "u") || !strings.HasPrefix(rest, "example.invalid|+48 ") || strings.Contains(rest, "600700800") || !strings.HasSuffix(rest, "|from the file") {
		t.Errorf("the copy holds %q", said)
	}
	if said := strings.TrimSpace(w.sayOn("live", engine, "SELECT email FROM person")); said != "verysecret@firma.pl" {
		t.Errorf("live holds %q", said)
	}
	if i, err := w.s.store.Instance(ctx, "tiny", "testing-anna"); err != nil || i.Copy.From != "live" {
		t.Errorf("the copy is %+v, %v", i.Copy, err)
	}
	if engine == "sqlite" {
		entries, err := os.ReadDir(filepath.Join(w.data, "sqlite", "tiny"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if found := filesWith(t, filepath.Join(w.data, "sqlite", "tiny", e.Name()), "verysecret"); len(found) > 0 && e.Name() != "live" {
				t.Errorf("live's words are in %v", found)
			}
		}
	}
}
