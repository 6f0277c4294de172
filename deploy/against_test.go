package deploy

import (
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// The floor is made of what the migrations say and do, not of tables and
// columns alone. Rows that went away speak against the release before where
// the migrations cannot be read, or nobody else can have deleted them.
func TestFloorOfWhatMigrationsSay(t *testing.T) {
	for name, c := range map[string]struct {
		against Against
		removed string
		want    string
	}{
		"the texts speak against it": {Against{Why: "shop.0008: DELETE FROM note", Known: true}, "", "shop.0008: DELETE FROM note"},
		"rows went, no texts":        {Against{}, "rows of public.note were deleted", "rows of public.note were deleted"},
		"rows went, others were in":  {Against{Known: true}, "rows of public.note were deleted", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.against, f.removed = c.against, c.removed
			op := f.wait(f.ask(bosman.PlanDeploy, "live", 2))
			if op.State != bosman.OpDone {
				t.Fatalf("%s %v", op.State, op.Error)
			}
			if op.WayBack.Destructive != (c.want != "") || !strings.Contains(op.WayBack.Schema, c.want) || !strings.Contains(note(op, "migrate"), c.want) {
				t.Errorf("%+v; %s", op.WayBack, note(op, "migrate"))
			}
		})
	}
}
