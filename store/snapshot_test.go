package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func TestSnapshot(t *testing.T) {
	s := open(t)
	add := func(name string) {
		t.Helper()
		if err := s.SaveApp(t.Context(), bosman.App{Name: name, MainBranch: "main"}); err != nil {
			t.Fatal(err)
		}
	}
	add("rms")
	file := filepath.Join(t.TempDir(), "copy #1.db")
	if err := s.Snapshot(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	add("later")
	copied, err := Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if apps, err := copied.Apps(t.Context()); err != nil || len(apps) != 1 || apps[0].Name != "rms" {
		t.Errorf("%+v, %v", apps, err)
	}
	if err := s.Snapshot(t.Context(), file); err == nil {
		t.Error("a snapshot went over another file")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.db")
	if err := os.WriteFile(bad, append(bytes.Clone(data[:8192]), bytes.Repeat([]byte{7}, len(data)-8192)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckFile(t.Context(), bad); bosman.KindOf(err) != bosman.KindFailed {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestMarkAndAbandon(t *testing.T) {
	s := open(t)
	mark := func() string {
		t.Helper()
		m, err := s.Mark(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	last := mark()
	changed := func(what string, want bool) {
		t.Helper()
		if now := mark(); (now != last) != want {
			t.Errorf("%s: %s, then %s", what, last, now)
		}
		last = mark()
	}
	changed("nothing", false)
	if err := s.AppendEvent(t.Context(), bosman.Event{Kind: bosman.EventBuildUpdated}); err != nil {
		t.Fatal(err)
	}
	changed("an event of no weight", false)
	if err := s.AppendEvent(t.Context(), bosman.Event{Kind: bosman.EventOperationEnded}); err != nil {
		t.Fatal(err)
	}
	changed("a deployment's end", true)
	if err := s.SaveInstance(t.Context(), bosman.Instance{App: "rms", Name: "live"}); err != nil {
		t.Fatal(err)
	}
	for n, op := range []bosman.Operation{{State: bosman.OpRunning}, {State: bosman.OpWatching, Committed: true}, {State: bosman.OpDone}} {
		op.App, op.Number, op.Instance = "rms", n+1, "live"
		if err := s.SaveOperation(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Take(t.Context(), "rms", "live", 1); err != nil {
		t.Fatal(err)
	}
	ended, err := s.Abandon(t.Context(), bosman.Failed("lost"), bosman.Activity{At: time.Now().UTC(), What: "brought back"})
	if err != nil || len(ended) != 2 {
		t.Fatalf("%q, %v", ended, err)
	}
	changed("brought back", true)
	for n, want := range []bosman.OperationState{bosman.OpFailed, bosman.OpDone, bosman.OpDone} {
		if op, err := s.Operation(t.Context(), "rms", n+1); err != nil || op.State != want || !op.State.Final() {
			t.Errorf("%+v, %v", op, err)
		}
	}
	if owner, err := s.Owner(t.Context(), "rms", "live"); err != nil || owner != 0 {
		t.Errorf("owned by %d, %v", owner, err)
	}
	if i, err := s.Instance(t.Context(), "rms", "live"); err != nil || i.Operation != 0 {
		t.Errorf("%+v, %v", i, err)
	}
}
