package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/internal/need"
)

// stretch is a world with a base backup, a note, and a restore point after it.
func stretch(t *testing.T) *world {
	w := newWorld(t, 0)
	w.based()
	w.do(w.live, "INSERT INTO note VALUES ('one')")
	_, err := w.Mark(t.Context(), "rms-d1")
	w.must(err)
	w.stored()
	return w
}

// object gives the file of an object in the vault.
func (w *world) object(pattern string) string {
	w.t.Helper()
	all, err := filepath.Glob(filepath.Join(w.dir, "vault", "log", "*", pattern))
	w.must(err)
	if len(all) == 0 {
		w.t.Fatalf("nothing is stored as %s", pattern)
	}
	return all[len(all)-1]
}

// A flipped byte anywhere, a segment that is missing or one that ends early:
// the recovery says so, and neither live nor anything beside it changes.
func TestDamage(t *testing.T) {
	w := stretch(t)
	ctx := t.Context()
	plan, err := w.Find(ctx, Target{Point: "rms-d1"})
	w.must(err)
	needed := plan.Segments[len(plan.Segments)-1]
	for what, pattern := range map[string]string{"segment " + needed.Name: "segments/" + needed.Name + "-*", "base backup": "base/*/files.*"} {
		path := w.object(pattern)
		good, err := os.ReadFile(path)
		w.must(err)
		for _, at := range []int{300, len(good) / 2, len(good) - 3} {
			bad := bytes.Clone(good)
			bad[at] ^= 1
			w.must(os.WriteFile(path, bad, 0o600))
			_, err := w.bring(ctx, plan)
			if e := bosman.AsError(err); bosman.KindOf(err) != bosman.KindFailed || !strings.Contains(e.Message, what) || e.Kept != untouched || e.Next == "" {
				t.Errorf("%s, byte %d of %d: %v", what, at, len(good), err)
			}
		}
		w.must(os.WriteFile(path, good, 0o600))
	}

	path := w.object("segments/" + needed.Name + "-*")
	w.must(os.Rename(path, path+".away"))
	_, err = w.bring(ctx, plan)
	wantError(t, "gone since it was planned", err, bosman.KindFailed, needed.Name)
	w.do(w.live, "INSERT INTO note VALUES ('two')")
	w.stored() // something follows the gap
	_, err = w.Find(ctx, Target{Point: "rms-d1"})
	wantError(t, "a gap", err, bosman.KindNotFound, "segment "+needed.Name+" of the log is missing")
	if _, whole := w.own().Newest(); whole.SystemID != "" {
		t.Errorf("a base backup is not due although the log has a gap after %s", whole.At)
	}
	w.must(os.Rename(path+".away", path))

	// The last segment is that of another server: only its records tell.
	other := plan
	other.Target = Target{At: time.Now()}
	other.Segments = other.Segments[:1]
	other.Segments = append(other.Segments, Segment{Name: needed.Name, object: other.Segments[0].object})
	_, err = w.bring(ctx, other)
	wantError(t, "a segment that is another", err, bosman.KindFailed, "damaged")

	all, err := w.engine.List(ctx)
	w.must(err)
	if len(all) != 1 || w.count(w.live) != 2 {
		t.Errorf("something is left of failed recoveries: %+v", all)
	}
	w.must(w.Reread(ctx))
	d := w.recovered(Target{Point: "rms-d1"})
	if n := w.count(d); n != 1 {
		t.Errorf("with everything in its place again: %d rows", n)
	}
}

// What is kept of the log is never more than its bound: then segments are let
// go and that is said until a newer base backup needs none of them. Live goes
// on.
func TestFullSpool(t *testing.T) {
	w := newWorld(t, 2*segmentBytes)
	ctx := t.Context()
	lost := func() bool {
		st, err := w.State(ctx)
		w.must(err)
		if st.Server != "" {
			t.Errorf("the server was refused: %s", st.Server)
		}
		return !st.Lost.IsZero()
	}
	for n := 0; !lost(); n++ {
		w.do(w.live, fmt.Sprintf("INSERT INTO note VALUES ('%d')", n))
		w.must(w.Advance(ctx))
		if n > 50 {
			t.Fatal("nothing was let go")
		}
	}
	all, err := w.waiting()
	w.must(err)
	if len(all) > 2 {
		t.Errorf("%d segments wait", len(all))
	}
	_, err = w.Ship(ctx)
	w.must(err)
	b := w.based()
	w.must(w.Forgive(b.At.Add(-time.Hour)))
	if !lost() {
		t.Error("it was forgiven by a base backup of before")
	}
	w.must(w.Forgive(b.At))
	if lost() {
		t.Error("it is not forgiven")
	}
	if n := w.count(w.recovered(Target{At: b.At})); n < 3 {
		t.Errorf("%d rows", n)
	}
}

