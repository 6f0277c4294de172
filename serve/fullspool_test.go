package serve

import (
	"net/http"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// fullSpool lets segments of the log go, since too many wait, while live is
// deployed to: what lies between them and the next base backup, which is made
// by itself, is promised by nobody; what was before it stays.
func (w *world) fullSpool(admin bosman.Actor, reach func() bosman.PointInTime) {
	t, ctx := w.t, w.t.Context()
	t.Helper()
	before := reach()
	c := w.s.timeline.kept().Cluster
	told := func(most int64) {
		t.Helper()
		c.SpoolMost = most
		if _, err := c.Reload(ctx); err != nil {
			t.Fatal(err)
		}
	}
	finish := func() {
		t.Helper()
		if _, err := c.FinishSegment(ctx); err != nil {
			t.Fatal(err)
		}
	}
	finish()
	w.until("what was written before is stored", time.Minute, func() bool { p := reach(); return p.Waiting == 0 && p.Trouble == "" })
	told(1)
	op := w.must("deploy", "live", "1")
	if code, body := w.get("live", "/add/unkept"); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	gone := time.Now()
	finish()
	const letGo = "segments of the log were let go"
	w.until("it is said, also by the doctor", time.Minute, func() bool {
		return strings.Contains(reach().Trouble, letGo) && strings.Contains(readTimeline(w.data).Trouble, letGo)
	})
	told(0)
	if code, body := w.get("live", "/add/kept"); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	finish()
	after := "tiny-" + opRef(op.Number)
	refused := func(when string) {
		t.Helper()
		for _, p := range reach().Points {
			if of := strings.TrimSuffix(p.Name, "-before"); p.Reachable == (of == after) {
				t.Errorf("%s: %s can be reached: %v", when, p.Name, p.Reachable)
			}
		}
		for _, m := range []bosman.Moment{{Point: after}, {Point: after + "-before"}, {At: gone}} {
			_, err := w.s.helm.RecoverTo(ctx, admin, "tiny", "live", m)
			if e := bosman.AsError(err); bosman.KindOf(err) != bosman.KindNotFound || !strings.Contains(e.Message, "is missing") || e.Kept != "nothing was changed" || !strings.Contains(e.Next, "moments that can be reached: ") {
				t.Errorf("%s: %+v: %v", when, m, err)
			}
		}
	}
	w.until("the points are listed, and what follows the gap is stored", time.Minute, func() bool {
		_, err := w.s.helm.PlanRecovery(ctx, admin, "tiny", "live", bosman.Moment{Point: after})
		return len(reach().Points) == len(before.Points)+2 && err != nil && strings.Contains(err.Error(), "is missing")
	})
	refused("let go")

	// The next start sees at once what else is seen within minutes.
	w.stop()
	w.start()
	w.until("a base backup goes on behind the gap", 3*time.Minute, func() bool {
		p := reach()
		return p.Base.After(gone) && p.Trouble == "" && len(p.Spans) == len(before.Spans)+1
	})
	if s := reach().Spans; s[0].To.After(gone) || s[len(s)-1].From.Before(gone) {
		t.Errorf("the gap of %s is promised: %v", gone, s)
	}
	refused("with a newer base backup")
	if plan, err := w.s.helm.PlanRecovery(ctx, admin, "tiny", "live", bosman.Moment{At: time.Now()}); err != nil || plan.Base.Before(gone) {
		t.Errorf("behind the gap: %+v, %v", plan, err)
	}
}
