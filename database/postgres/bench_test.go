package postgres

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// BenchmarkFreshCopy compares the ways to give a tester a fresh copy of a
// staging database of about 100 MB:
//
//	classic   drop everything, pg_dump staging | psql testing
//	template  copy of the golden copy (what a tester waits for)
//	exact     a new golden copy by dump first, then a copy of it
//
// Seconds depend on the machine; the ratios are what to look at.
func BenchmarkFreshCopy(b *testing.B) {
	main, scratch := clusters(b)
	staging, testers := engine(b, "bench", main), engine(b, "bench", scratch, main)
	from, err := staging.Create(b.Context(), "staging")
	if err != nil {
		b.Fatal(err)
	}
	statements := []string{}
	for i := range 50 {
		statements = append(statements,
			fmt.Sprintf("CREATE TABLE t%d (id serial PRIMARY KEY, name text, body text)", i),
			fmt.Sprintf("INSERT INTO t%d (name, body) SELECT 'candidate ' || n, repeat(md5(n::text), 8) FROM generate_series(1, 5000) n", i),
			fmt.Sprintf("CREATE INDEX ON t%d (name)", i))
	}
	mustSQL(b, from, statements...)
	classicDB, err := testers.Create(b.Context(), "testing-classic")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		for _, e := range []*Engine{testers, staging} {
			all, err := e.List(cleanCtx())
			if err != nil {
				b.Error(err)
			}
			for _, x := range all {
				if err := e.Drop(cleanCtx(), x.Database); err != nil {
					b.Error(err)
				}
			}
		}
	})
	if _, err := testers.Refresh(b.Context(), from, 1); err != nil {
		b.Fatal(err)
	}
	var classic, template, exact time.Duration
	b.ResetTimer()
	for n := range b.N {
		classic += timed(b, func() { classicCopy(b, main, from, classicDB) })
		for _, way := range []struct {
			took *time.Duration
			opt  database.CopyOptions
		}{{&template, database.CopyOptions{Release: 1}}, {&exact, database.CopyOptions{Release: n + 2, Exact: true}}} {
			var copied bosman.Database
			*way.took += timed(b, func() {
				if copied, _, err = testers.Copy(b.Context(), from, "testing-new", way.opt); err != nil {
					b.Fatal(err)
				}
			})
			if err := testers.Drop(b.Context(), copied); err != nil {
				b.Fatal(err)
			}
		}
	}
	all, err := staging.List(b.Context())
	if err != nil || len(all) != 1 {
		b.Fatalf("%+v, %v", all, err)
	}
	per := func(d time.Duration) float64 { return d.Seconds() / float64(b.N) }
	b.ReportMetric(float64(all[0].Bytes)/1e6, "MB")
	b.ReportMetric(per(classic), "classic-s")
	b.ReportMetric(per(template), "template-s")
	b.ReportMetric(per(exact), "exact-s")
	b.ReportMetric(classic.Seconds()/template.Seconds(), "classic/template")
	b.ReportMetric(classic.Seconds()/exact.Seconds(), "classic/exact")
	b.ReportMetric(0, "ns/op")
}

func timed(b *testing.B, fn func()) time.Duration {
	b.Helper()
	begun := time.Now()
	fn()
	return time.Since(begun)
}

// classicCopy is what teams do by hand.
func classicCopy(b *testing.B, c *Cluster, from, to bosman.Database) {
	b.Helper()
	mustSQL(b, to, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
	script := `"$1" --no-owner --no-acl -d "$2" | "$3" -q -v ON_ERROR_STOP=1 -o /dev/null -d "$4"`
	cmd := exec.Command("bash", "-o", "pipefail", "-c", script, "copy",
		filepath.Join(c.BinDir, "pg_dump"), dsn(c.admin(from.Name), true), filepath.Join(c.BinDir, "psql"), dsn(to, true))
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
}
