package serve

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/instance/runtime/process"
	"github.com/bosman-cd/bosman/internal/need"
)

func TestWhatWasStoppedIsStartedOnPurposeOnly(t *testing.T) {
	need.Slow(t, "starts processes")
	dir, err := os.MkdirTemp("", "sets") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	d, err := process.New(process.Options{RunGlob: filepath.Join(dir, "run", "*")})
	if err != nil {
		t.Fatal(err)
	}
	s := newSets(d)
	spec := runtime.Spec{
		ID: "tiny.live.d1", RunDir: filepath.Join(dir, "run", "d1"), LogDir: filepath.Join(dir, "log"), Env: []string{"PATH=/usr/bin:/bin"},
		Processes: []runtime.Process{{Name: "web", Run: "exec sleep 1000"}},
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background(), spec.Handle(), 0); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		name string
		do   func() error
		up   bool
	}{
		{"the first start", func() error { _, err := s.Start(t.Context(), spec); return err }, true},
		{"stopped", func() error { return s.Stop(t.Context(), spec.Handle(), 0) }, false},
		{"a start that was decided before", func() error { _, err := s.Start(t.Context(), spec); return err }, false},
		{"wanted again", func() error { s.want(spec.ID); _, err := s.Start(t.Context(), spec); return err }, true},
	} {
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if st, err := s.Status(t.Context(), spec.Handle()); err != nil || (st.State != runtime.StateStopped) != c.up {
			t.Fatalf("%s: it is %s (%v)", c.name, st.State, err)
		}
	}
}
