package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/client"
	"github.com/bosman-cd/bosman/api/wire"
)

func (w *world) merging(ctx context.Context, m *memory) error {
	w.show.part("The merge")
	if err := w.show.step("bosman merge feature: the tested release is reused, staging follows", func() (string, error) {
		before, err := w.client.Builds(ctx, App, -1, 100)
		if err != nil {
			return "", err
		}
		var merged wire.Merged
		if err := w.bosman(ctx, "anna", &merged, "merge", "feature"); err != nil {
			return "", err
		}
		if merged.Release != m.feature.Number || merged.Commit == "" {
			return "", fmt.Errorf("the merge gives %s, but %s was tested", ref(merged.Release), ref(m.feature.Number))
		}
		head, err := w.git(ctx, "ls-remote", w.gitURL("anna"), "refs/heads/main")
		if err != nil {
			return "", err
		}
		if !strings.HasPrefix(head, merged.Commit) {
			return "", fmt.Errorf("main is %s, not %s", head, merged.Commit)
		}
		if _, err := w.settled(ctx, "staging", m.feature.Number, time.Minute); err != nil {
			return "", err
		}
		after, err := w.client.Builds(ctx, App, -1, 100)
		if err != nil {
			return "", err
		}
		for _, b := range after {
			known := slices.ContainsFunc(before, func(o bosman.Build) bool { return o.Number == b.Number })
			if !known && !b.Reused && b.Change == 0 {
				return "", fmt.Errorf("%s built again what was built", bosman.Ref(bosman.LetterBuild, b.Number))
			}
		}
		// What main is now, the other branch must be tested with.
		m.badBuild = beside(func() error { return w.bosman(ctx, "piotr", nil, "build", "bad-500", "--wait") })
		return fmt.Sprintf("main is %s; staging runs %s, built once", bosman.Short(merged.Commit), ref(merged.Release)), nil
	}); err != nil {
		return err
	}
	return w.show.step("bosman build bad-500: tested anew with what main is now", func() (string, error) {
		err := m.badBuild.wait()
		m.badBuild = nil
		return "green: no test sees what is wrong with it", err
	})
}

func (w *world) gitURL(person string) string {
	return fmt.Sprintf("http://%s:%s@127.0.0.1:%d/%s.git", person, password(person), w.opt.Port, App)
}

// switched is how long it took from asking until requests went to the
// release.
func switched(op bosman.Operation) time.Duration {
	for _, s := range op.Steps {
		if s.Name == "switch" {
			return s.EndedAt.Sub(op.CreatedAt)
		}
	}
	return 0
}

func (w *world) deploying(ctx context.Context, m *memory) error {
	w.show.part("Live, asked by a probe all the time")
	if err := w.show.step("bosman deploy live", func() (string, error) {
		// The first release must be settled: one thing at a time.
		if _, err := w.settled(ctx, "live", m.main.Number, time.Minute); err != nil {
			return "", err
		}
		p := w.probe(ctx, mixed...)
		var op bosman.Operation
		err := w.bosman(ctx, "anna", &op, "deploy", "live", "--wait", "--why", "the shortlist")
		if err == nil {
			err = w.serves(ctx, m.feature)
		}
		met := p.stop()
		if err != nil {
			return "", err
		}
		if err := met.none(); err != nil {
			return "", err
		}
		w.times.deploy = switched(op)
		tags, err := w.git(ctx, "ls-remote", "--tags", w.gitURL("anna"))
		if err != nil {
			return "", err
		}
		if want := fmt.Sprintf("refs/tags/live-%d", op.Number); !strings.Contains(tags, want) {
			return "", fmt.Errorf("there is no tag %s: %s", want, tags)
		}
		var backups []bosman.Backup
		if err := w.bosman(ctx, "anna", &backups, "backup", "list", "--instance", "live"); err != nil {
			return "", err
		}
		if len(backups) == 0 || backups[0].Operation != op.Number || backups[0].VerifiedAt.IsZero() {
			return "", errors.New("there is no verified backup from before the deployment")
		}
		return fmt.Sprintf("switched after %s with a verified backup; %s", seconds(switched(op)), met), nil
	}); err != nil {
		return err
	}
	return w.show.step("bosman revert live, while the new release is still watched", func() (string, error) {
		p := w.probe(ctx, mixed...)
		var op bosman.Operation
		err := w.bosman(ctx, "anna", &op, "revert", "live", "--wait", "--why", "the star is yellow")
		if err == nil {
			err = w.serves(ctx, m.main)
		}
		met := p.stop()
		if err != nil {
			return "", err
		}
		if err := met.none(); err != nil {
			return "", err
		}
		w.times.revert = switched(op)
		return fmt.Sprintf("back on %s after %s; %s", ref(m.main.Number), seconds(switched(op)), met), nil
	})
}

