package sqlite

import (
	"fmt"
	"testing"

	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/need"
)

// TestManyTables: 5,000 tables are backed up, restored, compared, copied, put in
// place and dropped.
func TestManyTables(t *testing.T) {
	need.Slow(t, "makes thousands of tables")
	const n = 5000
	w, err := maker(t.TempDir())("tables")
	if err != nil {
		t.Fatal(err)
	}
	ctx, e := t.Context(), w.Engine
	live, err := e.Create(ctx, "live")
	if err != nil {
		t.Fatal(err)
	}
	db, err := w.Open(live)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		for _, s := range []string{"CREATE TABLE t%d (id integer PRIMARY KEY, title text)", "INSERT INTO t%d VALUES (1, 'x')"} {
			if _, err := tx.Exec(fmt.Sprintf(s, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	info, err := e.Backup(ctx, live, dir)
	if err != nil || len(info.Rows) != n {
		t.Fatalf("backed up %d tables, %v", len(info.Rows), err)
	}
	restored, err := e.Restore(ctx, dir, "live__next")
	if err != nil {
		t.Fatal(err)
	}
	if err := database.Compare(ctx, e, restored, "restored", info); err != nil {
		t.Error(err)
	}
	kept, err := e.Swap(ctx, live, restored)
	if err != nil {
		t.Fatal(err)
	}
	copied, _, err := e.Copy(ctx, live, "testing-anna", database.CopyOptions{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{kept.Name, copied.Name} {
		x := live
		x.Name = d
		if err := database.Compare(ctx, e, x, d, info); err != nil {
			t.Error(err)
		}
		if err := e.Drop(ctx, x); err != nil {
			t.Error(err)
		}
	}
}
