package postgres

import (
	"path/filepath"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/need"
)

// PostGIS keeps reference systems and topologies in tables of its own, which
// belong to the superuser and are part of every dump.
func TestExtensionsWithTablesOfTheirOwn(t *testing.T) {
	main, scratch := clusters(t)
	version := filepath.Base(filepath.Dir(main.BinDir))
	need.File(t, "/usr/share/postgresql/"+version+"/extension/postgis_topology.control", "postgresql-"+version+"-postgis-3")
	staging, testers := engine(t, "gis", main), engine(t, "gis", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: "gis__"}) })
	boss := main.admin(from.Name)
	if err := staging.Extend(t.Context(), from, []string{"postgis", "postgis_topology"}); err != nil {
		t.Fatal(err)
	}
	mustSQL(t, boss,
		"INSERT INTO public.spatial_ref_sys (srid, auth_name, auth_srid, proj4text) VALUES (990001, 'team', 1, '+proj=longlat +datum=WGS84')",
		"GRANT USAGE ON SCHEMA topology TO PUBLIC", "INSERT INTO topology.topology (name, srid, precision, hasz) VALUES ('rivers', 990001, 0, false)")
	mustSQL(t, from, "CREATE TABLE place (id int PRIMARY KEY, at public.geometry(Point, 990001))", "CREATE INDEX ON place USING gist (at)",
		"INSERT INTO place SELECT n, public.ST_SetSRID(public.ST_MakePoint(n, n), 990001) FROM generate_series(1, 50) n",
		"CREATE VIEW places AS SELECT id, public.ST_AsText(at) AS text FROM place")

	holds := func(d bosman.Database, c *Cluster, what string) {
		t.Helper()
		if got := ask(t, d, "SELECT count(*)::text, max(text) FROM places WHERE id = 50"); got != "1|POINT(50 50)" {
			t.Errorf("%s: places %s", what, got)
		}
		admin := c.admin(d.Name)
		if got := ask(t, admin, `SELECT (SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'postgis'),
			(SELECT count(*)::text FROM public.spatial_ref_sys WHERE srid = 990001), (SELECT count(*) > 1000 FROM public.spatial_ref_sys)::text, (SELECT string_agg(name, ' ') FROM topology.topology)`); got != "public|1|true|rivers" {
			t.Errorf("%s: the extension holds %s", what, got)
		}
		if err := trySQL(d, "INSERT INTO public.spatial_ref_sys (srid) VALUES (990002)"); err == nil {
			t.Errorf("%s: the app may still write into the extension's table", what)
		}
	}
	holds(from, main, "staging")
	copied, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1, From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	holds(copied, scratch, "the copy")
	dir := t.TempDir()
	info, err := staging.Backup(t.Context(), from, dir)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := testers.Restore(t.Context(), dir, "testing-ben")
	if err != nil {
		t.Fatal(err)
	}
	holds(restored, scratch, "the restored backup")
	if got, err := testers.Inspect(t.Context(), restored); err != nil || len(database.Differences(info, got)) > 0 {
		t.Errorf("restored, it differs: %v, %v", database.Differences(info, got), err)
	}
}
