package serve

import (
	"context"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/instance/runtime/process"
)

// sets is the driver of process sets, with one rule more: what was stopped
// stays so until an operation wants it again. The comparison of what runs with
// what should run decides on what was true a moment ago, and must not start
// old processes on data that changes places.
//
//	wanted ──Stop──► stopped ──want──► wanted
type sets struct {
	*process.Driver
	mu   sync.Mutex
	each map[string]*set // by Spec.ID
}

type set struct {
	sync.Mutex      // held while it is started or stopped
	stopped    bool // guarded by sets.mu
}

func newSets(d *process.Driver) *sets { return &sets{Driver: d, each: map[string]*set{}} }

// mark notes whether a process set is stopped on purpose.
func (s *sets) mark(id string, stopped bool) *set {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.each[id]
	if one == nil {
		one = &set{}
		s.each[id] = one
	}
	one.stopped = stopped
	return one
}

// want says that an operation starts the process set.
func (s *sets) want(id string) { s.mark(id, false) }

// Start starts a process set, or finds it running, unless it was stopped on
// purpose since somebody wanted it.
func (s *sets) Start(ctx context.Context, spec runtime.Spec) (runtime.Handle, error) {
	s.mu.Lock()
	one := s.each[spec.ID]
	skip := one != nil && one.stopped
	s.mu.Unlock()
	if skip {
		return spec.Handle(), nil
	}
	if one == nil {
		one = s.mark(spec.ID, false)
	}
	one.Lock()
	defer one.Unlock()
	s.mu.Lock()
	skip = one.stopped // while we waited
	s.mu.Unlock()
	if skip {
		return spec.Handle(), nil
	}
	return s.Driver.Start(ctx, spec)
}

// Stop ends a process set; a start under way is waited for.
func (s *sets) Stop(ctx context.Context, h runtime.Handle, limit time.Duration) error {
	one := s.mark(h.ID, true)
	one.Lock()
	defer one.Unlock()
	return s.Driver.Stop(ctx, h, limit)
}

// routesWait bounds how long the comparison waits for the edge.
const routesWait = time.Second

// serving gives the process sets that an instance serves with, also while an
// operation owns it: nothing unless it is routed, for else its data may be
// changing places.
func (n *instances) serving(ctx context.Context, i bosman.Instance) (map[string]deploy.Part, error) {
	if i.Release == 0 || i.Stopped || i.ProcessID == "" {
		return nil, nil
	}
	parts := map[string]deploy.Part{i.ProcessID: deploy.PartWeb, deploy.WorkID(i.ProcessID): deploy.PartWork}
	if i.Operation == 0 {
		return parts, nil
	}
	ctx, cancel := context.WithTimeout(ctx, routesWait)
	defer cancel()
	all, err := n.edge.Routes(ctx)
	if err != nil {
		return nil, err
	}
	routed := false
	for _, r := range all {
		routed = routed || r.App == i.App && r.Instance == i.Name && r.Stopped == "" && !r.Held
	}
	if !routed {
		return nil, nil
	}
	op, err := n.records.Operation(ctx, i.App, i.Operation)
	if err != nil {
		return nil, err
	}
	// The workers change from one release to the next in a step of their own,
	// after the switch; until then they are the operation's affair.
	starter, _, _ := deploy.ParseSetID(i, i.ProcessID)
	before := op.Plan != bosman.PlanRevert && starter != op.Number
	if !before && op.State != bosman.OpWatching {
		delete(parts, deploy.WorkID(i.ProcessID))
	}
	return parts, nil
}
