package serve

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/internal/need"
	"github.com/bosman-cd/bosman/manifest"
	"github.com/bosman-cd/bosman/migration"
)

// What a real migration tool does, in a few lines: it runs what it has not run.
const migrateSh = `set -e
run() { /usr/bin/psql -qXAt -v ON_ERROR_STOP=1 "$DATABASE_URL" "$@"; }
run -c 'CREATE TABLE IF NOT EXISTS ran (name text PRIMARY KEY)'
for f in db/migrations/*.sql; do
  name=$(basename "$f")
  [ -z "$(run -c "SELECT 1 FROM ran WHERE name = '$name'")" ] || continue
  { sed '/+goose Down/,$d' "$f"; echo "INSERT INTO ran VALUES ('$name');"; } | run -1
  echo "ran $name"
done
`

func gooseFile(up string) string { return "-- +goose Up\n" + up + "\n-- +goose Down\nSELECT 1;\n" }

// rehearsed waits for the rehearsal of a change's newest release.
func (w *world) rehearsed(ref string) bosman.Rehearsal {
	w.t.Helper()
	var r bosman.Rehearsal
	w.until(ref+" is rehearsed", 60*time.Second, func() bool {
		var err error
		r, err = w.s.helm.Rehearsal(w.t.Context(), bosman.System(), "tiny", ref)
		return err == nil && r.State != bosman.RehearsalRunning
	})
	return r
}