// A target that does not give back what was stored, and a spool that the
// server cannot write to: nothing is taken out of the spool before it is safe.
func TestNothingIsTakenForStored(t *testing.T) {
	need.Root(t)
	w := newWorld(t, 0)
	ctx := t.Context()
	w.do(w.live, "INSERT INTO note VALUES ('one')")
	w.must(w.Advance(ctx))
	w.until("a segment waits", func() bool { all, err := w.waiting(); w.must(err); return len(all) > 0 })
	all, err := w.waiting()
	w.must(err)
	id, err := w.system(ctx)
	w.must(err)
	name := filepath.Join(w.dir, "vault", root+id+objectOf(all[0])+".zst.age")
	w.must(os.MkdirAll(filepath.Dir(name), 0o700))
	w.must(os.WriteFile(name, []byte("not what was put"), 0o600))
	if _, err := w.Ship(ctx); err == nil {
		t.Error("damage in the target was not noticed")
	}
	if left, err := w.waiting(); err != nil || len(left) < len(all) {
		t.Errorf("%d of %d wait, %v", len(left), len(all), err)
	}
	for range 3 { // what was damaged is stored anew
		if _, err = w.Ship(ctx); err == nil {
			break
		}
	}
	w.must(err)

	w.must(os.Rename(w.Cluster.Spool, w.Cluster.Spool+".away"))
	w.do(w.live, "INSERT INTO note VALUES ('two')")
	w.must(w.Advance(ctx))
	w.until("the server says that it fails", func() bool {
		st, err := w.State(ctx)
		w.must(err)
		return strings.Contains(st.Server, "could not copy")
	})
	w.must(os.Rename(w.Cluster.Spool+".away", w.Cluster.Spool))
	_, err = w.Cluster.Reload(ctx) // it tries again at once
	w.must(err)
	w.stored()
	if st, err := w.State(ctx); err != nil || st.Server != "" {
		t.Errorf("%+v, %v", st, err)
	}
}

// jobs are what a child process does until it is killed.
var jobs = map[string]func(context.Context, *Keeper) error{
	"ship": func(ctx context.Context, k *Keeper) error {
		_, err := k.Mark(ctx, "rms-d2")
		for n := 0; err == nil && n < 2; {
			var m int
			m, err = k.Ship(ctx)
			n += m
			time.Sleep(10 * time.Millisecond)
		}
		return err
	},
	"base": func(ctx context.Context, k *Keeper) error {
		_, err := k.TakeBase(ctx, true)
		return err
	},
	"recover": func(ctx context.Context, k *Keeper) error {
		e, err := postgres.NewEngine("rms", k.Cluster)
		if err != nil {
			return err
		}
		p, err := k.Find(ctx, Target{Point: "rms-d1"})
		if err == nil {
			_, err = bring(ctx, k, e, p, time.Now())
		}
		return err
	},
	"prune": func(ctx context.Context, k *Keeper) error {
		k.Window = 24 * time.Hour
		_, err := k.Prune(ctx, time.Now().Add(30*24*time.Hour))
		return err
	},
}

func child(dir, job string) error {
	ctx := context.Background()
	k := open(dir, 0)
	if _, err := k.Cluster.Ensure(ctx); err != nil {
		return err
	}
	return jobs[job](ctx, k)
}

// Killed at any point, the next run goes on: what was written is stored, the
// point can be recovered, and nothing half-made is left.
func TestKillAtEveryPoint(t *testing.T) {
	w := stretch(t)
	ctx := t.Context()
	self, err := os.Executable()
	w.must(err)
	run := func(job, fault string) (string, error) {
		cmd := exec.CommandContext(ctx, self)
		cmd.Env = append(os.Environ(), dirEnv+"="+w.dir, jobEnv+"="+job, faults.Env+"="+fault)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, c := range []struct{ job, point string }{
		{"ship", "archive.point.made"},
		{"ship", "archive.ship.put"},
		{"ship", "archive.ship.stored"},
		{"ship", "archive.ship.removed"},
		{"base", "archive.base.files"},
		{"base", "archive.base.done"},
		{"recover", "archive.replay.fetched"},
		{"recover", "archive.replay.reached"},
		{"recover", "archive.bring.dumped"},
		{"recover", "archive.bring.done"},
		{"prune", "archive.prune.object"},
	} {
		w.do(w.live, "INSERT INTO note VALUES ('"+c.point+"')")
		out, err := run(c.job, c.point+"=kill")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%s was not killed at %s: %v\n%s", c.job, c.point, err, out)
		}
		w.must(w.Clear(ctx))
		w.must(w.Cluster.Recover(ctx))
		w.stored()
		if all, err := w.waiting(); err != nil || len(all) > 0 {
			t.Errorf("%s: %d files wait, %v", c.point, len(all), err)
		}
	}
	// A base backup is proven, all that came before is pruned but for what it needs.
	if out, err := run("prune", ""); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := w.own()
	proven, _ := s.Newest()
	if proven.SystemID == "" || len(s.Bases) == 0 || s.Segments[0].Name < proven.Start {
		t.Errorf("after the prune: %+v", s)
	}
	for _, want := range []string{"rms-d1", "rms-d2"} {
		if !slices.ContainsFunc(s.Points, func(p Point) bool { return p.Name == want }) {
			t.Errorf("the point %s is gone: %+v", want, s.Points)
		}
	}
	if n := w.count(w.recovered(Target{Point: "rms-d1"})); n != 1 {
		t.Errorf("%d rows", n)
	}
}
