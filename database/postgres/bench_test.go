package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/internal/need"
)

// benchEnv is the size of the database of the benchmarks in MB: 100 unless it
// is set. BOSMAN_BENCH_MB=1000 scripts/bench.sh ./database/postgres
const benchEnv = "BOSMAN_BENCH_MB"

// scene is a staging database on a disk, to be copied in all ways.
type scene struct {
	main, scratch    *Cluster
	staging, testers *Engine
	from             bosman.Database
	bytes            int64
	classic, cp      time.Duration // drop + pg_dump | psql; cp -r + sync of the same bytes
}

// benchScene makes the clusters on the disk of the temporary folder, not in
// memory as other tests do: syncing is part of what is measured.
func benchScene(b *testing.B) *scene {
	b.Helper()
	need.Slow(b, "copies databases")
	mb := 100
	if s := os.Getenv(benchEnv); s != "" {
		var err error
		if mb, err = strconv.Atoi(s); err != nil || mb < 1 {
			b.Fatalf("%s=%s", benchEnv, s)
		}
	}
	dir, err := os.MkdirTemp("", "bosman-bench-")
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o755), databasetest.Watch(dir)); err != nil {
		b.Fatal(err)
	}
	s := &scene{}
	s.main, s.scratch = sharedClusters(dir)
	b.Cleanup(func() {
		if err := errors.Join(remove(s.main), remove(s.scratch), os.RemoveAll(dir)); err != nil {
			b.Error(err)
		}
	})
	ensure(b, s.main)
	ensure(b, s.scratch)
	s.staging, s.testers = engine(b, "bench", s.main), engine(b, "bench", s.scratch, s.main)
	if s.from, err = s.staging.Create(b.Context(), "staging"); err != nil {
		b.Fatal(err)
	}
	statements := []string{}
	for i := range 100 {
		statements = append(statements,
			fmt.Sprintf("CREATE TABLE t%d (id serial PRIMARY KEY, name text, body text)", i),
			fmt.Sprintf("INSERT INTO t%d (name, body) SELECT 'candidate ' || n, repeat(md5(n::text), 8) FROM generate_series(1, %d) n", i, mb*17),
			fmt.Sprintf("CREATE INDEX ON t%d (name)", i))
	}
	mustSQL(b, s.from, statements...)
	if err := s.main.exec(b.Context(), "checkpoint", "CHECKPOINT"); err != nil {
		b.Fatal(err)
	}
	if s.bytes, err = s.main.bytesOf(b.Context(), s.from.Name); err != nil {
		b.Fatal(err)
	}
	return s
}

