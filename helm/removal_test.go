package helm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/store"
)

// removalEnv tells a child process in which folder to remove an instance.
const removalEnv = "BOSMAN_TEST_REMOVAL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(removalEnv); dir != "" {
		if err := removeIn(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// house is a Runtime whose instances are folders with a route and data.
type house struct {
	dir    string
	before func(i bosman.Instance) error // nil: goes on
	asked  []string
}

func (h *house) Run(context.Context, bosman.Instance, string, io.Reader, io.Writer, io.Writer) (int, error) {
	return 0, nil
}
func (h *house) RemoveApp(context.Context, string) error { return nil }
func (h *house) Remove(ctx context.Context, i bosman.Instance) error {
	h.asked = append(h.asked, i.App+"/"+i.Name)
	if h.before != nil {
		if err := h.before(i); err != nil {
			return err
		}
	}
	for _, part := range []string{"route", "data"} {
		if err := os.RemoveAll(filepath.Join(h.dir, i.App, i.Name, part)); err != nil {
			return err
		}
		if err := faults.Point("test.removed." + part); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// stands says whether anything of an instance is there.
func (h *house) stands(app, name string) bool {
	all, err := filepath.Glob(filepath.Join(h.dir, app, name, "*"))
	return err != nil || len(all) > 0
}

// removing is a Helm over rows in a folder, and the house beside them.
type removing struct {
	*Helm
	house *house
}

func openRemoving(ctx context.Context, dir string) (removing, error) {
	st, err := store.Open(ctx, filepath.Join(dir, "bosman.db"))
	h := &house{dir: filepath.Join(dir, "instances")}
	return removing{New(Config{Store: st, Runtime: h, Operator: &rig{}}), h}, err
}

func removeIn(ctx context.Context, dir string) error {
	r, err := openRemoving(ctx, dir)
	if err != nil {
		return err
	}
	return r.RemoveInstance(ctx, admin, "rms", "testing-anna")
}

// newRemoving has live, and two testing instances of the app rms.
func newRemoving(t *testing.T) (removing, string) {
	t.Helper()
	dir := t.TempDir()
	r := reopen(t, dir)
	ctx := t.Context()
	for name, role := range map[string]bosman.Role{"ola": bosman.RoleAdmin, "anna": bosman.RoleTester} {
		if err := r.Store.SavePerson(ctx, bosman.Person{Name: name, Role: role}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Store.SaveApp(ctx, bosman.App{Name: "rms"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"live", "testing-anna", "testing-jan"} {
		r.make(t, name)
	}
	return r, dir
}

func reopen(t *testing.T, dir string) removing {
	t.Helper()
	r, err := openRemoving(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Store.Close() }) // it may be closed
	return r
}

func (r removing) make(t *testing.T, name string) {
	t.Helper()
	kind, err := KindOf(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Store.SaveInstance(t.Context(), bosman.Instance{App: "rms", Name: name, Kind: kind, Release: 1, ErrorKey: "key" + name}); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"route", "data"} {
		if err := os.MkdirAll(filepath.Join(r.house.dir, "rms", name, part), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// started is the next start: what was begun is finished, and nothing more.
func (r removing) started(t *testing.T) {
	t.Helper()
	if err := r.FinishRemovals(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// are says which instances are there, as rows and as folders.
func (r removing) are(t *testing.T, what string, want ...string) {
	t.Helper()
	all, err := r.Store.Instances(t.Context(), "rms")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, i := range all {
		rows = append(rows, i.Name)
	}
	slices.Sort(rows)
	if !slices.Equal(rows, want) {
		t.Errorf("%s: there are %v, not %v", what, rows, want)
	}
	for _, name := range []string{"live", "testing-anna", "testing-jan"} {
		if is := r.house.stands("rms", name); is != slices.Contains(want, name) {
			t.Errorf("%s: of %s anything is there: %v", what, name, is)
		}
	}
}

// forgotten says that no removal is noted.
func (r removing) forgotten(t *testing.T, what string) {
	t.Helper()
	if by, err := r.Store.Setting(t.Context(), removal("rms", "testing-anna")); err != nil || by != "" {
		t.Errorf("%s: the removal by %s is noted still, %v", what, by, err)
	}
}

// A removal that is killed anywhere is finished at the next start, for whom
// it was begun, and once: one of the same name that comes later stays.
func TestKilledRemovalIsFinished(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, point := range []string{"helm.removal.noted", "test.removed.route", "test.removed.data"} {
		r, dir := newRemoving(t)
		if err := r.Store.Close(); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), removalEnv+"="+dir, faults.Env+"="+point+"=kill")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("not killed at %s: %v\n%s", point, err, out)
		}
		r = reopen(t, dir)
		r.started(t)
		r.are(t, point, "live", "testing-jan")
		r.forgotten(t, point)
		said, err := r.Store.Activity(t.Context(), "rms", 0, 10)
		if err != nil || len(said) != 1 || said[0].What != "removed the instance testing-anna" || said[0].Who != admin.Person {
			t.Errorf("%s: %+v, %v", point, said, err)
		}
		r.make(t, "testing-anna")
		r.started(t)
		r.are(t, point+", made again", "live", "testing-anna", "testing-jan")
	}
}

// A shutdown in the middle leaves the note; a failure forgets it, since
// whoever asked was told.
func TestRemovalCutShortAndFailed(t *testing.T) {
	r, dir := newRemoving(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.house.before = func(bosman.Instance) error { cancel(); return ctx.Err() }
	if err := r.RemoveInstance(ctx, admin, "rms", "testing-anna"); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	r.are(t, "shut down", "live", "testing-anna", "testing-jan")
	if err := r.Store.Close(); err != nil {
		t.Fatal(err)
	}

	// The next start is shut down as well; nothing is lost of that.
	r = reopen(t, dir)
	ctx, cancel = context.WithCancel(t.Context())
	r.house.before = func(bosman.Instance) error { cancel(); return ctx.Err() }
	if err := r.FinishRemovals(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	r.house.before = nil
	r.started(t)
	r.are(t, "started again", "live", "testing-jan")
	r.forgotten(t, "started again")

	r, _ = newRemoving(t)
	r.house.before = func(bosman.Instance) error { return bosman.Unavailable("the server does not answer") }
	if err := r.RemoveInstance(t.Context(), admin, "rms", "testing-anna"); bosman.KindOf(err) != bosman.KindUnavailable {
		t.Fatalf("%v", err)
	}
	r.forgotten(t, "failed")
	r.house.before = nil
	r.started(t)
	r.are(t, "failed", "live", "testing-anna", "testing-jan")
}

// noted is a removal of testing-anna that was killed right after its note.
func (r removing) noted(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r.house.before = func(bosman.Instance) error { cancel(); return ctx.Err() }
	if err := r.RemoveInstance(ctx, admin, "rms", "testing-anna"); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	r.house.before, r.house.asked = nil, nil
}

// Who goes on with an instance wants it: neither this start nor a later one
// takes it away.
func TestRemovalIsForgottenWhereSomebodyGoesOn(t *testing.T) {
	r, _ := newRemoving(t)
	ctx := t.Context()
	r.noted(t)
	if _, err := r.Store.Take(ctx, "rms", "testing-anna", 7); err != nil {
		t.Fatal(err)
	}
	r.started(t)
	r.are(t, "held by an operation", "live", "testing-anna", "testing-jan")
	r.forgotten(t, "held by an operation")
	if err := r.Store.GiveBack(ctx, "rms", "testing-anna", 7); err != nil {
		t.Fatal(err)
	}
	r.started(t)
	r.are(t, "the operation ended", "live", "testing-anna", "testing-jan")

	// It was asked for and waits its turn, or it ended before the next start.
	r, _ = newRemoving(t)
	r.noted(t)
	if _, err := r.Restart(ctx, admin, "rms", "testing-anna"); err != nil {
		t.Fatal(err)
	}
	r.forgotten(t, "asked for")
	r.started(t)
	r.are(t, "asked for", "live", "testing-anna", "testing-jan")
	if len(r.house.asked) > 0 {
		t.Errorf("removed: %v", r.house.asked)
	}
}

// With its app the note goes: an app of that name that comes later has other
// instances.
func TestRemovalIsForgottenWithItsApp(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	i := bosman.Instance{App: "rms", Name: "testing-anna", Kind: bosman.KindTesting, ErrorKey: "key"}
	for range 2 {
		if err := r.Store.SaveInstance(ctx, i); err != nil {
			t.Fatal(err)
		}
		if err := r.FinishRemovals(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Store.Instance(ctx, "rms", i.Name); err != nil {
			t.Fatalf("what nobody removed: %v", err)
		}
		if err := r.Store.SetSetting(ctx, removal("rms", i.Name), `{"person":"ola"}`); err != nil {
			t.Fatal(err)
		}
		if err := r.Helm.RemoveApp(ctx, admin, "rms", "rms"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.AddApp(ctx, admin, "rms"); err != nil {
			t.Fatal(err)
		}
	}
}

// One that cannot be finished keeps none of the others, and Bosman starts.
func TestRemovalThatCannotBeFinished(t *testing.T) {
	r, _ := newRemoving(t)
	ctx := t.Context()
	for _, name := range []string{"testing-anna", "testing-jan"} {
		if err := r.Store.SetSetting(ctx, removal("rms", name), `{"person":"ola"}`); err != nil {
			t.Fatal(err)
		}
	}
	r.house.before = func(i bosman.Instance) error {
		if strings.HasSuffix(i.Name, "anna") {
			return bosman.Unavailable("the server does not answer")
		}
		return nil
	}
	r.started(t)
	r.are(t, "one fails", "live", "testing-anna")
	r.forgotten(t, "one fails")

	// Nor does a note that cannot be read take anything away.
	if err := r.Store.SetSetting(ctx, removal("rms", "testing-anna"), "{"); err != nil {
		t.Fatal(err)
	}
	r.house.before = nil
	r.started(t)
	r.are(t, "a note that cannot be read", "live", "testing-anna")
}