// inFlight is how many requests of a probe a killed edge or application can
// take along.
const inFlight = 60

func (w *world) killing(ctx context.Context, m *memory) error {
	w.show.part("kill -9 in the middle of a deployment")
	var op bosman.Operation
	if err := w.show.step("of bosman serve, at the backup: the deployment is resumed", func() (string, error) {
		// A release that was taken back is not deployed again just so.
		err := w.bosman(ctx, "anna", nil, "deploy", "live", "--release", ref(m.feature.Number))
		if _, ok := refused(err, 3); !ok {
			return "", fmt.Errorf("%s was reverted and is deployed again: %w", ref(m.feature.Number), orNil(err))
		}
		p := w.probe(ctx, mixed...)
		err = w.killServe(ctx, m.feature.Number, &op)
		if err == nil {
			op, err = w.op(ctx, op.Number, true)
		}
		if err == nil {
			err = well(op)
		}
		if err == nil {
			err = w.serves(ctx, m.feature)
		}
		met := p.stop()
		if err != nil {
			return "", err
		}
		return met.String(), met.none()
	}); err != nil {
		return err
	}
	for _, k := range []struct {
		name  string
		allow int64
		pid   func() (int, error)
	}{
		{"of the shim of live", 0, func() (int, error) { s, err := w.liveShim(ctx); return s.Shim.PID, err }},
		{"of an application process of live", inFlight, func() (int, error) {
			s, err := w.liveShim(ctx)
			if err != nil || len(s.Slots) == 0 {
				return 0, fmt.Errorf("live has no process: %w", orNil(err))
			}
			if workers := children(s.Slots[0].Run.PID); len(workers) > 0 {
				return workers[0], nil
			}
			return s.Slots[0].Run.PID, nil
		}},
		{"of the edge", inFlight, func() (int, error) {
			s, err := w.edgeShim()
			if err != nil || len(s.Slots) == 0 {
				return 0, fmt.Errorf("the edge has no process: %w", orNil(err))
			}
			return s.Slots[0].Run.PID, nil
		}},
	} {
		if err := w.show.step(k.name, func() (string, error) {
			p := w.probe(ctx, mixed...)
			time.Sleep(500 * time.Millisecond)
			pid, err := k.pid()
			if err == nil {
				err = kill(pid)
			}
			time.Sleep(2 * time.Second)
			met := p.stop()
			if err != nil {
				return "", err
			}
			if err := w.serves(ctx, m.feature); err != nil {
				return "", err
			}
			return met.String(), met.atMost(k.allow)
		}); err != nil {
			return err
		}
	}
	return w.show.step("the deployment ends well, nothing is left over", func() (string, error) {
		var err error
		if op, err = w.op(ctx, op.Number, false); err != nil {
			return "", err
		}
		if err := well(op); err != nil {
			return "", err
		}
		i, err := w.settled(ctx, "live", m.feature.Number, 20*time.Second)
		return "live runs " + ref(i.Release), err
	})
}

// killServe begins a deployment, kills the server during its backup and
// starts it again.
func (w *world) killServe(ctx context.Context, feature int, op *bosman.Operation) error {
	if err := w.bosman(ctx, "", op, "deploy", "live", "--release", ref(feature), "--override", "the star may be yellow"); err != nil {
		return err
	}
	if err := w.until(ctx, "the backup begins", time.Minute, func() (bool, error) {
		o, err := w.client.Operation(ctx, App, op.Number)
		if errors.Is(err, client.ErrUnreachable) {
			return false, nil
		}
		for _, s := range o.Steps {
			if s.Name == "backup" && s.State != bosman.StepWaiting {
				return true, nil
			}
		}
		if o.State.Final() {
			return false, well(o)
		}
		return false, err
	}); err != nil {
		return err
	}
	if err := w.serve.Process.Kill(); err != nil {
		return err
	}
	if err := <-w.ended; err == nil {
		return errors.New("bosman serve ended well although it was killed")
	}
	w.serve = nil
	time.Sleep(time.Second)
	return w.startServe(ctx)
}