// baselines measures what copies are compared with, once.
func (s *scene) baselines(b *testing.B) {
	b.Helper()
	to, err := s.testers.Create(b.Context(), "testing-classic")
	if err != nil {
		b.Fatal(err)
	}
	classicCopy(b, s.main, s.from, to) // the tables that are dropped
	s.classic = timed(b, func() { classicCopy(b, s.main, s.from, to) })
	if err := s.testers.Drop(b.Context(), to); err != nil {
		b.Fatal(err)
	}
	files, err := s.main.filesOf(b.Context(), s.from.Name)
	if err != nil {
		b.Fatal(err)
	}
	beside := filepath.Join(s.main.Dir, "cp")
	s.cp = timed(b, func() {
		if out, err := exec.Command("sh", "-c", `cp -r "$1" "$2" && sync -f "$2"`, "cp", files, beside).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	})
	if err := os.RemoveAll(beside); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFreshCopy gives a tester a fresh copy of a staging database in each
// way, against what teams do by hand (classic: drop all, pg_dump | psql) and
// against copying the same bytes (cp: cp -r, sync):
//
//	exact     a new golden copy by dump first, then a copy of it
//	template  a copy of the golden copy, on a server without fsync
//	ready     a copy made in advance is handed out
//	clone     PostgreSQL 18 on XFS clones the golden copy
//
// Seconds depend on the machine; the ratios are what to look at.
func BenchmarkFreshCopy(b *testing.B) {
	s := benchScene(b)
	s.baselines(b)
	if _, err := s.testers.Refresh(b.Context(), s.from, 1); err != nil {
		b.Fatal(err)
	}
	b.Run("exact", func(b *testing.B) {
		n := 1
		s.measure(b, s.testers, nil, func() database.CopyOptions { n++; return database.CopyOptions{Exact: true, Release: n} })
	})
	plain := func() database.CopyOptions { return database.CopyOptions{} }
	b.Run("template", func(b *testing.B) { s.measure(b, s.testers, nil, plain) })
	b.Run("ready", func(b *testing.B) {
		s.measure(b, s.testers, func() {
			if p, err := s.testers.Fill(b.Context(), s.from, 1); err != nil || p.Ready != 1 {
				b.Fatalf("%+v, %v", p, err)
			}
		}, plain)
	})
	b.Run("clone", func(b *testing.B) {
		mnt := xfs(b, max(2<<30, 6*s.bytes))
		c := &Cluster{Name: "scratch", Profile: Scratch, Dir: filepath.Join(mnt, "c"), BinDir: databasetest.Postgres(b, "postgres18")}
		b.Cleanup(func() {
			if err := remove(c); err != nil {
				b.Error(err)
			}
		})
		ensure(b, c)
		if got := c.Strategy(); got.Name != StrategyClone {
			b.Fatalf("%+v", got)
		}
		e := engine(b, "bench", c, s.main)
		if _, err := e.Refresh(b.Context(), s.from, 1); err != nil {
			b.Fatal(err)
		}
		s.measure(b, e, nil, plain)
	})
}

// measure copies b.N times and reports the median; before is not part of the
// time.
func (s *scene) measure(b *testing.B, e *Engine, before func(), opt func() database.CopyOptions) {
	b.Helper()
	var rounds []time.Duration
	b.ResetTimer()
	for range b.N {
		if before != nil {
			before()
		}
		var d bosman.Database
		rounds = append(rounds, timed(b, func() {
			var err error
			if d, _, err = e.Copy(b.Context(), s.from, "testing-new", opt()); err != nil {
				b.Fatal(err)
			}
		}))
		if err := e.Drop(b.Context(), d); err != nil {
			b.Fatal(err)
		}
	}
	each := median(rounds).Seconds()
	b.ReportMetric(float64(s.bytes)/1e6, "MB")
	b.ReportMetric(each*1000, "copy-ms")
	b.ReportMetric(s.classic.Seconds(), "classic-s")
	b.ReportMetric(s.cp.Seconds(), "cp-s")
	b.ReportMetric(s.classic.Seconds()/each, "classic/copy")
	b.ReportMetric(each/s.cp.Seconds(), "copy/cp")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkStagingWhileCopiesAreMade tells how much slower staging answers
// (pgbench, 99th percentile) while, without a pause,
//
//	copies  testers are given copies made in advance, and others are made
//	golden  golden copies are made of it, and copies of those
//
// A disk has moods: what is reported is the median of the rounds.
func BenchmarkStagingWhileCopiesAreMade(b *testing.B) {
	need.Program(b, "/usr/lib/postgresql/15/bin/pgbench", "postgresql-15")
	s := benchScene(b)
	bench := database.Beside("staging", "bench")
	d, err := s.staging.Create(b.Context(), bench)
	if err != nil {
		b.Fatal(err)
	}
	pgbench(b, s.main.admin(d.Name), b.TempDir(), "-i", "-s", "5", "-q")
	if _, err := s.testers.Refresh(b.Context(), s.from, 1); err != nil {
		b.Fatal(err)
	}
	release := 1
	for _, name := range []string{"copies", "golden"} {
		b.Run(name, func(b *testing.B) {
			var quiet, busy []time.Duration
			made := 0
			for range b.N {
				settled(b, func() { quiet = append(quiet, p99(b, s.main.admin(d.Name))) })
				ctx, cancel := context.WithCancel(database.Low(b.Context()))
				done := make(chan error, 1)
				go func() {
					var err error
					for ; err == nil; made++ {
						if name == "golden" {
							release++
							_, err = s.testers.Refresh(ctx, s.from, release)
						}
						if err == nil {
							err = s.copyOnce(ctx)
						}
					}
					done <- err
				}()
				busy = append(busy, p99(b, s.main.admin(d.Name)))
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(s.bytes)/1e6, "MB")
			b.ReportMetric(float64(made)/float64(b.N), "made")
			b.ReportMetric(median(quiet).Seconds()*1000, "quiet-p99-ms")
			b.ReportMetric(median(busy).Seconds()*1000, "busy-p99-ms")
			b.ReportMetric(median(busy).Seconds()/median(quiet).Seconds(), "busy/quiet")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func (s *scene) copyOnce(ctx context.Context) error {
	if _, err := s.testers.Fill(ctx, s.from, 1); err != nil {
		return err
	}
	d, _, err := s.testers.Copy(ctx, s.from, "testing-new", database.CopyOptions{})
	if err != nil {
		return err
	}
	return s.testers.Drop(ctx, d)
}

// p99 runs pgbench for some seconds and gives the 99th percentile of what its
// transactions took.
func p99(b *testing.B, d bosman.Database) time.Duration {
	b.Helper()
	dir := b.TempDir()
	pgbench(b, d, dir, "-c", "4", "-j", "2", "-T", "15", "-R", "100", "-l", "--log-prefix="+filepath.Join(dir, "log"))
	logs, err := filepath.Glob(filepath.Join(dir, "log.*"))
	if err != nil || len(logs) == 0 {
		b.Fatalf("no logs: %v", err)
	}
	var took []time.Duration
	for _, l := range logs {
		f, err := os.Open(l)
		if err != nil {
			b.Fatal(err)
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if words := strings.Fields(lines.Text()); len(words) > 2 { // client, transaction, µs
				if us, err := strconv.Atoi(words[2]); err == nil {
					took = append(took, time.Duration(us)*time.Microsecond)
				}
			}
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	if len(took) < 100 {
		b.Fatalf("%d transactions", len(took))
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func pgbench(b *testing.B, d bosman.Database, dir string, args ...string) {
	b.Helper()
	cmd := exec.Command("/usr/lib/postgresql/15/bin/pgbench", append(args, dsn(d, true))...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
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
