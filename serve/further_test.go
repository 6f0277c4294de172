package serve

import (
	"net/http"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/need"
)

// twoApp keeps words in both of its databases.
const twoApp = `import http.server, os, socketserver, psycopg2
def sql(q):
    out = []
    for name in ("DATABASE_URL", "REPORTS_DATABASE_URL"):
        c = psycopg2.connect(os.environ[name]); c.autocommit = True
        k = c.cursor(); k.execute(q); out += k.fetchall() if k.description else []; c.close()
    return out
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            if self.path == "/healthz":
                sql("SELECT words FROM note LIMIT 1"); body = '{"commit": "%s"}' % os.environ["BOSMAN_COMMIT"]
            elif self.path == "/add":
                sql("INSERT INTO note (words) VALUES ('x')"); body = "added"
            else:
                body = "hello " + " and ".join(str(r[0]) for r in sql("SELECT count(*) FROM note"))
            self.send_response(200)
        except Exception as e:
            self.send_response(500); body = str(e)
        self.end_headers(); self.wfile.write(body.encode())
    def address_string(self): return "edge"
class S(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
S(os.environ["BOSMAN_SOCKET"], H).serve_forever()
`

const migrateTwo = `import os, psycopg2
for name in ("DATABASE_URL", "REPORTS_DATABASE_URL"):
    c = psycopg2.connect(os.environ[name]); c.autocommit = True
    c.cursor().execute("CREATE TABLE IF NOT EXISTS note (id serial PRIMARY KEY, words text)")
`

// An app with a further database: its build tests on one, its instances have
// one each, and a revert with the data brings both back.
func TestFurtherDatabase(t *testing.T) {
	need.Slow(t, "builds and deploys two releases with two databases")
	need.File(t, "/usr/lib/postgresql", "postgresql")
	need.File(t, "/usr/lib/python3/dist-packages/psycopg2", "python3-psycopg2")
	t.Parallel()
	w := newWorld(t, "postgres")
	admin := bosman.Actor{Person: firstAdmin, From: "test"}
	w.write("server.py", twoApp)
	w.write("migrate.py", migrateTwo)
	m := strings.Replace(tinyManifest, "DATABASE", "{mask: {note.words: text}}\ndatabases: {reports: postgres}", 1)
	m = strings.Replace(m, `"echo migrated"`, "/usr/bin/python3 migrate.py", 1)
	m = strings.Replace(m, `"grep -q hello page.txt"`, `"/usr/bin/python3 migrate.py"`, 1)
	w.write("bosman.yaml", strings.Replace(m, "for: 3s", "for: 1s", 1))
	for n, words := range []string{"hello one", "hello two"} {
		w.write("words.txt", words+"\n")
		w.commit(words)
		w.push("anna", "main")
		w.staging(n + 1)
		w.must("deploy", "live", []string{"1", "2"}[n])
		if code, body := w.get("live", "/add"); code != http.StatusOK {
			t.Fatalf("%d %s", code, body)
		}
	}
	if code, body := w.get("live", "/"); code != http.StatusOK || body != "hello 2 and 2" {
		t.Fatalf("live: %d %q", code, body)
	}
	w.masksOfBoth(admin)
	back := w.op(w.s.helm.Revert(t.Context(), admin, helm.RevertRequest{App: "tiny", Instance: "live", Restore: true, ConfirmLoss: true}))
	if back.State != bosman.OpDone {
		w.dump()
		t.Fatalf("revert: %s %v", back.State, back.Error)
	}
	if code, body := w.get("live", "/"); code != http.StatusOK || body != "hello 1 and 1" {
		t.Errorf("live after the revert: %d %q", code, body)
	}
}

// masksOfBoth: what is masked is said of each database, and live's data is not
// copied while one of them is not.
func (w *world) masksOfBoth(admin bosman.Actor) {
	w.t.Helper()
	ctx := w.t.Context()
	all, err := w.s.helm.MasksOf(ctx, admin, "tiny", "live")
	if err != nil || len(all) != 2 || all[0].Database != "" || all[0].Off || len(all[0].Masked) != 1 || all[1].Database != "reports" || !all[1].Off {
		w.t.Errorf("masks %+v, %v", all, err)
	}
	live, err := w.s.store.Instance(ctx, "tiny", "live")
	if err != nil {
		w.t.Fatal(err)
	}
	k, err := w.s.databases.keeper(ctx, bosman.Instance{App: "tiny", Kind: bosman.KindTesting}, "postgres")
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.s.databases.maskable(ctx, k, live); bosman.KindOf(err) != bosman.KindForbidden || !strings.Contains(err.Error(), "the database reports") {
		w.t.Errorf("live's data with one database unmasked: %v", err)
	}
}