func (w *world) breaking(ctx context.Context, m *memory) error {
	w.show.part("A release that breaks under load")
	bad := 0
	if err := w.show.step("bosman merge bad-500; staging takes it", func() (string, error) {
		var merged wire.Merged
		if err := w.bosman(ctx, "anna", &merged, "merge", "bad-500", "--wait"); err != nil {
			return "", err
		}
		bad = merged.Release
		_, err := w.settled(ctx, "staging", bad, time.Minute)
		return ref(bad) + " was tested, so nothing is built again", err
	}); err != nil {
		return err
	}
	if err := w.show.step("deployed to live, it is reverted by itself", func() (string, error) {
		return w.selfRevert(ctx, m, bad)
	}); err != nil {
		return err
	}
	if err := w.show.step("the bad release is marked and not deployed again", func() (string, error) {
		r, err := w.release(ctx, bad)
		if err != nil {
			return "", err
		}
		if r.Bad == "" {
			return "", fmt.Errorf("%s is not marked", ref(bad))
		}
		err = w.bosman(ctx, "anna", nil, "deploy", "live", "--release", ref(bad))
		if _, ok := refused(err, 3); !ok {
			return "", fmt.Errorf("%s was taken again: %w", ref(bad), orNil(err))
		}
		return r.Bad, nil
	}); err != nil {
		return err
	}
	return w.show.step("the application reported the problem", func() (string, error) {
		var all []bosman.Problem
		found := -1
		err := w.until(ctx, "the problem NoSlot is listed", 20*time.Second, func() (bool, error) {
			err := w.bosman(ctx, "anna", &all, "problems")
			found = slices.IndexFunc(all, func(p bosman.Problem) bool {
				return strings.Contains(p.Title, "NoSlot") && slices.Contains(p.Instances, "live")
			})
			return found >= 0, err
		})
		if err != nil {
			return "", err
		}
		p := all[found]
		if p.FirstRelease != bad {
			return "", fmt.Errorf("the problem is said to be of %s, not of %s", ref(p.FirstRelease), ref(bad))
		}
		return fmt.Sprintf("%s %s, %d times on live, since %s", bosman.Ref(bosman.LetterProblem, p.Number), p.Title, p.Events, ref(p.FirstRelease)), nil
	})
}

