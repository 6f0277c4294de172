package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/internal/need"
)

// settled is timed, once what was written before is on the disk and what was
// removed is given back by it.
func settled(b *testing.B, fn func()) time.Duration {
	b.Helper()
	unix.Sync()
	time.Sleep(3 * time.Second)
	return timed(b, fn)
}

// BenchmarkBackup compares a backup (streamed, rows counted, compressed,
// sealed, in a folder) with pg_dump alone, of a database of about 100 MB or of
// BOSMAN_BENCH_MB:
//
//	plain    pg_dump > file
//	custom   pg_dump -Fc > file, as it compresses by itself
//	piped    pg_dump | zstd -1 > file and a sync: compressed as the backup is,
//	         neither counted nor sealed
//	backup   the backup without its proof
//	proof    restored into a scratch database, compared, checked
//
// Before each the disk is left to settle: what one of them wrote and removed
// would be measured in the next.
//
// Target: backup ≤ 1.2 × pg_dump. Seconds depend on the machine; the ratios
// are what to look at.
func BenchmarkBackup(b *testing.B) {
	need.Slow(b, "dumps databases")
	need.Program(b, "zstd", "zstd")
	dir, err := os.MkdirTemp("", "bosman-bench-") // on a disk: syncing is part of it
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o755), databasetest.Watch(dir)); err != nil {
		b.Fatal(err)
	}
	main, scratch := sharedClusters(dir)
	b.Cleanup(func() {
		if err := errors.Join(remove(main), remove(scratch), os.RemoveAll(dir)); err != nil {
			b.Error(err)
		}
	})
	ensure(b, main)
	ensure(b, scratch)
	live, trial := engine(b, "benchbackup", main), engine(b, "benchbackup", scratch, main)
	from, err := live.Create(b.Context(), "live")
	if err != nil {
		b.Fatal(err)
	}
	mb := 100
	if text := os.Getenv(benchEnv); text != "" {
		if mb, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	var statements []string
	for i := range 50 {
		statements = append(statements,
			fmt.Sprintf("CREATE TABLE t%d (id serial PRIMARY KEY, name text, body text, n numeric, at timestamptz DEFAULT now())", i),
			fmt.Sprintf(`INSERT INTO t%d (name, body, n) SELECT 'candidate ' || g || ' ' || md5(g::text), repeat(md5(random()::text), 2) || md5(g::text) || md5((g * 7)::text), random() * 1000
				FROM generate_series(1, %d) g`, i, 61*mb),
			fmt.Sprintf("CREATE INDEX ON t%d (name)", i))
	}
	mustSQL(b, from, append(statements, "VACUUM ANALYZE")...)
	k := &database.Keeper{Engine: live, Scratch: trial, State: b.TempDir()}
	dump := func(args ...string) {
		out := filepath.Join(b.TempDir(), "dump")
		cmd := exec.Command(filepath.Join(main.BinDir, "pg_dump"), append(args, "-f", out, "-d", dsn(main.admin(from.Name), true))...)
		if said, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, said)
		}
		if err := os.Remove(out); err != nil {
			b.Fatal(err)
		}
	}
	piped := func() {
		out := filepath.Join(b.TempDir(), "dump.zst")
		cmd := exec.Command("bash", "-o", "pipefail", "-c", `"$1" -Fc -Z 0 -d "$2" | zstd -1 -q -o "$3" && sync "$3"`, "piped",
			filepath.Join(main.BinDir, "pg_dump"), dsn(main.admin(from.Name), true), out)
		if said, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, said)
		}
		if err := os.Remove(out); err != nil {
			b.Fatal(err)
		}
	}
	v := databasetest.Vault(b, b.TempDir())
	var plain, custom, byPipe, backup, proof time.Duration
	var stored int64
	b.ResetTimer()
	for n := range b.N {
		plain += settled(b, func() { dump() })
		custom += settled(b, func() { dump("-Fc") })
		byPipe += settled(b, piped)
		at := database.Place{Vault: v, Name: database.NameIn("benchbackup", "live", n+1, time.Now())}
		backup += settled(b, func() {
			m, err := k.Backup(b.Context(), database.Snapshot{Database: from}, at, database.About{App: "benchbackup", Instance: "live"})
			if err != nil {
				b.Fatal(err)
			}
			stored = m.Bytes
		})
		proof += settled(b, func() {
			if _, err := k.Verify(b.Context(), at, false); err != nil {
				b.Fatal(err)
			}
		})
	}
	all, err := live.List(b.Context())
	if err != nil || len(all) != 1 {
		b.Fatalf("%+v, %v", all, err)
	}
	per := func(d time.Duration) float64 { return d.Seconds() / float64(b.N) }
	b.ReportMetric(float64(all[0].Bytes)/1e6, "MB")
	b.ReportMetric(float64(stored)/1e6, "stored-MB")
	b.ReportMetric(per(plain), "plain-s")
	b.ReportMetric(per(custom), "custom-s")
	b.ReportMetric(per(byPipe), "piped-s")
	b.ReportMetric(per(backup), "backup-s")
	b.ReportMetric(per(proof), "proof-s")
	b.ReportMetric(backup.Seconds()/plain.Seconds(), "backup/plain")
	b.ReportMetric(backup.Seconds()/custom.Seconds(), "backup/custom")
	b.ReportMetric(backup.Seconds()/byPipe.Seconds(), "backup/piped")
	b.ReportMetric(0, "ns/op")
}