func (w *world) change(ref string) bosman.Change {
	w.t.Helper()
	c, err := w.s.helm.FindChange(w.t.Context(), bosman.System(), "tiny", ref)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestRehearsals(t *testing.T) {
	need.File(t, "/usr/lib/postgresql", "postgresql")
	need.File(t, "/usr/bin/psql", "postgresql-client")
	need.Slow(t, "a whole Bosman with PostgreSQL")
	t.Parallel()
	w := newWorld(t, "postgres")
	ctx := t.Context()
	if err := os.MkdirAll(filepath.Join(w.work, "db/migrations"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.write("migrate.sh", migrateSh)
	w.write("bosman.yaml", strings.NewReplacer("DATABASE", "postgres", `"echo migrated"`, "sh migrate.sh").Replace(tinyManifest))
	w.write("db/migrations/00001_start.sql", gooseFile("CREATE TABLE person (id int PRIMARY KEY, name text);\nINSERT INTO person SELECT g, 'Zofia' FROM generate_series(1, 1000) g;"))
	w.commit("migrations")
	w.push("anna", "main")
	w.staging(1)

	// Live gets r1, which nobody has rehearsed: its deployment does so first,
	// although an administrator passes the rules, and also after a kill.
	w.stop()
	if !w.child("serve.rehearsal.copied=kill", "deploy", "live", "1") {
		t.Fatal("nothing was killed")
	}
	w.start()
	if op := w.op(w.last(), nil); op.State != bosman.OpDone || op.Instance != "live" || !strings.Contains(op.Steps[0].Note, "r1 is rehearsed on a copy") {
		t.Errorf("live gets r1: %s %v, %+v", op.State, op.Error, op.Steps)
	}
	if r, err := w.s.store.Rehearsal(ctx, "tiny", 1); err != nil || r.State != bosman.RehearsalPassed || r.Sessions == 0 || r.Copy.From != "staging" {
		t.Errorf("r1 was rehearsed: %+v, %v", r, err)
	}

	branch := func(name, file, up string) string {
		w.git(w.work, "checkout", "-q", "-b", name, "main")
		if file != "" {
			w.write("db/migrations/"+file, gooseFile(up))
		}
		w.write(name+".txt", name+"\n")
		w.commit(name)
		return w.push("piotr", name)
	}
	branch("born", "00002_born.sql", "ALTER TABLE person ADD COLUMN born date;")
	out := branch("nameless", "00002_nameless.sql", "ALTER TABLE person DROP COLUMN name;\nSELECT pg_sleep(0.5);")
	if want := "c1 (00002_born) and c2 (00002_nameless) both take number 00002 of db/migrations"; !strings.Contains(out, want) {
		t.Errorf("the push does not say %q:\n%s", want, out)
	}
	branch("broken", "00003_broken.sql", "ALTER TABLE nowhere ADD COLUMN x int;")

	r := w.rehearsed("born")
	if r.State != bosman.RehearsalPassed || r.Destructive || r.Schema != "column public.person.born added" || r.Copy.From != "staging" || r.Copy.Release != 1 ||
		r.Sessions == 0 || len(r.Dangers) != 0 || r.Took <= 0 {
		t.Errorf("born: %+v", r)
	}
	if len(r.Statements) != 2 || !strings.HasPrefix(r.Statements[1].SQL, "ALTER TABLE person ADD COLUMN born") {
		t.Errorf("born ran %+v", r.Statements)
	}
	r = w.rehearsed("nameless")
	if r.State != bosman.RehearsalPassed || !r.Destructive || r.Schema != "column public.person.name dropped" || len(r.Dangers) != 1 || r.Dangers[0].Kind != bosman.Destructive {
		t.Errorf("nameless: %+v", r)
	}
	if len(r.Locks) != 1 || r.Locks[0].Table != "public.person" || r.Locks[0].Stops != "reads and writes" || r.Locks[0].For < 90*time.Millisecond {
		t.Errorf("nameless locked %+v", r.Locks)
	}
	r = w.rehearsed("broken")
	if r.State != bosman.RehearsalFailed || !strings.Contains(r.Reason, `relation "nowhere" does not exist`) || r.Schema != "" ||
		!slices.ContainsFunc(r.Statements, func(s bosman.RanStatement) bool { return s.Failed && s.Error == `relation "nowhere" does not exist` }) {
		t.Errorf("broken: %+v", r)
	}
	w.until("the change says so", 20*time.Second, func() bool {
		return strings.Contains(strings.Join(w.change("broken").Hazards, "\n"), "migration fails on a copy of staging's data: ")
	})

	// Killed in the middle, it is done again on a new copy.
	w.stop()
	if !w.child("serve.rehearsal.copied=kill", "rehearse", "born") {
		t.Fatal("nothing was killed")
	}
	w.start()
	if r = w.rehearsed("born"); r.State != bosman.RehearsalPassed || r.Schema != "column public.person.born added" {
		t.Errorf("born, after a kill: %+v", r)
	}

	// What fails on the copy is not merged.
	anna := bosman.Actor{Person: "anna", From: "test"}
	_, err := w.s.helm.Merge(ctx, anna, "tiny", "broken")
	if e := bosman.AsError(err); bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(e.Message, "fails on a copy of staging's data") ||
		!strings.Contains(e.Message, "(ALTER TABLE nowhere ADD COLUMN x int)") || e.Kept != "main was not moved" || !strings.Contains(e.Next, "--override") {
		t.Errorf("merging what fails: %v", err)
	}
	if _, err := w.s.helm.MergeAnyway(ctx, anna, "tiny", "broken", "I know"); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a tester merges what fails: %v", err)
	}
	if page, err := w.s.helm.ChangePage(ctx, anna, "tiny", "broken"); err != nil || page.Road[3].State != bosman.StationFailed {
		t.Errorf("the road of what fails: %+v, %v", page.Road, err)
	}

	// When one of two is merged, the other is blocked until it is mended.
	if _, err := w.s.helm.Merge(ctx, anna, "tiny", "born"); err != nil {
		t.Fatal(err)
	}
	w.until("the other is blocked", 20*time.Second, func() bool { return w.change("nameless").Blocked != "" })
	if _, err := w.s.helm.Merge(ctx, anna, "tiny", "nameless"); bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), "main already has 00002_born there") {
		t.Errorf("merging the blocked one: %v", err)
	}
	w.git(w.work, "checkout", "-q", "nameless")
	w.git(w.work, "merge", "-q", "-m", "merge main", "born")
	w.git(w.work, "mv", "db/migrations/00002_nameless.sql", "db/migrations/00004_nameless.sql")
	w.commit("renumbered")
	w.push("piotr", "nameless")
	if c := w.change("nameless"); c.Blocked != "" {
		t.Errorf("it is mended, but blocked: %s", c.Blocked)
	}
	i, err := w.s.store.Instance(ctx, "tiny", "staging")
	if err != nil {
		t.Fatal(err)
	}
	k, err := w.s.databases.keeper(ctx, bosman.Instance{App: "tiny", Kind: bosman.KindTesting}, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	r = w.rehearsed("nameless")
	if !strings.Contains(r.Schema, "person.name dropped") {
		t.Errorf("the renumbered one: %+v", r)
	}
	w.until("no copy is left", 20*time.Second, func() bool {
		_, err := k.Engine.Find(ctx, database.TagRehearsal)
		return bosman.KindOf(err) == bosman.KindNotFound
	})

	// What never comes to its database is said to, and does not migrate live.
	w.git(w.work, "checkout", "-q", "main")
	w.git(w.work, "merge", "-q", "--ff-only", "born")
	w.write("bosman.yaml", strings.NewReplacer("DATABASE", "postgres", `"echo migrated"`, `"python3 -c \"import socket; socket.socket().connect_ex(('10.0.0.5', 5432))\""`).Replace(tinyManifest))
	branch("elsewhere", "00005_more.sql", "CREATE TABLE more (x int);")
	r = w.rehearsed("elsewhere")
	if !r.Elsewhere() || !r.Closed || !slices.Equal(r.Outside, []string{"10.0.0.5:5432"}) {
		t.Errorf("elsewhere: %+v", r)
	}
	live := deploy.Launch{Instance: bosman.Instance{App: "tiny", Name: "live", Kind: bosman.KindLive, Database: i.Database}, Release: r.Release, Part: deploy.PartWeb}
	if err := w.s.databases.Guard(ctx, live); bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), "tried to reach 10.0.0.5:5432: not this instance's database") {
		t.Errorf("live with what went elsewhere: %v", err)
	}
	// Its deployment is refused before it begins.
	if waits, err := w.s.beforeLive(ctx, bosman.Operation{App: "tiny", Instance: "live", Release: r.Release, CreatedAt: time.Now()}, live.Instance); bosman.KindOf(err) != bosman.KindConflict || waits != "" {
		t.Errorf("live waits for %q, %v", waits, err)
	}
	if err := w.s.helm.AcceptRehearsal(ctx, bosman.Actor{Person: "anna"}, "tiny", "elsewhere", "I know"); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a tester lets it pass: %v", err)
	}
	if err := w.s.helm.AcceptRehearsal(ctx, bosman.System(), "tiny", "elsewhere", "it migrates nothing"); err != nil {
		t.Fatal(err)
	}
	if err := w.s.databases.Guard(ctx, live); err != nil {
		t.Errorf("let pass: %v", err)
	}

	// Going back over what drops a column is not for the code alone.
	step, err := w.s.helm.SchemaStep(ctx, "tiny", 1, w.rehearsed("nameless").Release)
	if err != nil || !strings.Contains(step.Against(), "person.name dropped") || len(step.Migrations) != 2 {
		t.Errorf("the step %+v: %q, %v", step, step.Against(), err)
	}
	if err := w.s.databases.Guard(ctx, deploy.Launch{Instance: live.Instance, Release: step.To, Part: deploy.PartWeb}); err != nil {
		t.Errorf("live with what came to its database: %v", err)
	}

	// What takes longer than bosman.yaml gives it is not known to fail, and
	// does not stand in the way of the merge.
	w.git(w.work, "checkout", "-q", "-b", "slow", "main")
	w.write("bosman.yaml", strings.NewReplacer("DATABASE", "postgres", `"echo migrated"`, "sh migrate.sh").Replace(tinyManifest)+"migrations: {time: 3s}\n")
	w.write("db/migrations/00009_slow.sql", gooseFile("SELECT pg_sleep(600);"))
	w.commit("slow")
	w.push("piotr", "slow")
	if r = w.rehearsed("slow"); r.State != bosman.RehearsalSkipped || !strings.Contains(r.Reason, "not known: it took longer than 3s") || r.Stops() != "" {
		t.Errorf("slow: %+v", r)
	}
	w.git(w.work, "checkout", "-q", "main")

	// An administrator may merge what fails: built with main as it is, and
	// rehearsed again, it merges by itself.
	admin := bosman.Actor{Person: firstAdmin, From: "test"}
	if _, err := w.s.helm.MergeAnyway(ctx, admin, "tiny", "broken", ""); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("without a reason: %v", err)
	}
	if m, err := w.s.helm.MergeAnyway(ctx, admin, "tiny", "broken", "it is mended by hand"); err != nil || m.Build == 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	w.until("it is merged", 90*time.Second, func() bool { return w.change("broken").State == bosman.ChangeMerged })
	if r = w.rehearsed("broken"); r.State != bosman.RehearsalFailed || r.Accepted != firstAdmin+": it is mended by hand" {
		t.Errorf("let pass: %+v", r)
	}

	// A push to main is not refused. It is rehearsed, told, and staging is
	// spared.
	w.until("staging is at rest", 60*time.Second, func() bool {
		i, err = w.s.store.Instance(ctx, "tiny", "staging")
		return err == nil && i.Operation == 0 && w.deployment("staging").State.Final()
	})
	runs := i.Release
	w.git(w.work, "checkout", "-q", "main")
	w.git(w.work, "reset", "-q", "--hard")
	w.git(w.work, "pull", "-q", "--no-rebase", "--no-edit", filepath.Join(w.data, "git", "tiny.git"), "main")
	w.git(w.work, "rm", "-q", "db/migrations/00003_broken.sql")
	w.write("db/migrations/00007_wrong.sql", gooseFile("CREATE TABLE person (x int);"))
	w.commit("wrong")
	out = w.push("anna", "main")
	if !strings.Contains(out, "fails on a copy of staging's data: ") || !strings.Contains(out, `relation "person" already exists`) || !strings.Contains(out, "staging does not get it") {
		t.Errorf("the push to main says:\n%s", out)
	}
	var d bosman.Operation
	w.until("the deployment to staging is refused", 60*time.Second, func() bool {
		d = w.deployment("staging")
		return d.State == bosman.OpFailed && d.Error != nil && strings.Contains(d.Error.Message, "person")
	})
	if now, err := w.s.store.Instance(ctx, "tiny", "staging"); err != nil || now.Release != runs || !d.StartedAt.IsZero() {
		t.Errorf("staging runs r%d and ran r%d, %v; %+v", now.Release, runs, err, d)
	}
}

