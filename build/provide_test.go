package build

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/bosman-cd/bosman"
)

// socketDatabase provides a listening socket, as a test database would.
type socketDatabase struct {
	dir    string
	err    error
	closed int
}

func (d *socketDatabase) Provide(context.Context, bosman.Build, *bosman.Manifest) (Provided, error) {
	if d.err != nil {
		return Provided{}, d.err
	}
	l, err := net.Listen("unix", filepath.Join(d.dir, ".s.PGSQL.5432"))
	if err != nil {
		return Provided{}, err
	}
	return Provided{
		Env: []string{"DATABASE_URL=postgres:///test?host=" + d.dir}, Sockets: []string{d.dir},
		Close: func(context.Context) error { d.closed++; return l.Close() },
	}, nil
}

func TestStepsSeeTheirTestDatabaseAndNoOther(t *testing.T) {
	w := newBench(t)
	other, err := net.Listen("unix", filepath.Join(w.data, "bosman.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	db := &socketDatabase{dir: filepath.Join(filepath.Dir(w.data), "pg")}
	if err := os.Mkdir(db.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.runner.TestDatabase = db
	yaml := `
env: {DATABASE_URL: "postgres:///live"}
build:
  - {name: env, run: "echo $DATABASE_URL; test ! -e ` + db.dir + ` && test ! -e ` + w.data + ` && test ! -e /var/run/postgresql && test ! -e /root/.pgpass"}
test:
  - {name: unit, run: "echo $DATABASE_URL; test -S ` + db.dir + `/.s.PGSQL.5432 && test ! -e ` + w.data + `/bosman.sock && test ! -e ` + w.data + `/releases"}
`
	b := w.run(w.commit(map[string]string{"bosman.yaml": yaml}))
	w.want(b, bosman.BuildGreen)
	w.wantLog(b.Number, "env postgres:///live", "unit postgres:///test?host=")
	if db.closed != 1 {
		t.Errorf("the test database was removed %d times", db.closed)
	}
	db.err = bosman.Unavailable("PostgreSQL is out of reach").WithNext("run bosman doctor")
	b = w.run(w.commit(map[string]string{"x": "y"}))
	w.want(b, bosman.BuildError)
	if b.Reason != "PostgreSQL is out of reach; run bosman doctor" {
		t.Errorf("reason %q", b.Reason)
	}
	rel := w.mem.Releases[len(w.mem.Releases)-1]
	if rel.Tests != bosman.TestsPending || b.Release != rel.Number {
		t.Errorf("nothing is known of the tests, but the release is %s", rel.Tests)
	}
}

// A defect met in one build ends that build only.
func TestPanicInABuildIsItsError(t *testing.T) {
	w := newBench(t)
	w.runner.Secrets = nil
	b := w.run(w.commit(map[string]string{"bosman.yaml": "build: [{name: env, run: 'true', secrets: [TOKEN]}]\n"}))
	w.want(b, bosman.BuildError)
}
