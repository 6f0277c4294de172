package mariadb

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// benchEnv sets the size of the database in megabytes; 100 if it is not set:
// BOSMAN_BENCH_MB=1000 scripts/bench.sh ./database/mariadb
const benchEnv = "BOSMAN_BENCH_MB"

// BenchmarkCopy compares, in one run on one disk, the classic way (drop all
// tables, mariadb-dump | mariadb) with a copy of this moment, a copy of a
// golden one, a swap, a backup and cp of the same bytes.
func BenchmarkCopy(b *testing.B) {
	needServer(b)
	megabytes := 100
	if s := os.Getenv(benchEnv); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n <= 0 {
			b.Fatalf("%s=%q", benchEnv, s)
		}
		megabytes = n
	}
	dir := b.TempDir() // a disk, not memory
	for p := dir; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			b.Fatal(err)
		}
	}
	main, scratch := sharedClusters(dir)
	for _, c := range []*Cluster{main, scratch} {
		b.Cleanup(func() {
			if err := remove(c); err != nil {
				b.Error(err)
			}
		})
		ensure(b, c)
	}
	home, e := engine(b, "bench", main, scratch), engine(b, "bench", scratch, main)
	staging, err := home.Create(b.Context(), "staging")
	if err != nil {
		b.Fatal(err)
	}
	grow(b, staging, megabytes)
	bytes := size(b, home)
	if _, err := e.Refresh(b.Context(), staging, 1); err != nil {
		b.Fatal(err)
	}
	classicTo, err := e.Create(b.Context(), "classic")
	if err != nil {
		b.Fatal(err)
	}
	var classic, cp, exact, golden, swap, backup, dump time.Duration
	timed := func(into *time.Duration, fn func()) {
		b.Helper()
		begun := time.Now()
		fn()
		*into += time.Since(begun)
	}
	n := 0
	for b.Loop() {
		n++
		timed(&classic, func() { classicCopy(b, staging, classicTo) })
		timed(&cp, func() {
			shell(b, fmt.Sprintf("rm -rf %[1]s/cp && cp -r --reflink=never %[2]s %[1]s/cp && sync -f %[1]s", dir, filepath.Join(main.dataDir(), staging.Name)))
		})
		timed(&exact, func() { fresh(b, e, staging, "exact", database.CopyOptions{Exact: true}) })
		timed(&golden, func() { fresh(b, e, staging, "golden", database.CopyOptions{}) })
		place, err := e.Find(b.Context(), "golden")
		if err != nil {
			b.Fatal(err)
		}
		next := fresh(b, e, staging, database.Beside("golden", database.TagNext), database.CopyOptions{})
		timed(&swap, func() {
			kept, err := e.Swap(b.Context(), place, next)
			if err != nil {
				b.Fatal(err)
			}
			next = kept
		})
		out := filepath.Join(dir, "backup")
		if err := os.MkdirAll(out, 0o700); err != nil {
			b.Fatal(err)
		}
		timed(&backup, func() {
			if _, err := home.Backup(b.Context(), staging, out); err != nil {
				b.Fatal(err)
			}
		})
		timed(&dump, func() {
			shell(b, client("mariadb-dump", staging)+" --single-transaction "+staging.Name+" > "+out+"/plain")
		})
		if err := os.RemoveAll(out); err != nil {
			b.Fatal(err)
		}
		if err := e.Drop(b.Context(), next); err != nil {
			b.Fatal(err)
		}
	}
	per := func(d time.Duration) float64 { return d.Seconds() / float64(n) }
	b.ReportMetric(float64(bytes)/1e6, "MB")
	b.ReportMetric(per(classic), "classic-s")
	b.ReportMetric(per(cp), "cp-s")
	b.ReportMetric(per(exact), "exact-s")
	b.ReportMetric(per(golden), "copy-s")
	b.ReportMetric(per(swap), "swap-s")
	b.ReportMetric(classic.Seconds()/exact.Seconds(), "classic/exact")
	b.ReportMetric(classic.Seconds()/golden.Seconds(), "classic/copy")
	b.ReportMetric(golden.Seconds()/cp.Seconds(), "copy/cp")
	b.ReportMetric(backup.Seconds()/dump.Seconds(), "backup/dump")
	b.ReportMetric(0, "ns/op")
}

// grow fills 20 tables with rows and indexes up to the size.
func grow(b *testing.B, d bosman.Database, megabytes int) {
	b.Helper()
	const tables, rowBytes = 20, 420
	rows := megabytes * 1000000 / tables / rowBytes
	for i := range tables {
		do(b, d, fmt.Sprintf("CREATE TABLE t%d (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40), at DATETIME, body TEXT, KEY (name), KEY (at))", i),
			fmt.Sprintf("INSERT INTO t%d (name, at, body) SELECT MD5(seq), '2020-01-01' + INTERVAL seq MINUTE, CONCAT(MD5(seq + 1), MD5(seq + 2), MD5(seq + 3), MD5(seq + 4), MD5(seq + 5), MD5(seq + 6), MD5(seq + 7)) FROM seq_1_to_%d", i, rows))
	}
}

func size(b *testing.B, e *Engine) int64 {
	b.Helper()
	all, err := e.List(b.Context())
	if err != nil || len(all) != 1 {
		b.Fatal(all, err)
	}
	return all[0].Bytes
}

func client(program string, d bosman.Database) string {
	return "MYSQL_PWD=" + d.Password + " " + program + " --no-defaults --socket=" + d.Socket() + " --user=" + d.User
}

func shell(b *testing.B, command string) {
	b.Helper()
	if out, err := exec.Command("bash", "-o", "pipefail", "-c", command).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v %s", command, err, out)
	}
}

// classicCopy is what many do by hand.
func classicCopy(b *testing.B, from, to bosman.Database) {
	b.Helper()
	var drops []string
	for i := range 20 {
		drops = append(drops, fmt.Sprintf("DROP TABLE IF EXISTS t%d;", i))
	}
	shell(b, client("mariadb", to)+" "+to.Name+" -e '"+strings.Join(drops, " ")+"'")
	shell(b, client("mariadb-dump", from)+" --single-transaction "+from.Name+" | "+client("mariadb", to)+" "+to.Name)
}

// fresh drops the copy of before and makes one anew.
func fresh(b *testing.B, e *Engine, from bosman.Database, to string, opt database.CopyOptions) bosman.Database {
	b.Helper()
	if old, err := e.Find(b.Context(), to); err == nil {
		if err := e.Drop(b.Context(), old); err != nil {
			b.Fatal(err)
		}
	}
	d, _, err := e.Copy(b.Context(), from, to, opt)
	if err != nil {
		b.Fatal(err)
	}
	return d
}
