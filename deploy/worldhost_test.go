package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// Processes and routes.

func (w *world) Start(ctx context.Context, l Launch) error {
	return w.call(ctx, "Start."+string(l.Part), func(s *state) error {
		if r, runs := s.Sets[l.ID]; runs && r != l.Release {
			s.Violations = append(s.Violations, fmt.Sprintf("%s runs r%d and was asked for r%d", l.ID, r, l.Release))
		}
		s.Sets[l.ID] = l.Release
		return nil
	})
}

func (w *world) Hold(ctx context.Context, i bosman.Instance, fence int, until time.Time) error {
	return w.call(ctx, "Hold", func(s *state) error {
		if s.Routes[i.Name].Fence > fence {
			return bosman.Conflict("a later operation has routed it")
		}
		s.Held[i.Name] = until
		return nil
	})
}

func (w *world) Unhold(ctx context.Context, i bosman.Instance, _ int) error {
	return w.call(ctx, "Unhold", func(s *state) error { delete(s.Held, i.Name); return nil })
}

func (w *world) Stop(ctx context.Context, _ bosman.Instance, id string) error {
	return w.call(ctx, "Stop", func(s *state) error { delete(s.Sets, id); return nil })
}

func (w *world) Running(_ context.Context, i bosman.Instance) ([]string, error) {
	var ids []string
	for id := range w.see().Sets {
		if strings.HasPrefix(id, i.App+"."+i.Name+".") {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (w *world) Check(ctx context.Context, l Launch) (Checked, error) {
	c := Checked{Health: fmt.Sprintf(`200 {"release": "r%d"}`, l.Release), Requests: 1, Took: time.Second}
	err := w.call(ctx, "Check", func(s *state) error {
		if s.Sets[l.ID] != l.Release {
			return bosman.Failed("%s does not run", l.ID)
		}
		return nil
	})
	if err != nil {
		c = Checked{Health: "503 no", Failure: &bosman.Failure{Health: "503 no", Exit: "exit status 3", LogTail: "boom"}}
	}
	return c, err
}

func (w *world) Run(ctx context.Context, l Launch, c Command) (Ran, error) {
	err := w.call(ctx, "Run."+c.Label, func(s *state) error {
		d := s.Data[l.Instance.Database.Name]
		if c.Label == "seed" {
			d.Rows = append(d.Rows, "seed")
		} else if !slices.Contains(d.Schema, l.Release) {
			d.Schema = append(d.Schema, l.Release)
		}
		s.Data[l.Instance.Database.Name] = d
		return nil
	})
	var b *bosman.Error
	if errors.As(err, &b) && b.Kind == bosman.KindFailed { // the test's way to say that it ended badly
		return Ran{Exit: "exit status 1", Tail: "Traceback"}, nil
	}
	return Ran{OK: true, Took: time.Second}, err
}

func (w *world) Switch(ctx context.Context, l Launch) error {
	return w.call(ctx, "Switch", func(s *state) error {
		if s.Routes[l.Instance.Name].Fence > l.Fence {
			return bosman.Conflict("a later operation has routed it")
		}
		s.Routes[l.Instance.Name] = Routed{Fence: l.Fence, Release: l.Release, ID: l.ID}
		delete(s.Closed, l.Instance.Name)
		return nil
	})
}

func (w *world) Close(ctx context.Context, i bosman.Instance, fence int, why string) error {
	return w.call(ctx, "Close", func(s *state) error {
		s.Routes[i.Name], s.Closed[i.Name] = Routed{Fence: fence}, why
		return nil
	})
}

func (w *world) Current(ctx context.Context, i bosman.Instance) (Routed, error) {
	err := w.call(ctx, "Current", func(*state) error { return nil })
	return w.see().Routes[i.Name], err
}

func (w *world) Drain(ctx context.Context, i bosman.Instance, id string) error {
	return w.call(ctx, "Drain", func(*state) error { return nil })
}

// Git.

func (w *world) Tag(ctx context.Context, _, name, commit, _ string) error {
	return w.call(ctx, "Tag", func(s *state) error { s.Tags[name] = commit; return nil })
}

// IsAncestor holds for lower numbers: commit c1 is part of c2.
func (w *world) IsAncestor(_ context.Context, _, older, newer string) (bool, error) {
	return older <= newer, nil
}

// Watch does as the hook says; without one all is well at the end.
func (w *world) Watch(ctx context.Context, x Watching) (bosman.WatchVerdict, error) {
	w.mu.Lock()
	hook := w.hook["Watch"]
	w.mu.Unlock()
	if os.Getenv("DEPLOY_BAD") != "" || hook != nil && hook(ctx) != nil {
		return bosman.WatchVerdict{Reason: "31 of 52 requests answered 5xx (before: 0 of 480)"}, nil
	}
	return bosman.WatchVerdict{Well: true, Reason: "0 of 120"}, pause(ctx, time.Until(x.Until))
}

func newWorld(dir string) *world { return &world{path: filepath.Join(dir, "world.json")} }
