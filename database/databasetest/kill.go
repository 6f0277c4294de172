package databasetest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/internal/need"
)

// jobEnv tells a child process what to do before it is killed.
const jobEnv = "BOSMAN_DATABASETEST_JOB"

type job struct {
	App, Verb, Root string
}

func (j job) files() string { return filepath.Join(j.Root, "data") }

// backup is a place for a backup: 1 is made beforehand, 2 by the job.
func (j job) backup(n int) (database.Place, error) {
	s, err := openVault(filepath.Join(j.Root, "backups"), filepath.Join(j.Root, "key"))
	return s.place("live", n), err
}

// Child does what a parent's kill test asked for. TestMain calls it first; ok
// says whether this is such a child, which must exit with code then.
func Child(mk Maker) (code int, ok bool) {
	text := os.Getenv(jobEnv)
	if text == "" {
		return 0, false
	}
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		var w World
		if w, err = masked(mk)(j.App); err == nil {
			err = w.do(context.Background(), j)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// do does the job: the verb on the instance live.
func (w World) do(ctx context.Context, j job) error {
	if j.Verb == "mask" {
		return w.maskJob(ctx)
	}
	k := w.keeper(filepath.Join(j.Root, "state"))
	d, err := w.Engine.Find(ctx, "live")
	if err != nil {
		return err
	}
	live := database.Snapshot{Database: d, Files: j.files()}
	k1, err1 := j.backup(1)
	k2, err2 := j.backup(2)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	switch j.Verb {
	case "backup":
		_, err = k.Backup(ctx, live, k2, database.About{App: "rms", Instance: "live"})
	case "verify":
		_, err = k.Verify(ctx, k1, true)
	case "drill":
		_, err = k.Drill(ctx, k1, false, w.Copies, d)
	case "remove":
		if err = database.Remove(ctx, k1); err == nil {
			_, _, err = database.Collect(ctx, k1.Vault, "rms", 0)
		}
	case "restore":
		_, _, _, err = k.Restore(ctx, k1, "live", live)
	case "wayback":
		var way database.WayBack
		if way, _, err = k.KeepWayBack(ctx, k1, "live", live, 7); err == nil {
			err = k.PrepareKept(ctx, "live", way.Snapshot, live)
		}
		if err == nil {
			_, err = k.SwapIn(ctx, "live")
		}
	case "replace":
		var from database.Snapshot
		if from.Database, err = w.Source.Find(ctx, "staging"); err == nil {
			from.Files = filepath.Join(j.Root, "staging")
			_, _, _, err = k.Replace(ctx, from, "live", live, database.CopyOptions{Exact: true, From: "staging"})
		}
	default:
		err = errors.New("unknown verb " + j.Verb)
	}
	return err
}

// kill kills a process at each point of each verb and looks what is left.
func (s *suite) kill(t *testing.T) {
	need.Slow(t, "starts and kills processes")
	for _, verb := range s.verbs {
		t.Run(verb, func(t *testing.T) {
			w, app := s.world(t)
			points := s.points(t, w, app, verb)
			if len(points) < 2 {
				t.Fatalf("only the points %q were passed", points)
			}
			for _, p := range points {
				begins := func(prefix string) bool { return strings.HasPrefix(p, prefix) }
				if len(s.prefixes) > 0 && !slices.ContainsFunc(s.prefixes, begins) {
					continue
				}
				if s.killed[p] || strings.HasPrefix(p, "vault.") && !slices.Contains(s.verbs, "remove") {
					continue // the same code, reached by another verb, or of no driver
				}
				s.killed[p] = true
				t.Run(p, func(t *testing.T) { s.killAt(t, verb, p) })
			}
		})
	}
}

// scene makes live with 5 rows of "new" files, and in backup and staging what
// is to replace it: 3 rows and "old" files.
func (s *suite) scene(t *testing.T, w World, app, verb string) job {
	t.Helper()
	j := job{App: app, Verb: verb, Root: t.TempDir()}
	k := w.keeper(filepath.Join(j.Root, "state"))
	live := database.Snapshot{Database: w.create(t, w.Engine, "live", 3), Files: j.files()}
	writeFile(t, filepath.Join(live.Files, "cv"), "old")
	if verb != "replace" {
		k1, err := j.backup(1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Backup(t.Context(), live, k1, database.About{App: "rms", Instance: "live"}); err != nil {
			t.Fatal(err)
		}
	}
	if verb == "replace" {
		w.create(t, w.Source, "staging", 3)
		writeFile(t, filepath.Join(j.Root, "staging", "cv"), "old")
	}
	w.exec(t, live.Database, "INSERT INTO candidate VALUES (10, 'x')", "INSERT INTO candidate VALUES (11, 'y')")
	writeFile(t, filepath.Join(live.Files, "cv"), "new")
	return j
}

// child runs the job in a process of its own, with faults.
func child(t *testing.T, j job, fault string) (*os.ProcessState, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), jobEnv+"="+string(b), faults.Env+"="+fault)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState, string(out)
}

// points gives the points that a verb passes when nothing goes wrong.
func (s *suite) points(t *testing.T, w World, app, verb string) []string {
	t.Helper()
	j := s.scene(t, w, app, verb)
	list := filepath.Join(j.Root, "points")
	if state, out := child(t, j, "record="+list); !state.Success() {
		t.Fatalf("%s: %s %s", verb, state, out)
	}
	f, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	var points []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if !slices.Contains(points, lines.Text()) {
			points = append(points, lines.Text())
		}
	}
	return points
}

