package deploy

import (
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

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/internal/need"
)

// crashes are the operations that are killed at every point: what is asked,
// which call fails, and what must serve at the end.
var crashes = map[string]struct {
	plan     bosman.Plan
	instance string
	release  int
	fail     string
	bad      bool // the watch finds it bad
	serves   int
	drops    bool // a migration that takes something away, as everybody knew
}{
	"deploy":              {bosman.PlanDeploy, "live", 2, "", false, 2, false},
	"deploy that fails":   {bosman.PlanDeploy, "live", 2, "Check", false, 1, false},
	"deploy that is bad":  {bosman.PlanDeploy, "live", 2, "", true, 1, false},
	"try":                 {bosman.PlanTry, "testing-anna", 2, "", false, 2, false},
	"try that fails":      {bosman.PlanTry, "testing-anna", 2, "Check", false, 0, false},
	"try behind staging":  {bosman.PlanTry, "testing-anna", 2, "", false, 3, false},
	"restore":             {bosman.PlanRestore, "staging", 1, "", false, 1, false},
	"restore that fails":  {bosman.PlanRestore, "staging", 1, "Check", false, 1, false},
	"drop that fails":     {bosman.PlanDeploy, "live", 2, "Check", false, 1, true},
	"revert with data":    {bosman.PlanRevert, "live", 1, "", false, 1, true},
	"stop":                {bosman.PlanStop, "live", 1, "", false, 0, false},
	"first staging fails": {bosman.PlanDeploy, "testing-first", 1, "Check", false, 0, false},
}

// child carries out one operation in dir until all are final.
func child(dir string) error {
	c := crashes[os.Getenv("DEPLOY_CASE")]
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	w := newWorld(dir)
	if w.drops = c.drops; c.drops {
		w.forecast = Forecast{NotAdditive: true, Text: "not additive"}
	}
	if c.fail != "" {
		w.on(c.fail, func(context.Context) error { return bosman.Failed("meant to fail") })
	}
	s, err := serve(ctx, dir, w, nil)
	if err != nil {
		return err
	}
	for {
		open, err := w.Unfinished(ctx)
		if err != nil {
			return err
		}
		runs, err := s.Engine.Running(ctx)
		if err != nil {
			return err
		}
		if len(open) == 0 && len(runs) == 0 {
			return s.Engine.Close(ctx)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("%w: %+v %+v", err, open, runs)
		}
	}
}

// process runs the child once and says whether it was killed.
func process(t *testing.T, dir, name, plan string) (killed bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	bad := ""
	if crashes[name].bad {
		bad = "yes"
	}
	cmd.Env = append(os.Environ(), "DEPLOY_CHILD="+dir, "DEPLOY_CASE="+name, "DEPLOY_BAD="+bad, faults.Env+"="+plan, faults.Env+"_ONCE="+filepath.Join(dir, "killed"))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
		return true
	}
	t.Fatalf("the child failed: %v\n%s", err, out)
	return false
}

