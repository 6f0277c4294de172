package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/sqlite"
)

// word gives what the database holds, then has it hold set, if that is not "".
func word(t *testing.T, d bosman.Database, set string) (was string) {
	t.Helper()
	db, err := sql.Open("sqlite", d.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS words (word TEXT)"); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRowContext(t.Context(), "SELECT coalesce(max(word), '') FROM words").Scan(&was); err != nil {
		t.Fatal(err)
	}
	if set != "" {
		if _, err := db.ExecContext(t.Context(), "DELETE FROM words; INSERT INTO words VALUES (?)", set); err != nil {
			t.Fatal(err)
		}
	}
	return was
}

// prepared gives an engine and its keeper in dir, and what makes an instance's
// data: one word in its database and in its file.
func prepared(t *testing.T, dir string) (*sqlite.Engine, *database.Keeper, func(name, text string) database.Snapshot) {
	t.Helper()
	e, err := sqlite.NewEngine(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	k := &database.Keeper{Engine: e, Scratch: e, State: filepath.Join(dir, "state")}
	return e, k, func(name, text string) database.Snapshot {
		t.Helper()
		d, err := e.Create(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		word(t, d, text)
		files := filepath.Join(dir, name, "data")
		if err := os.MkdirAll(files, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(files, "cv.txt"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return database.Snapshot{Database: d, Files: files}
	}
}

// TestDataIsPreparedSwappedAndPutBack plays what a durable plan does in
// separate steps, each of them twice, with a recovery in between.
func TestDataIsPreparedSwappedAndPutBack(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	e, k, make1 := prepared(t, dir)
	staging, mine := make1("staging", "new"), make1("testing-anna", "old")
	holds := func(when, want string) {
		t.Helper()
		d, err := e.Find(ctx, "testing-anna")
		if err != nil {
			t.Fatal(err)
		}
		cv, err := os.ReadFile(filepath.Join(mine.Files, "cv.txt"))
		if got := word(t, d, ""); err != nil || got != want || string(cv) != want {
			t.Errorf("%s: database %q, file %q (%v), want %q", when, got, cv, err, want)
		}
	}
	if _, err := k.SwapIn(ctx, "testing-anna"); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("a swap of nothing: %v", err)
	}
	prepare := func() {
		t.Helper()
		if _, err := k.PrepareCopy(ctx, staging, "testing-anna", mine, database.CopyOptions{From: "staging"}); err != nil {
			t.Fatal(err)
		}
	}
	prepare()
	if err := k.Discard(ctx, "testing-anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Find(ctx, database.Beside("testing-anna", database.TagNext)); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("what was discarded is there: %v", err)
	}
	holds("after a discard", "old")
	prepare()
	prepare() // again, as after a crash
	if err := k.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	holds("prepared", "old")
	var kept database.Snapshot
	for range 2 {
		again, err := k.SwapIn(ctx, "testing-anna")
		if err != nil {
			t.Fatal(err)
		}
		if kept.Files != "" && again != kept {
			t.Errorf("the second swap says it kept %+v, the first %+v", again, kept)
		}
		kept = again
		if err := k.Recover(ctx); err != nil {
			t.Fatal(err)
		}
	}
	holds("swapped", "new")
	if old := word(t, kept.Database, ""); old != "old" {
		t.Errorf("what was replaced holds %q", old)
	}
	for range 2 {
		if err := k.SwapBack(ctx, "testing-anna"); err != nil {
			t.Fatal(err)
		}
	}
	holds("put back", "old")
	if left, err := k.Kept(ctx, "testing-anna", mine.Files); err != nil || len(left) != 0 {
		t.Errorf("left behind: %+v, %v", left, err)
	}
}

// What was replaced comes back by the same swap, and is not lost when that is
// taken back in turn.
func TestKeptDataComesBackAndIsNeverDropped(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	_, k, make1 := prepared(t, dir)
	staging, live := make1("staging", "new"), make1("live", "old")
	holds := func(when string, s database.Snapshot, want string) {
		t.Helper()
		cv, err := os.ReadFile(filepath.Join(s.Files, "cv.txt"))
		if got := word(t, s.Database, ""); err != nil || got != want || string(cv) != want {
			t.Errorf("%s: database %q, file %q (%v), want %q", when, got, cv, err, want)
		}
	}
	if _, err := k.PrepareCopy(ctx, staging, "live", live, database.CopyOptions{From: "staging"}); err != nil {
		t.Fatal(err)
	}
	old, err := k.SwapIn(ctx, "live")
	if err != nil {
		t.Fatal(err)
	}
	holds("replaced", live, "new")
	holds("kept", old, "old")

	prepare := func(from database.Snapshot) {
		t.Helper()
		if err := k.PrepareKept(ctx, "live", from, live); err != nil {
			t.Fatal(err)
		}
	}
	prepare(old)
	if err := k.Discard(ctx, "live"); err != nil {
		t.Fatal(err)
	}
	holds("prepared and not wanted", old, "old")
	prepare(old)
	prepare(old) // again, as after a crash
	if err := k.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		kept, err := k.SwapIn(ctx, "live")
		if err != nil {
			t.Fatal(err)
		}
		holds("put back", live, "old")
		holds("kept in turn", kept, "new")
		prepare(old) // the step before, after a crash: it is in the place already
	}
	for range 2 {
		if err := k.SwapBack(ctx, "live"); err != nil {
			t.Fatal(err)
		}
	}
	holds("taken back", live, "new")
	all, err := k.Kept(ctx, "live", live.Files)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	holds("still kept", all[0].Snapshot, "old")
	found, err := k.KeptAt(ctx, "live", live.Files, database.Stamp(all[0].At))
	if err != nil || found.Snapshot.Files != all[0].Snapshot.Files {
		t.Errorf("%+v, %v", found, err)
	}
	if err := k.Drop(ctx, found.Snapshot); err != nil {
		t.Fatal(err)
	}
	if err := k.PrepareKept(ctx, "live", found.Snapshot, live); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("what is gone was prepared: %v", err)
	}
	holds("afterwards", live, "new")
}
