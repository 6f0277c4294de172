package serve

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/storage"
	"github.com/bosman-cd/bosman/internal/need"
)

// TestCopiesMoveToPreparedStorage: a tester's copy from before storage was
// prepared stays until the next fresh copy, which is a server of its own; that
// survives kills, sleeps while its instance is stopped, and keeps the storage
// from being taken away.
func TestCopiesMoveToPreparedStorage(t *testing.T) {
	need.Root(t)
	need.File(t, "/usr/lib/postgresql", "postgresql")
	need.Program(t, "mkfs.xfs", "xfsprogs")
	t.Parallel()
	w := newWorld(t, "postgres")
	ctx := t.Context()
	if a, err := storage.Probe(w.data); err != nil || a.Reflink {
		t.Skipf("%s can share blocks by itself: %v", a.Dir, err)
	}
	anna := bosman.Actor{Person: "anna", From: "test"}
	w.push("anna", "main")
	w.staging(1)
	w.run("staging", `psql -q "$DATABASE_URL" -c "CREATE TABLE word (w text)" -c "INSERT INTO word VALUES ('staging')"`)
	if err := w.s.databases.renew(ctx, "tiny", true, 0); err != nil { // as after a deployment
		t.Fatal(err)
	}
	w.git(w.work, "checkout", "-q", "-b", "feature")
	w.write("words.txt", "hello two\n")
	w.commit("two")
	w.push("piotr", "feature")
	try := w.op(w.s.helm.Try(ctx, anna, "tiny", "feature", "testing-anna"))
	if at := w.copyOf(t); try.State != bosman.OpDone || at.Database.Cluster != "scratch" {
		t.Fatalf("try: %s %v, on %s", try.State, try.Error, at.Database.Cluster)
	}
	words := `psql -At "$DATABASE_URL" -c "SELECT string_agg(w, ' ' ORDER BY w) FROM word"`
	w.run("testing-anna", `psql -q "$DATABASE_URL" -c "INSERT INTO word VALUES ('annas')"`)

	w.stop()
	options := StorageOptions{
		Data: w.data, Size: 1 << 30, Ask: func(string) error { return nil },
		Say: func(format string, args ...any) error { t.Logf(format, args...); return nil },
	}
	if err := PrepareStorage(ctx, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.stop()
		end := context.Background()
		if err := errors.Join(StopAll(end, w.data, ""), storage.Undo(end, w.data)); err != nil {
			t.Error(err)
		}
	})
	if err := PrepareStorage(ctx, options); err != nil {
		t.Errorf("done twice: %v", err)
	}
	w.start()
	if got := w.run("testing-anna", words); got != "annas staging\n" {
		t.Errorf("the copy from before holds %q", got)
	}
	reset := w.op(w.s.helm.Reset(ctx, anna, "tiny", "testing-anna"))
	at := w.copyOf(t)
	if reset.State != bosman.OpDone || at.Database.Cluster != "clone" || at.Copy.Strategy != "reflink" {
		w.dump()
		t.Fatalf("reset: %s %v, %+v", reset.State, reset.Error, at)
	}
	if got := w.run("testing-anna", words); got != "staging\n" {
		t.Errorf("the fresh copy holds %q", got)
	}
	k, err := w.s.databases.keeper(ctx, at, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := k.Kept(ctx, at.Name, w.s.databases.filesOf(at))
	if err != nil || len(kept) != 1 || kept[0].Snapshot.Database.Cluster != "scratch" {
		t.Fatalf("kept %+v, %v", kept, err)
	}
	if in, err := k.Engine.Inspect(ctx, kept[0].Snapshot.Database); err != nil || in.Rows["public.word"] != 2 {
		t.Errorf("what was replaced holds %v, %v", in.Rows, err)
	}

	servers := filepath.Join(w.data, "storage", "postgres", "clones", "tiny", "servers")
	if err := syscall.Kill(w.serverPid(t, servers), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.until("the server of the copy is started again", time.Minute, func() bool {
		if w.serverPid(t, servers) == 0 {
			return false
		}
		_, err := w.s.databases.Schema(ctx, at)
		return err == nil // it answers
	})
	w.run("testing-anna", `psql -q "$DATABASE_URL" -c "INSERT INTO word VALUES ('annas')"`)
	w.stop()
	if err := PrepareStorage(ctx, StorageOptions{Data: w.data, Undo: true, Ask: options.Ask, Say: options.Say}); bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), "tiny/testing-anna") {
		t.Errorf("taken away under a copy: %v", err)
	}
	w.start()
	if got := w.run("testing-anna", words); got != "annas staging\n" {
		t.Errorf("after a restart of Bosman the copy holds %q", got)
	}

	if op := w.op(w.s.helm.Stop(ctx, bosman.System(), "tiny", "testing-anna")); op.State != bosman.OpDone {
		t.Fatalf("stop: %v", op.Error)
	}
	w.until("the server of a stopped instance sleeps", 30*time.Second, func() bool { return w.serverPid(t, servers) == 0 })
	if op := w.op(w.s.helm.Start(ctx, bosman.System(), "tiny", "testing-anna")); op.State != bosman.OpDone {
		w.dump()
		t.Fatalf("start: %v", op.Error)
	}
	if got := w.run("testing-anna", words); got != "annas staging\n" {
		t.Errorf("woken, the copy holds %q", got)
	}
	w.stop()                                                      // else they are made anew at once
	if err := w.s.databases.dropCopies(ctx, "tiny"); err != nil { // as when the app is removed
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(servers), "goldens", "*")); err != nil || len(left) != 0 {
		t.Errorf("golden copies are left: %q, %v", left, err)
	}
}

// serverPid gives the process of the server that has the instance's copy; 0
// when it does not run. Copies kept ready have servers as well.
func (w *world) serverPid(t *testing.T, servers string) int {
	t.Helper()
	at, err := filepath.EvalSymlinks(w.copyOf(t).Database.Host)
	if err != nil {
		return 0
	}
	files, err := filepath.Glob(filepath.Join(servers, "*", "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		lines := strings.Split(string(b), "\n")
		if len(lines) < 8 || !strings.Contains(lines[7], "ready") {
			continue
		}
		if dir, err := filepath.EvalSymlinks(lines[4]); err != nil || dir != at {
			continue
		}
		pid, err := strconv.Atoi(lines[0])
		if _, perr := os.Stat("/proc/" + lines[0]); err == nil && perr == nil {
			return pid
		}
	}
	return 0
}

// copyOf gives the row of testing-anna.
func (w *world) copyOf(t *testing.T) bosman.Instance {
	t.Helper()
	i, err := w.s.store.Instance(t.Context(), "tiny", "testing-anna")
	if err != nil {
		t.Fatal(err)
	}
	return i
}