// prepare makes a world with the row of the operation; its run does not exist
// yet, so that beginning it is part of what is tested.
func prepare(t *testing.T, name string) (string, *world) {
	t.Helper()
	c := crashes[name]
	w := newWorld(t.TempDir())
	err := errors.Join(furnish(w), w.tx(func(s *state) error {
		if _, there := s.Instances[c.instance]; !there {
			s.Instances[c.instance] = bosman.Instance{App: "rms", Name: c.instance, Kind: bosman.KindStaging}
		}
		op := bosman.Operation{App: "rms", Number: 3, Instance: c.instance, Plan: c.plan, Release: c.release, State: bosman.OpQueued, By: "anna"}
		if name == "try behind staging" { // whose data r2 does not know: r3 is its merge result
			old := s.Releases[2]
			old.Commit = "c0"
			s.Releases[2], s.Builds, op.Change = old, 1, 12
		}
		if c.plan == bosman.PlanRestore {
			op.Backup = 1
			s.Backups[1] = bosman.Backup{App: "rms", Number: 1, Instance: c.instance, VerifiedAt: time.Now()}
			s.Dumps[1] = data{Rows: []string{"dumped"}, Schema: []int{1}}
		}
		if c.plan == bosman.PlanRevert { // d1 brought r2, which dropped something
			op.Reverts, op.Backup, op.WayBack = 1, 1, &bosman.WayBack{Confirmed: true}
			d, i := s.Ops[1], s.Instances["live"]
			d.Release, d.From, d.Backup = 2, 1, 1
			d.WayBack = &bosman.WayBack{Schema: "dropped", Destructive: true, Kept: wayBackName(i, 1)}
			i.Release, i.Previous = 2, 1
			s.Ops[1], s.Instances["live"] = d, i
			s.Sets[i.ProcessID], s.Sets[WorkID(i.ProcessID)] = 2, 2
			s.Routes["live"] = Routed{Release: 2, ID: i.ProcessID}
			s.Ways[wayBackName(i, 1)] = s.Data["live"]
			s.Data["live"] = data{Rows: []string{"a", "b", "written since"}, Schema: []int{1, 2}}
			s.Marks[1] = map[Moment]int{MomentBackup: 2}
		}
		s.Ops[3] = op
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(w.path), w
}

func judgeCrash(t *testing.T, w *world, name string) {
	t.Helper()
	c, s := crashes[name], w.see()
	wrong := s.Violations
	if c.serves != 0 {
		wrong = judge(s, c.instance, c.serves)
	} else {
		wrong = append(wrong, judge(s, "staging", 1)...)
	}
	want := bosman.OpDone
	switch {
	case c.bad:
		want = bosman.OpReverted
	case c.fail != "":
		want = bosman.OpFailed
	}
	if op := s.Ops[3]; op.State != want {
		wrong = append(wrong, fmt.Sprintf("d3 is %s, want %s: %+v", op.State, want, op))
	}
	rows := s.Data[c.instance].Rows
	switch {
	case c.plan == bosman.PlanRestore && c.fail == "":
		if !slices.Equal(rows, []string{"dumped"}) || len(s.Kept) != 1 {
			wrong = append(wrong, fmt.Sprintf("data %v, kept %v", rows, s.Kept))
		}
	case c.serves != 0 && !slices.Equal(rows, []string{"a", "b"}):
		wrong = append(wrong, fmt.Sprintf("data %v", rows))
	}
	if c.plan == bosman.PlanRevert && (len(s.Kept) != 1 || s.Ops[1].WayBack.RestoredAt.IsZero() || s.Ops[1].State != bosman.OpReverted) {
		wrong = append(wrong, fmt.Sprintf("kept %v, d1 %+v", s.Kept, s.Ops[1]))
	}
	if c.drops && c.fail != "" && (len(s.Kept) == 1) == s.Ops[3].WayBack.RestoredAt.IsZero() {
		wrong = append(wrong, fmt.Sprintf("kept %v, way back %+v", s.Kept, s.Ops[3].WayBack))
	}
	if c.fail != "" && !c.drops && len(s.Kept) != 0 {
		wrong = append(wrong, fmt.Sprintf("kept %v", s.Kept))
	}
	if s.Reverts > 1 {
		wrong = append(wrong, fmt.Sprintf("%d reverts", s.Reverts))
	}
	for _, v := range wrong {
		t.Error(v)
	}
}

// Kill the process at every point of every kind of operation, start it again,
// and see that it ends as it would have. The points are recorded, so a new one
// cannot be forgotten.
func TestKillAtEveryPoint(t *testing.T) {
	need.Slow(t, "kills a process at every point of twelve operations")
	for name := range crashes {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			dir, w := prepare(t, name)
			record := filepath.Join(dir, "points")
			if process(t, dir, name, "record="+record) {
				t.Fatal("killed without a reason")
			}
			judgeCrash(t, w, name)
			b, err := os.ReadFile(record)
			if err != nil {
				t.Fatal(err)
			}
			points := strings.Fields(string(b))
			slices.Sort(points)
			points = slices.Compact(points)
			points = slices.DeleteFunc(points, func(p string) bool {
				return strings.HasSuffix(p, ".before") // nothing happens between it and the point in front of it
			})
			for _, p := range points {
				dir, w := prepare(t, name)
				if !process(t, dir, name, p+"=kill") {
					t.Errorf("%s: not killed", p)
				} else if process(t, dir, name, p+"=kill") {
					t.Errorf("%s: killed twice", p)
				}
				if judgeCrash(t, w, name); t.Failed() {
					t.Fatalf("after a kill at %s", p)
				}
			}
			t.Logf("%d points", len(points))
		})
	}
}
