package clone

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
)

// scene is an app with staging on the durable cluster, and its copies.
type scene struct {
	*Engine
	staging *postgres.Engine
	from    bosman.Database
}

func newScene(t *testing.T, app string) scene {
	t.Helper()
	h, main := world(t)
	return sceneOn(t, app, h, main)
}

func sceneOn(t *testing.T, app string, h *Host, main *postgres.Cluster) scene {
	t.Helper()
	e, err1 := h.Engine(app, main)
	staging, err2 := postgres.NewEngine(app, main)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	s := scene{Engine: e, staging: staging}
	if s.from, err1 = staging.Create(t.Context(), "staging"); err1 != nil {
		t.Fatal(err1)
	}
	t.Cleanup(func() {
		for _, x := range []database.Engine{e, staging} {
			all, err := x.List(context.Background())
			if err != nil {
				t.Error(err)
			}
			for _, one := range all {
				if err := x.Drop(context.Background(), one.Database); err != nil {
					t.Error(err)
				}
			}
		}
	})
	s.sql(t, s.from, "CREATE TABLE candidate (id integer PRIMARY KEY, name text)", "INSERT INTO candidate SELECT n, 'Zażółć ' || n FROM generate_series(1, 1000) n")
	return s
}

func (s scene) sql(t *testing.T, d bosman.Database, statements ...string) {
	t.Helper()
	if err := try(d, statements...); err != nil {
		t.Fatal(err)
	}
}

func try(d bosman.Database, statements ...string) error {
	db, err := openSQL(d)
	if err != nil {
		return err
	}
	for _, q := range statements {
		if _, err := db.Exec(q); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return db.Close()
}

func (s scene) copy(t *testing.T, to string) bosman.Database {
	t.Helper()
	d, _, err := s.Copy(t.Context(), s.from, to, database.CopyOptions{Release: 1})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (s scene) rows(t *testing.T, d bosman.Database) int64 {
	t.Helper()
	in, err := s.Inspect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return in.Rows["public.candidate"]
}

// id is the folder of a copy's server.
func (s scene) dir(t *testing.T, d bosman.Database) string {
	t.Helper()
	x, err := s.entryOf(d)
	if err != nil {
		t.Fatal(err)
	}
	return s.folder(x)
}

func pidIn(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range strings.SplitN(string(b), "\n", 2)[0] {
		n = n*10 + int(c-'0')
	}
	return n
}
