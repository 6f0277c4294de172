package serve

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// TestWhoLeavesIsNotLookedAfter: while an instance is removed, who looks after
// what should run does not make its folders again.
func TestWhoLeavesIsNotLookedAfter(t *testing.T) {
	need.Root(t)
	w := newWorld(t, "sqlite")
	ctx := t.Context()
	w.push("anna", "main")
	w.staging(1)
	i, err := w.s.store.Instance(ctx, "tiny", "staging")
	if err != nil {
		t.Fatal(err)
	}
	n := w.s.instances
	wanted := func() bool {
		t.Helper()
		specs, _, err := n.desired(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range specs {
			if s.Instance == "staging" {
				return true
			}
		}
		return false
	}
	if !wanted() {
		t.Fatal("staging is not looked after")
	}
	n.leave(i, true)
	logs := filepath.Join(instanceDir(n.data, i.App, i.Name), "log")
	if err := os.RemoveAll(logs); err != nil {
		t.Fatal(err)
	}
	if wanted() {
		t.Error("it is looked after while it leaves")
	}
	if _, err := os.Stat(logs); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder was made again: %v", err)
	}
	next := i
	next.CreatedAt = next.CreatedAt.Add(1)
	if got := n.staying([]bosman.Instance{next}); len(got) != 1 {
		t.Error("the next one of its name is taken for it")
	}
	n.leave(i, true)
	n.leave(i, false) // it could not be removed
	if !wanted() {
		t.Error("it is not looked after again")
	}
	if _, err := os.Stat(logs); err != nil {
		t.Errorf("its folder is not there again: %v", err)
	}
}
