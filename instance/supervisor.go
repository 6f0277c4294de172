package instance

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/runtime"
	"golang.org/x/sync/errgroup"
)

// Supervisor keeps process sets running through a runtime.
type Supervisor struct {
	rt  runtime.Runtime
	log *slog.Logger
}

// NewSupervisor makes one.
func NewSupervisor(rt runtime.Runtime, log *slog.Logger) *Supervisor {
	return &Supervisor{rt: rt, log: log}
}

// Start starts a process set or finds it running.
func (sv *Supervisor) Start(ctx context.Context, s runtime.Spec) (runtime.Handle, error) {
	return sv.rt.Start(ctx, s)
}

// Status tells how a process set does.
func (sv *Supervisor) Status(ctx context.Context, h runtime.Handle) (runtime.Status, error) {
	return sv.rt.Status(ctx, h)
}

// Stop ends a process set; limit 0 gives each process its own time.
func (sv *Supervisor) Stop(ctx context.Context, h runtime.Handle, limit time.Duration) error {
	return sv.rt.Stop(ctx, h, limit)
}

// Exec runs a one-off command in the surroundings of s.
func (sv *Supervisor) Exec(ctx context.Context, s runtime.Spec, c runtime.Command) (runtime.Exit, error) {
	ex, ok := sv.rt.(runtime.Execer)
	if !ok {
		return runtime.Exit{}, bosman.Unavailable("commands cannot be run where this instance runs")
	}
	return ex.Exec(ctx, s, c)
}

// List finds the process sets on the host; nil if the runtime cannot tell.
func (sv *Supervisor) List(ctx context.Context) ([]runtime.Handle, error) {
	lister, ok := sv.rt.(runtime.Lister)
	if !ok {
		return nil, nil
	}
	return lister.List(ctx)
}

// StateOf is the state of an instance whose process set has this status.
func StateOf(st runtime.Status) bosman.InstanceState {
	switch st.State {
	case runtime.StateStarting:
		return bosman.InstanceStarting
	case runtime.StateRunning:
		return bosman.InstanceRunning
	case runtime.StateCrashed:
		return bosman.InstanceUnwell
	case runtime.StateStopped, runtime.StateGone:
		return bosman.InstanceStopped
	case runtime.StateUnwatched:
		return bosman.InstanceUnwell
	case runtime.StateUnknown:
	}
	return bosman.InstanceUnknown
}

// Reconciled is what Reconcile did, by Spec.ID.
type Reconciled struct {
	Started []string         // nothing of them ran, e.g. after a reboot
	Adopted []string         // they ran without a keeper
	Stopped []string         // nobody wants them
	Errors  map[string]error // what could not be done; the others were
}

// Reconcile makes what runs what is desired: starts what is missing, gives
// those without a keeper a new one, and stops what the runtime finds beyond
// that, save what keep says is somebody's (an operation under way starts
// processes before they are desired; keep may be nil). What cannot be asked
// is left alone.
func (sv *Supervisor) Reconcile(ctx context.Context, desired []runtime.Spec, keep func(id string) bool) (Reconciled, error) {
	out := Reconciled{Errors: map[string]error{}}
	type result struct {
		id   string
		what *[]string
		err  error
	}
	results := make(chan result, len(desired))
	var g errgroup.Group
	g.SetLimit(4) // a whole host comes up at a reboot: not all at once
	want := map[string]bool{}
	for _, s := range desired {
		want[s.ID] = true
		g.Go(func() error {
			what, err := sv.ensure(ctx, s, &out)
			results <- result{s.ID, what, err}
			return nil
		})
	}
	_ = g.Wait() // errors travel in results
	close(results)
	for r := range results {
		if r.err != nil {
			out.Errors[r.id] = r.err
		} else if r.what != nil {
			*r.what = append(*r.what, r.id)
		}
	}
	return out, errors.Join(ctx.Err(), sv.stopOrphans(ctx, want, keep, &out))
}

func (sv *Supervisor) ensure(ctx context.Context, s runtime.Spec, out *Reconciled) (*[]string, error) {
	st, err := sv.rt.Status(ctx, s.Handle())
	if err != nil {
		return nil, err
	}
	var what *[]string
	switch st.State {
	case runtime.StateUnwatched:
		what = &out.Adopted
	case runtime.StateGone, runtime.StateStopped:
		what = &out.Started
	case runtime.StateRunning, runtime.StateStarting, runtime.StateCrashed, runtime.StateUnknown:
		return nil, nil
	}
	_, err = sv.rt.Start(ctx, s)
	return what, err
}

func (sv *Supervisor) stopOrphans(ctx context.Context, want map[string]bool, keep func(string) bool, out *Reconciled) error {
	found, err := sv.List(ctx)
	if err != nil {
		return err
	}
	for _, h := range found {
		if want[h.ID] || (keep != nil && keep(h.ID)) {
			continue
		}
		st, err := sv.rt.Status(ctx, h)
		if err != nil {
			return err
		}
		if st.State == runtime.StateGone || st.State == runtime.StateUnknown {
			continue
		}
		if err := sv.rt.Stop(ctx, h, 0); err != nil {
			out.Errors[h.ID] = err
			continue
		}
		if f, ok := sv.rt.(interface{ Forget(runtime.Handle) error }); ok {
			if err := f.Forget(h); err != nil {
				out.Errors[h.ID] = err
				continue
			}
		}
		out.Stopped = append(out.Stopped, h.ID)
	}
	return nil
}

// Watch reconciles at once and then every so often until ctx ends: a shim
// that dies is replaced soon. What desired cannot tell is tried again.
func (sv *Supervisor) Watch(ctx context.Context, every time.Duration, desired func(context.Context) ([]runtime.Spec, func(id string) bool, error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		specs, keep, err := desired(ctx)
		var done Reconciled
		if err == nil {
			done, err = sv.Reconcile(ctx, specs, keep)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			sv.log.Error("instances could not be compared with what should run", "err", err)
		}
		for id, err := range done.Errors {
			sv.log.Error("process set", "id", id, "err", err)
		}
		if len(done.Started)+len(done.Adopted)+len(done.Stopped) > 0 {
			sv.log.Info("instances reconciled", "started", done.Started, "adopted", done.Adopted, "stopped", done.Stopped)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