// bosman.yaml takes the tools that are read, and no others.
func TestManifestTakesEveryMigrationTool(t *testing.T) {
	for _, tool := range append(migration.Tools(), "none") {
		if _, err := manifest.Parse([]byte("migrations: {tool: "+tool+"}\n"), bosman.ManifestFile); err != nil {
			t.Errorf("%s: %v", tool, err)
		}
	}
}

// migrates are release commands that add a table, for databases without a
// server to talk to over psql.
var migrates = map[string]string{
	"sqlite": `import os, sqlite3
c = sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///"))
c.execute("CREATE TABLE IF NOT EXISTS fresh (x INT)"); c.commit()
`,
	"mariadb": `import os, MySQLdb
c = MySQLdb.connect(unix_socket=os.environ["DB_SOCKET"], user=os.environ["DB_USER"], password=os.environ["DB_PASSWORD"], database=os.environ["DB_NAME"])
c.query("CREATE TABLE IF NOT EXISTS fresh (x INT)"); c.query("INSERT INTO fresh VALUES (1)"); c.commit()
`,
}

// rehearsalOfRoad looks at what the rehearsal of the road's change found.
func (w *world) rehearsalOfRoad(database string) {
	w.t.Helper()
	r := w.rehearsed("feature")
	if r.State != bosman.RehearsalPassed || r.Destructive || !strings.Contains(r.Schema, "fresh added") || r.Sessions == 0 || !r.Closed || len(r.Outside) > 0 || r.Took <= 0 {
		w.t.Errorf("rehearsed on %s: %+v", database, r)
	}
	if database == "sqlite" && (r.Blind == "" || len(r.Statements) != 0) {
		w.t.Errorf("nobody can see statements on SQLite: %+v", r)
	}
	if database == "mariadb" && (len(r.Statements) != 1 || r.Statements[0].SQL != "CREATE TABLE IF NOT EXISTS fresh (x INT)" || r.Statements[0].Took <= 0 || r.Others == 0) {
		w.t.Errorf("ran %+v, and %d others", r.Statements, r.Others)
	}
}
