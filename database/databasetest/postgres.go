package databasetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/internal/need"
)

// Postgres gives the folder with the programs of a PostgreSQL that Debian has
// not, by its name in tools/postgres ("postgres13", "client18"), in a place where
// the server's user may run them.
func Postgres(t testing.TB, name string) string {
	t.Helper()
	need.Slow(t, "starts PostgreSQL")
	root, err := os.Getwd()
	for err == nil {
		if _, gone := os.Stat(filepath.Join(root, "go.mod")); gone == nil {
			break
		}
		if root == filepath.Dir(root) {
			err = errors.New("this test runs outside of the repository")
		}
		root = filepath.Dir(root)
	}
	if err != nil {
		t.Fatal(err)
	}
	native := filepath.Join(root, "tools", "postgres", "node_modules", name, "native")
	if _, err := os.Stat(filepath.Join(native, "bin")); err != nil {
		t.Fatalf("this test needs %s: run scripts/postgres.sh (make test does)", name)
	}
	if os.Geteuid() != 0 || ground.Reachable(native) == nil {
		return filepath.Join(native, "bin")
	}
	reachable.Lock()
	defer reachable.Unlock()
	if bin := reachable.bin[name]; bin != "" {
		return bin
	}
	dir, err := os.MkdirTemp(inMemory(), "bosman-programs-")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o755), Watch(dir)); err != nil { // it goes when the tests have ended
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", native, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	reachable.bin[name] = filepath.Join(dir, "native", "bin")
	return reachable.bin[name]
}

// reachable are programs in places where others may run them.
var reachable = struct {
	sync.Mutex
	bin map[string]string
}{bin: map[string]string{}}

// PostgresVersion gives the server programs of a major version, and client
// programs that can read it where Debian's cannot.
func PostgresVersion(t testing.TB, major int) (server, clients string) {
	t.Helper()
	if major > 15 {
		clients = Postgres(t, "client18")
	}
	return Postgres(t, fmt.Sprintf("postgres%d", major)), clients
}

// inMemory is a folder in memory where there is one, else the usual one.
func inMemory() string {
	if os.Geteuid() == 0 && !ground.NoRoom("/dev/shm") {
		return "/dev/shm"
	}
	return os.TempDir()
}

// PostgresContent gives statements that make what versions of PostgreSQL treat
// differently, and names that need quotes: identity, generated columns,
// partitions, views, large objects, an extension. There are 200 people.
func PostgresContent() []string {
	return []string{
		"CREATE EXTENSION hstore",
		`CREATE TYPE "stan 'x'" AS ENUM ('a''b', 'ł')`,
		`CREATE TABLE "Osoba żółta" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE, born date, stan "stan 'x'" DEFAULT 'ł', attrs hstore, short text GENERATED ALWAYS AS (left(email, 3)) STORED, CHECK (length(email) > 3))`,
		`INSERT INTO "Osoba żółta" (email, born, attrs) SELECT 'real' || n || '@firma.pl', date '1980-01-01' + n, hstore('n', n::text) FROM generate_series(1, 200) n`,
		`CREATE TABLE visit (day date NOT NULL, person bigint REFERENCES "Osoba żółta" ON DELETE CASCADE, note text) PARTITION BY RANGE (day)`,
		"CREATE TABLE visit_old PARTITION OF visit FOR VALUES FROM ('2020-01-01') TO ('2025-01-01')",
		"CREATE TABLE visit_new PARTITION OF visit DEFAULT", "CREATE INDEX ON visit (person, day)",
		"INSERT INTO visit SELECT date '2024-06-01' + n, n, repeat('x', n) FROM generate_series(1, 200) n",
		`CREATE TABLE "o'Neil ""Ala"" 🐘; --" ("select" int PRIMARY KEY, "a b" text COLLATE "pl-x-icu" DEFAULT 'x''y')`,
		`INSERT INTO "o'Neil ""Ala"" 🐘; --" SELECT n, E'\\\n''"' FROM generate_series(1, 10) n`,
		`CREATE VIEW "widok; --" AS SELECT p.id, p.email, count(v.*) AS visits FROM "Osoba żółta" p LEFT JOIN visit v ON v.person = p.id GROUP BY p.id`,
		"CREATE MATERIALIZED VIEW summary AS SELECT day, count(*) FROM visit GROUP BY day",
		"CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := coalesce(NEW.note, '-'); RETURN NEW; END $$",
		"CREATE TRIGGER touched BEFORE INSERT ON visit FOR EACH ROW EXECUTE FUNCTION touched()",
		"SELECT lo_from_bytea(42, decode(repeat('00ff', 10000), 'hex'))",
	}
}