func (s *suite) killAt(t *testing.T, verb, point string) {
	w, app := s.world(t)
	j := s.scene(t, w, app, verb)
	state, out := child(t, j, point+"=kill")
	if ws, ok := state.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("the child should have been killed: %s %s", state, out)
	}
	// The next start, with nothing in memory.
	w, err := s.mk(app)
	if err != nil {
		t.Fatal(err)
	}
	k := w.keeper(filepath.Join(j.Root, "state"))
	if err := k.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.consistent(t, j, "recovered")
	if verb == "drill" {
		w.golden(t, 0, "recovered")
	}
	for _, e := range w.engines() {
		for _, name := range listed(t, e) {
			if database.HasTag(name, database.TagNext) || database.HasTag(name, database.TagMaking) || database.HasTag(name, database.TagVerify) {
				t.Errorf("%s is left", name)
			}
		}
	}
	if _, err := os.Lstat(j.files() + "__next"); err == nil {
		t.Error("half-built files are left")
	}
	k1, err1 := j.backup(1)
	k2, err2 := j.backup(2)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	// Done again, it succeeds; a finished backup stays as it is.
	complete := false
	if verb == "backup" {
		_, err := database.CheckSums(t.Context(), k2)
		complete = err == nil
	}
	if !complete {
		if err := w.do(t.Context(), j); err != nil {
			t.Fatalf("done again: %v", err)
		}
	}
	w.consistent(t, j, "done again")
	d, err := w.Engine.Find(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	if verb == "drill" {
		w.golden(t, 1, "done again")
	}
	if verb == "backup" || verb == "verify" || verb == "remove" || verb == "drill" {
		if verb == "backup" {
			if _, err := k.Verify(t.Context(), k2, true); err != nil {
				t.Error(err)
			}
		}
		_, err := k.Verify(t.Context(), k1, true)
		if (verb == "remove") != (bosman.KindOf(err) == bosman.KindNotFound) {
			t.Errorf("the backup of before: %v", err)
		}
		if n := w.rows(d); n != 5 {
			t.Errorf("live has %d rows after %s", n, verb)
		}
		if left := filesIn(t, filepath.Join(j.Root, "state", "tmp")); len(left) > 0 {
			t.Errorf("%q is left", left)
		}
		return
	}
	if n := w.rows(d); n != 3 {
		t.Errorf("live has %d rows", n)
	}
	kept, err := k.Kept(t.Context(), "live", j.files())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range kept { // the first one kept holds what the instance had of its own
		in, err := w.Engine.Inspect(t.Context(), x.Snapshot.Database)
		if err == nil && total(in) == 5 && readFile(filepath.Join(x.Snapshot.Files, "cv")) == "new" {
			return
		}
	}
	t.Errorf("what was replaced is lost: kept %+v", kept)
}

// consistent: live is wholly the old or wholly the new, database and files.
func (w World) consistent(t *testing.T, j job, when string) {
	t.Helper()
	d, err := w.Engine.Find(t.Context(), "live")
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	got := fmt.Sprint(w.rows(d), " ", strings.TrimSpace(readFile(filepath.Join(j.files(), "cv"))))
	if got != "5 new" && got != "3 old" {
		t.Errorf("%s: live holds %q", when, got)
	}
}