// selfRevert deploys the bad release under load, with candidates coming in.
func (w *world) selfRevert(ctx context.Context, m *memory, bad int) (string, error) {
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var written atomic.Int64
	writer := beside(func() error {
		for n := 100; writing.Err() == nil; n++ {
			if err := m.live.add(ctx, n, "Torun"); err == nil {
				written.Add(1)
			}
			select {
			case <-writing.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
		return nil
	})
	p := w.probe(ctx, "/candidates/", "/healthz", "/healthz", "/healthz")
	var asked bosman.Operation
	err := w.bosman(ctx, "anna", &asked, "deploy", "live", "--release", ref(bad))
	var op bosman.Operation
	if err == nil {
		op, err = w.op(ctx, asked.Number, false)
	}
	if err == nil {
		_, err = w.settled(ctx, "live", m.feature.Number, time.Minute)
	}
	if err == nil {
		op, err = w.op(ctx, asked.Number, false) // once more: the revert says how it ended
	}
	met := p.stop()
	stop()
	if werr := writer.wait(); err == nil {
		err = werr
	}
	if err != nil {
		return "", err
	}
	if op.State != bosman.OpReverted {
		return "", fmt.Errorf("the deployment of %s is %s, not reverted", ref(bad), op.State)
	}
	if err := w.serves(ctx, m.feature); err != nil {
		return "", err
	}
	var ops []bosman.Operation
	if err := w.bosman(ctx, "anna", &ops, "deployments", "live"); err != nil {
		return "", err
	}
	at := slices.IndexFunc(ops, func(o bosman.Operation) bool { return o.Plan == bosman.PlanRevert && o.Reverts == op.Number })
	if at < 0 || !ops[at].Auto {
		return "", errors.New("no revert by itself is listed")
	}
	for _, s := range ops[at].Steps {
		if s.Name == "switch" {
			w.times.self = s.EndedAt.Sub(op.CreatedAt.Add(switched(op)))
		}
	}
	n, err := m.live.count(ctx, "city=Torun")
	if err != nil {
		return "", err
	}
	if n < int(written.Load()) || n == 0 {
		return "", fmt.Errorf("%d candidates were taken in meanwhile, %d are there", written.Load(), n)
	}
	return fmt.Sprintf("%s after the switch; why: %s\n%s; all %d candidates taken in meanwhile are there", seconds(w.times.self), ops[at].Why, met, n), nil
}

func (w *world) backups(ctx context.Context, m *memory) error {
	w.show.part("Backups")
	return w.show.step("backup make, a mistake, backup restore", func() (string, error) {
		before, err := m.live.count(ctx, "")
		if err != nil {
			return "", err
		}
		if err := w.bosman(ctx, "", nil, "backup", "make", "live", "--wait"); err != nil {
			return "", err
		}
		var list []bosman.Backup
		if err := w.bosman(ctx, "", &list, "backup", "list", "--instance", "live"); err != nil {
			return "", err
		}
		if len(list) == 0 || list[0].VerifiedAt.IsZero() {
			return "", errors.New("the backup is not verified")
		}
		if _, err := w.bosmanText(ctx, "", nil, "run", "live", "--", ".venv/bin/python", "manage.py", "shell", "-c", "from candidates.models import Candidate; Candidate.objects.all().delete()"); err != nil {
			return "", err
		}
		if n, err := m.live.count(ctx, ""); err != nil || n != 0 {
			return "", fmt.Errorf("%d candidates are left after all were deleted: %w", n, orNil(err))
		}
		number := bosman.Ref(bosman.LetterBackup, list[0].Number)
		err = w.bosman(ctx, "anna", nil, "backup", "restore", number, "--yes")
		if _, ok := refused(err, 3); !ok {
			return "", fmt.Errorf("a tester may not restore live, but: %w", orNil(err))
		}
		var op bosman.Operation
		if err := w.bosman(ctx, "", &op, "backup", "restore", number, "--yes", "--wait"); err != nil {
			return "", err
		}
		live, err := w.visit(ctx, "live", "anna", password("anna"))
		if err != nil {
			return "", err
		}
		m.live = live
		after, err := live.count(ctx, "")
		if err != nil || after != before {
			return "", fmt.Errorf("%d candidates after the restore instead of %d: %w", after, before, orNil(err))
		}
		return fmt.Sprintf("all %d candidates are back from %s in %s", after, number, seconds(op.EndedAt.Sub(op.CreatedAt))), nil
	})
}

func (w *world) everyday(ctx context.Context, m *memory) error {
	w.show.part("Every day")
	if err := w.show.step("bosman run, log, status, activity", func() (string, error) {
		said, err := w.bosmanText(ctx, "", nil, "run", "live", "--", "sh", "-c", "echo $BOSMAN_INSTANCE $BOSMAN_RELEASE")
		if want := "live " + ref(m.feature.Number); err != nil || strings.TrimSpace(said) != want && strings.TrimSpace(said) != fmt.Sprintf("live %d", m.feature.Number) {
			return "", fmt.Errorf("run says %q, not %q: %w", said, want, orNil(err))
		}
		err = w.bosman(ctx, "anna", nil, "run", "live", "--", "true")
		if _, ok := refused(err, 3); !ok {
			return "", fmt.Errorf("a tester may not run commands on live, but: %w", orNil(err))
		}
		log, err := w.bosmanText(ctx, "anna", nil, "log", "live", "-n", "20")
		if err != nil || strings.TrimSpace(log) == "" {
			return "", fmt.Errorf("live has no log: %w", orNil(err))
		}
		var jobs []wire.Job
		if err := w.bosman(ctx, "anna", &jobs, "status"); err != nil {
			return "", err
		}
		if len(jobs) < 5 {
			return "", fmt.Errorf("the table has %d rows", len(jobs))
		}
		var lines []bosman.Activity
		if err := w.bosman(ctx, "anna", &lines, "activity", "--max", "500"); err != nil {
			return "", err
		}
		for _, want := range []string{"merged c", "go back to", "restore k", "sent back"} {
			if !slices.ContainsFunc(lines, func(l bosman.Activity) bool { return strings.Contains(l.What, want) }) {
				return "", fmt.Errorf("the activity log has no line with %q", want)
			}
		}
		if len(lines) < 20 {
			return "", fmt.Errorf("the activity log has %d lines", len(lines))
		}
		return fmt.Sprintf("%d rows, %d lines of activity", len(jobs), len(lines)), nil
	}); err != nil {
		return err
	}
	if err := w.show.step("bosman restart live, under the probe", func() (string, error) {
		p := w.probe(ctx, mixed...)
		err := w.bosman(ctx, "", nil, "restart", "live", "--wait")
		met := p.stop()
		if err != nil {
			return "", err
		}
		return met.String(), met.none()
	}); err != nil {
		return err
	}
	return w.show.step("two changes whose migrations collide are told before the merge", func() (string, error) {
		var told string
		for _, b := range []string{"migration-a", "migration-b"} {
			pushing, hangUp := context.WithCancel(ctx)
			p := w.push(pushing, "piotr", b, func(l string) {
				if strings.HasPrefix(l, "! ") {
					told = l
				}
				if strings.HasPrefix(l, "http") {
					hangUp() // the build goes on without us
				}
			})
			hungUp := pushing.Err() != nil
			hangUp()
			if p.err != nil && !hungUp {
				return "", p.err
			}
		}
		v, err := w.change(ctx, "piotr", "migration-a")
		if err != nil {
			return "", err
		}
		if told == "" || len(v.Hazards) == 0 {
			return "", fmt.Errorf("nothing is said of the collision; on the change: %v", v.Hazards)
		}
		for _, b := range []string{"migration-a", "migration-b"} {
			if v, err := w.change(ctx, "piotr", b); err == nil && v.Build != nil && !v.Build.State.Final() {
				if err := w.bosman(ctx, "piotr", nil, "cancel", bosman.Ref(bosman.LetterBuild, v.Build.Number), "--why", "the demo saw enough"); err != nil {
					return "", err
				}
			}
		}
		return strings.TrimPrefix(told, "! "), nil
	})
}

func (w *world) reboot(ctx context.Context, m *memory) error {
	w.show.part("A reboot")
	if err := w.show.step("every process is killed; bosman serve brings all back", func() (string, error) {
		before, err := w.client.Instances(ctx, App)
		if err != nil {
			return "", err
		}
		killed := w.killAll()
		if w.serve != nil {
			if err := <-w.ended; err == nil {
				return "", errors.New("bosman serve ended well although it was killed")
			}
			w.serve = nil
		}
		if err := w.startServe(ctx); err != nil {
			return "", err
		}
		up := 0
		for _, i := range before {
			if i.Release == 0 || i.Stopped {
				continue
			}
			if err := w.until(ctx, i.Name+" answers again", 40*time.Second, func() (bool, error) {
				v := &visitor{w: w, instance: i.Name, client: w.httpClient(10 * time.Second)}
				if err := v.letIn(); err != nil {
					return false, err
				}
				code, _, err := v.do(ctx, http.MethodGet, "/healthz", "", nil)
				return err == nil && code == http.StatusOK, nil
			}); err != nil {
				return "", err
			}
			up++
		}
		if err := w.until(ctx, "all are seen to run", 20*time.Second, func() (bool, error) {
			now, err := w.client.Instances(ctx, App)
			well := 0
			for _, i := range now {
				if i.State == bosman.InstanceRunning {
					well++
				}
			}
			return well == up, err
		}); err != nil {
			return "", err
		}
		if err := w.serves(ctx, m.feature); err != nil {
			return "", err
		}
		n, err := m.live.count(ctx, "city=Torun")
		if err != nil || n == 0 {
			return "", fmt.Errorf("%d candidates are there after the reboot: %w", n, orNil(err))
		}
		return fmt.Sprintf("%d processes killed; %d instances serve again", killed, up), nil
	}); err != nil {
		return err
	}
	status, err := w.bosmanText(ctx, "anna", nil, "status")
	if err != nil {
		return err
	}
	w.show.print("\n%s", status)
	return nil
}

// killAll kills every process of the demo, as a power cut would.
func (w *world) killAll() int {
	pids := w.processes()
	for _, s := range w.shims() {
		for _, slot := range s.Slots {
			pids = append(pids, append(children(slot.Run.PID), slot.Run.PID)...)
		}
	}
	slices.Sort(pids)
	pids = slices.Compact(pids)
	n := 0
	for _, pid := range pids {
		if pid > 1 && syscall.Kill(pid, syscall.SIGKILL) == nil {
			n++
		}
	}
	return n
}

// explain says at length what did not hold.
func (w *world) explain(out io.Writer, err error) {
	text := "\n" + err.Error() + "\n"
	var be *bosman.Error
	if errors.As(err, &be) && be.Next != "" {
		text += "next: " + be.Next + "\n"
	}
	_, _ = io.WriteString(out, text) // the exit code says it too
}
