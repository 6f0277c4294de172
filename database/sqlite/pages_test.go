package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/database"
)

// source makes a database of the journal mode with rows of 1 KB.
func source(t testing.TB, e *Engine, mode string, rows int) string {
	t.Helper()
	d, err := e.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	err = with(t.Context(), d.Name, "fill", func(conn *sql.Conn) error {
		return run(t.Context(), conn, "PRAGMA journal_mode = "+mode, "CREATE TABLE a (x INTEGER, body TEXT)", "CREATE TABLE b (x INTEGER)",
			fmt.Sprintf("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO a SELECT i, hex(randomblob(500)) FROM n", rows),
			"DELETE FROM a WHERE x % 10 = 1")
	})
	if err != nil {
		t.Fatal(err)
	}
	return d.Name
}

// TestPagesWhileWritten copies while another connection writes pairs of rows:
// the copy is of one moment, the writer is not stopped, and rows keep the
// numbers SQLite gave them.
func TestPagesWhileWritten(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			e, err := NewEngine(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			src := source(t, e, mode, 20000)
			ctx, stop := context.WithCancel(t.Context())
			wrote := make(chan int)
			go func() { // waited for below
				n := 0
				for ctx.Err() == nil {
					err := with(ctx, src, "write", func(conn *sql.Conn) error {
						return run(ctx, conn, "BEGIN IMMEDIATE", "INSERT INTO a (x) VALUES (1)", "INSERT INTO b VALUES (1)", "COMMIT")
					})
					if err == nil {
						n++
					}
					time.Sleep(time.Millisecond)
				}
				wrote <- n
			}()
			time.Sleep(20 * time.Millisecond)
			dst := filepath.Join(t.TempDir(), "copy")
			err = pagesInto(t.Context(), src, dst)
			stop()
			if n := <-wrote; n == 0 {
				t.Error("nothing was written meanwhile")
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := with(t.Context(), dst, "look", func(conn *sql.Conn) error {
				var a, b, rowid int
				var ok, is string
				if err := conn.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM a WHERE body IS NULL), (SELECT count(*) FROM b), (SELECT rowid FROM a WHERE x = 2)").Scan(&a, &b, &rowid); err != nil {
					return err
				}
				if err := conn.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&ok); err != nil {
					return err
				}
				if err := conn.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&is); err != nil {
					return err
				}
				if a != b || rowid != 2 || ok != "ok" || is != mode {
					t.Errorf("%d and %d rows, number %d, %s, mode %s", a, b, rowid, ok, is)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// BenchmarkCopyFile compares the ways to copy a database that is in use.
func BenchmarkCopyFile(b *testing.B) {
	e, err := NewEngine(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	src := source(b, e, "wal", 100000)
	info, err := os.Stat(src)
	if err != nil {
		b.Fatal(err)
	}
	var pages, vacuum, cp time.Duration
	n := 0
	for b.Loop() {
		dir := b.TempDir()
		for i, fn := range []func(dst string) error{
			func(dst string) error { return pagesInto(b.Context(), src, dst) },
			func(dst string) error {
				return with(b.Context(), src, "vacuum", func(conn *sql.Conn) error {
					_, err := conn.ExecContext(b.Context(), "VACUUM INTO ?", dst)
					return err
				})
			},
			func(dst string) error { _, err := database.CopyFile(src, dst, 0o600); return err },
		} {
			begun := time.Now()
			if err := fn(filepath.Join(dir, fmt.Sprint(i))); err != nil {
				b.Fatal(err)
			}
			*[]*time.Duration{&pages, &vacuum, &cp}[i] += time.Since(begun)
		}
		n++
	}
	b.ReportMetric(float64(info.Size())/1e6, "MB")
	b.ReportMetric(pages.Seconds()/float64(n), "pages-s")
	b.ReportMetric(vacuum.Seconds()/float64(n), "vacuum-s")
	b.ReportMetric(cp.Seconds()/float64(n), "cp-s")
	b.ReportMetric(vacuum.Seconds()/pages.Seconds(), "vacuum/pages")
	b.ReportMetric(0, "ns/op")
}
