package serve

import (
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/need"
)

// A release command that only destroys data is none that changed nothing: the
// code alone does not go back over it.
func TestDeletedByRelease(t *testing.T) {
	need.Slow(t, "builds and deploys three releases with a database")
	t.Parallel()
	w, create := migratedWorld(t)
	ctx, admin := t.Context(), bosman.Actor{Person: firstAdmin, From: "test"}
	w.release(1, "id", create)
	w.must("deploy", "live", "1")
	for n, sql := range []string{"DELETE FROM note\n", "TRUNCATE note\n"} {
		w.get("live", "/add/one")
		w.release(n+2, "id", create+sql)
		d := w.must("deploy", "live", string(rune('2'+n)))
		p, err := w.s.helm.PlanRevert(ctx, admin, "tiny", "live")
		if err != nil {
			t.Fatal(err)
		}
		if p.Policy != bosman.RevertRestore && p.Policy != bosman.RevertAsk || !strings.Contains(p.Schema, "rows of public.note were deleted") || p.Refused == "" {
			t.Errorf("%s: %s %q %q, the code alone: %q; %s", sql, p.Policy, p.Why, p.Schema, p.Refused, stepNote(d, "migrate"))
		}
		_, err = w.s.helm.Revert(ctx, admin, helm.RevertRequest{App: "tiny", Instance: "live"})
		if bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), "rollback floor") {
			t.Errorf("%s: with the code alone: %v", sql, err)
		}
	}
}
