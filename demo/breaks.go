package demo

import (
	"context"
	"errors"
	"fmt"
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
		i, err := w.settled(ctx, "live", m.feature.Number, 2*time.Minute)
		return "live runs " + ref(i.Release), err
	})
}

// killServe begins a deployment, kills the server during its backup and
// starts it again.
func (w *world) killServe(ctx context.Context, feature int, op *bosman.Operation) error {
	if err := w.bosman(ctx, "", op, "deploy", "live", "--release", ref(feature), "--override", "the star may be yellow"); err != nil {
		return err
	}
	if err := w.until(ctx, "the backup begins", 5*time.Minute, func() (bool, error) {
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
		_, err := w.settled(ctx, "staging", bad, 5*time.Minute)
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
		err := w.until(ctx, "the problem NoSlot is listed", 2*time.Minute, func() (bool, error) {
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
		_, err = w.settled(ctx, "live", m.feature.Number, 5*time.Minute)
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
			if err := w.until(ctx, i.Name+" answers again", 2*time.Minute, func() (bool, error) {
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
		if err := w.until(ctx, "all are seen to run", 2*time.Minute, func() (bool, error) {
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
