package clone

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/internal/need"
)

// benchSize names the environment variable with the size of the database in
// MB; 100 if it is not set.
const benchSize = "BOSMAN_BENCH_MB"

// BenchmarkClone compares the ways to give a tester a fresh copy of a staging
// database, on an XFS in a file of the disk that holds the temporary folder:
//
//	classic   drop everything, pg_dump staging | psql testing
//	cp        cp -r of the golden cluster's folder, and sync
//	clone     the golden cluster's blocks shared and its server started, until
//	          the copy answers a query as its instance (what a tester waits for)
//	handout   a copy made in advance gets its name
//	exact     a new golden copy by dump first, then a clone
//	swap      the copy takes its instance's place
//
// Seconds depend on the machine; the ratios are what to look at.
func BenchmarkClone(b *testing.B) {
	w := newBench(b)
	dir, main, e, staging, from := w.dir, w.main, w.Engine, w.staging, w.from
	classicDB, err := staging.Create(b.Context(), "classic")
	if err != nil {
		b.Fatal(err)
	}
	g, err := e.Refresh(b.Context(), from, 1)
	if err != nil {
		b.Fatal(err)
	}
	x, err := e.entryOf(g.Database)
	if err != nil {
		b.Fatal(err)
	}
	var classic, cp, clone, ready, exact, swap time.Duration
	files := 0
	b.ResetTimer()
	for n := range b.N {
		classic += took(b, func() error { return classicCopy(main, from, classicDB) })
		cp += took(b, func() error {
			to := filepath.Join(dir, "cp")
			return command("sh", "-c", `cp -r --reflink=never "$1" "$2" && sync -f "$2"`, "cp", e.folder(x), to)
		})
		if err := os.RemoveAll(filepath.Join(dir, "cp")); err != nil {
			b.Fatal(err)
		}
		var copied, next bosman.Database
		clone += took(b, func() (err error) {
			if copied, _, err = e.Copy(b.Context(), from, "testing-anna", database.CopyOptions{Release: n + 1}); err != nil {
				return err
			}
			return query(copied)
		})
		if at, err := e.entryOf(copied); err == nil {
			files = filesIn(filepath.Join(e.folder(at), "data"))
		}
		if next, _, err = e.Copy(b.Context(), from, "testing-anna__next", database.CopyOptions{Release: n + 1}); err != nil {
			b.Fatal(err)
		}
		var kept bosman.Database
		swap += took(b, func() (err error) {
			if kept, err = e.Swap(b.Context(), copied, next); err != nil {
				return err
			}
			return query(copied)
		})
		for _, d := range []bosman.Database{copied, kept} {
			if err := e.Drop(b.Context(), d); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := e.Fill(b.Context(), from, 1); err != nil {
			b.Fatal(err)
		}
		ready += took(b, func() (err error) {
			copied, _, err = e.Copy(b.Context(), from, "testing-ben", database.CopyOptions{Release: n + 1})
			return err
		})
		if err := e.Drop(b.Context(), copied); err != nil {
			b.Fatal(err)
		}
		exact += took(b, func() (err error) {
			copied, _, err = e.Copy(b.Context(), from, "testing-exact", database.CopyOptions{Release: n + 2, Exact: true})
			return err
		})
		if err := e.Drop(b.Context(), copied); err != nil {
			b.Fatal(err)
		}
		if g, err := e.generations(from); err == nil {
			x = g[0]
		}
	}
	b.StopTimer()
	per := func(d time.Duration) float64 { return d.Seconds() / float64(b.N) }
	all, err := staging.List(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for _, one := range all {
		if one.Name == "staging" {
			b.ReportMetric(float64(one.Bytes)/1e6, "MB")
		}
	}
	b.ReportMetric(float64(files), "files")
	b.ReportMetric(per(classic), "classic-s")
	b.ReportMetric(per(cp), "cp-s")
	b.ReportMetric(per(clone), "clone-s")
	b.ReportMetric(per(ready)*1000, "handout-ms")
	b.ReportMetric(per(exact), "exact-s")
	b.ReportMetric(per(swap), "swap-s")
	b.ReportMetric(classic.Seconds()/clone.Seconds(), "classic/clone")
	b.ReportMetric(cp.Seconds()/clone.Seconds(), "cp/clone")
	b.ReportMetric(classic.Seconds()/exact.Seconds(), "classic/exact")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkHandOut gives a tester a copy made in advance (handout: until it is
// there; first: and has answered its instance's first query) and puts it in the
// place of the one before, which its instance is connected to (swap: until the
// place answers a query). The median of all rounds counts.
func BenchmarkHandOut(b *testing.B) {
	e := newBench(b)
	if _, err := e.Refresh(b.Context(), e.from, 1); err != nil {
		b.Fatal(err)
	}
	at, _, err := e.Copy(b.Context(), e.from, "testing-anna", database.CopyOptions{Release: 1})
	if err != nil {
		b.Fatal(err)
	}
	var handOut, first, swap []time.Duration
	b.ResetTimer()
	for range b.N {
		if p, err := e.Fill(b.Context(), e.from, 2); err != nil || p.Ready != 2 {
			b.Fatalf("%+v, %v", p, err)
		}
		held, err := openSQL(at)
		if err == nil {
			err = held.Ping()
		}
		if err != nil {
			b.Fatal(err)
		}
		var ben, kept bosman.Database
		handOut = append(handOut, took(b, func() (err error) {
			ben, _, err = e.Copy(b.Context(), e.from, "testing-ben", database.CopyOptions{Release: 1})
			return err
		}))
		first = append(first, handOut[len(handOut)-1]+took(b, func() error { return query(ben) }))
		next, _, err := e.Copy(b.Context(), e.from, "testing-anna__next", database.CopyOptions{Release: 1})
		if err != nil {
			b.Fatal(err)
		}
		swap = append(swap, took(b, func() (err error) {
			if kept, err = e.Swap(b.Context(), at, next); err != nil {
				return err
			}
			return query(at)
		}))
		_ = held.Close() // the swap ended it
		if err := errors.Join(e.Drop(b.Context(), kept), e.Drop(b.Context(), ben)); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	median := func(all []time.Duration) float64 {
		slices.Sort(all)
		return all[len(all)/2].Seconds() * 1000
	}
	b.ReportMetric(median(handOut), "handout-ms")
	b.ReportMetric(handOut[0].Seconds()*1000, "handout-best-ms")
	b.ReportMetric(median(first), "first-ms")
	b.ReportMetric(median(swap), "swap-ms")
	b.ReportMetric(0, "ns/op")
}

// bench is a staging database on the disk of the temporary folder, and copies
// of it on an XFS in a file there.
type bench struct {
	*Engine
	dir     string
	main    *postgres.Cluster
	staging *postgres.Engine
	from    bosman.Database
}

func newBench(b *testing.B) bench {
	b.Helper()
	need.Root(b)
	mb := 100
	if s := os.Getenv(benchSize); s != "" {
		if _, err := fmt.Sscan(s, &mb); err != nil {
			b.Fatal(err)
		}
	}
	dir, err := tempDir(os.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := clear(dir); err != nil {
			b.Error(err)
		}
	})
	if err := disk(dir, "xfs", 60<<30); err != nil { // a sparse file
		b.Fatal(err)
	}
	h, main, err := open(dir)
	if err != nil {
		b.Fatal(err)
	}
	e, err := h.Engine("bench", main)
	if err != nil {
		b.Fatal(err)
	}
	staging, err := postgres.NewEngine("bench", main)
	if err != nil {
		b.Fatal(err)
	}
	return bench{Engine: e, dir: dir, main: main, staging: staging, from: benchSource(b, staging, mb)}
}

// benchSource makes staging with 100 tables of about mb megabytes in all,
// indexes included.
func benchSource(b *testing.B, e *postgres.Engine, mb int) bosman.Database {
	b.Helper()
	from, err := e.Create(b.Context(), "staging")
	if err != nil {
		b.Fatal(err)
	}
	db, err := openSQL(from)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	}()
	for i := range 100 {
		for _, s := range []string{
			fmt.Sprintf("CREATE TABLE t%d (id serial PRIMARY KEY, name text, body text)", i),
			fmt.Sprintf("INSERT INTO t%d (name, body) SELECT 'candidate ' || n, repeat(md5(n::text), 8) FROM generate_series(1, %d) n", i, 26*mb),
			fmt.Sprintf("CREATE INDEX ON t%d (name)", i),
		} {
			if _, err := db.Exec(s); err != nil {
				b.Fatal(err)
			}
		}
	}
	return from
}

// classicCopy is what teams do by hand.
func classicCopy(c *postgres.Cluster, from, to bosman.Database) error {
	db, err := openSQL(to)
	if err != nil {
		return err
	}
	for _, s := range []string{"DROP SCHEMA public CASCADE", "CREATE SCHEMA public"} {
		if _, err := db.Exec(s); err != nil {
			return err
		}
	}
	if err := db.Close(); err != nil {
		return err
	}
	return command("bash", "-o", "pipefail", "-c", `"$1" --no-owner --no-acl -d "$2" | "$3" -q -v ON_ERROR_STOP=1 -o /dev/null -d "$4"`, "copy",
		filepath.Join(c.BinDir, "pg_dump"), database.URL(from), filepath.Join(c.BinDir, "psql"), database.URL(to))
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

func took(b *testing.B, fn func() error) time.Duration {
	b.Helper()
	begun := time.Now()
	if err := fn(); err != nil {
		b.Fatal(err)
	}
	return time.Since(begun)
}

func query(d bosman.Database) error {
	db, err := openSQL(d)
	if err != nil {
		return err
	}
	var n int
	if err := db.QueryRow("SELECT count(*) FROM t7").Scan(&n); err != nil {
		return err
	}
	return db.Close()
}

func filesIn(dir string) (n int) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error { // a running server's files come and go
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return nil
	})
	return n
}
