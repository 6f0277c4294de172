package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

// pen names moments and remembers what the world was like at each.
type pen struct {
	*world
	mu    sync.Mutex
	seen  []string
	fails func(ctx context.Context) error
}

func (p *pen) Name(ctx context.Context, i bosman.Instance, op bosman.Operation, when bosman.PointWhen) (string, error) {
	if p.fails != nil {
		if err := p.fails(ctx); err != nil {
			return "", err
		}
	}
	s := p.see()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, fmt.Sprintf("%s of %s: schema %v, routed to %s, held %v", when, opRef(op.Number), s.Data["live"].Schema, s.Routes["live"].ID, !s.Held["live"].IsZero()))
	return fmt.Sprintf("rms-%s-%s", opRef(op.Number), when), nil
}

func (p *pen) noted() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

// The moment before is that before the migrations, the moment after that of the
// switch; staging has neither, nor has a restart.
func TestPointsOfADeployment(t *testing.T) {
	f := newFixture(t)
	p := &pen{world: f.world}
	f.s.Points = p
	was := f.see().Routes["live"].ID
	first := f.wait(f.ask(bosman.PlanDeploy, "live", 1))
	second := f.wait(f.ask(bosman.PlanDeploy, "live", 2))
	f.wait(f.ask(bosman.PlanRestart, "live", 2))
	f.wait(f.ask(bosman.PlanDeploy, "staging", 2))
	if first.State != bosman.OpDone || second.State != bosman.OpDone {
		t.Fatalf("%v, %v", first.Error, second.Error)
	}
	want := []string{
		fmt.Sprintf("before of d%d: schema [1], routed to %s, held false", first.Number, was),
		fmt.Sprintf("after of d%d: schema [1], routed to rms.live.d%d, held false", first.Number, first.Number),
		fmt.Sprintf("before of d%d: schema [1], routed to rms.live.d%d, held false", second.Number, first.Number),
		fmt.Sprintf("after of d%d: schema [1 2], routed to rms.live.d%d, held false", second.Number, second.Number),
	}
	if got := p.noted(); !slices.Equal(got, want) {
		t.Errorf("named\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if w := second.WayBack; w == nil || w.Point != fmt.Sprintf("rms-d%d-before", second.Number) || w.PointAt.IsZero() {
		t.Errorf("the way back: %+v", w)
	}
	revert := f.wait(f.ask(bosman.PlanRevert, "live", 1, func(o *bosman.Operation) { o.Reverts = second.Number }))
	if got := p.noted(); revert.State != bosman.OpDone || len(got) != 6 || !strings.HasPrefix(got[4], "before of "+opRef(revert.Number)) || !strings.HasPrefix(got[5], "after of "+opRef(revert.Number)) {
		t.Errorf("the revert: %v, %s", revert.Error, got)
	}
}

// A point that cannot be named, or for which nobody answers, costs a
// deployment nothing but the time to see it.
func TestNoPointFailsADeployment(t *testing.T) {
	for what, fails := range map[string]func(context.Context) error{
		"it fails":       func(context.Context) error { return errors.New("the server is down") },
		"nobody answers": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.s.Points = &pen{world: f.world, fails: fails}
			f.wait(f.ask(bosman.PlanDeploy, "live", 1))
			begun := time.Now()
			op := f.wait(f.ask(bosman.PlanDeploy, "live", 2))
			if took := time.Since(begun); op.State != bosman.OpDone || op.WayBack != nil && op.WayBack.Point != "" {
				t.Errorf("%v after %s, way back %+v", op.Error, took, op.WayBack)
			}
			f.serves("live", 2)
		})
	}
}
