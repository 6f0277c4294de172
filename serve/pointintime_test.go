package serve

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/database/postgres/archive"
	"github.com/bosman-cd/bosman/internal/need"
)

// Live is deployed to, somebody empties a table, and the database is recovered
// at the restore point of the deployment and at a moment after it; live stays
// until the recovered one is put in its place.
func TestPointInTime(t *testing.T) {
	need.Slow(t, "deploys a release with a database and recovers it")
	t.Parallel()
	w, create := migratedWorld(t)
	ctx := t.Context()
	admin := bosman.Actor{Person: firstAdmin, From: "test"}
	w.release(1, "old", create)
	_, err := w.s.helm.PlanRecovery(ctx, admin, "tiny", "staging", bosman.Moment{At: time.Now()})
	if e := bosman.AsError(err); bosman.KindOf(err) != bosman.KindNotFound || !strings.HasPrefix(e.Message, "point-in-time recovery is off") || e.Kept != "nothing was changed" || !strings.Contains(e.Next, "bosman serve --point-in-time 7") {
		t.Errorf("the log is not kept yet: %v", err)
	}

	w.stop()
	w.pointInTime = 7 // the server runs on and is only told
	w.start()
	reach := func() bosman.PointInTime {
		t.Helper()
		p, err := w.s.helm.PointInTime(ctx, admin, "tiny")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	w.until("there is a proven base backup", 2*time.Minute, func() bool { return !reach().Base.IsZero() })
	first := w.must("deploy", "live", "1")
	w.until("the deployment has its restore point", time.Minute, func() bool { return len(reach().Points) == 1 }) // nothing was there before it
	for _, word := range []string{"one", "two"} {
		if code, body := w.get("live", "/add/"+word); code != http.StatusOK {
			t.Fatalf("%d %s", code, body)
		}
	}
	before := time.Now()
	w.run("live", `/usr/bin/python3 -c 'import os, psycopg2
c = psycopg2.connect(os.environ["DATABASE_URL"]); c.autocommit = True; c.cursor().execute("DELETE FROM note")'`)
	w.until("the deployment's restore point can be reached", time.Minute, func() bool {
		p := reach()
		return len(p.Points) == 1 && p.Points[0].Name == "tiny-"+opRef(first.Number) && p.Points[0].Reachable && len(p.Spans) == 1 // the log around it is stored a little later
	})
	if p := reach().Points[0]; p.What != opRef(first.Number)+" had just switched live to r1" || p.When != bosman.PointAfter {
		t.Errorf("the point is said to be %+v", p)
	}
	if p := reach(); !p.On || p.Days != 7 || p.Trouble != "" || len(p.Spans) != 1 || p.Bytes == 0 {
		t.Errorf("%+v", p)
	}

	recovered := func(m bosman.Moment) bosman.PointRecovery {
		t.Helper()
		plan, err := w.s.helm.PlanRecovery(ctx, admin, "tiny", "live", m)
		if err != nil || plan.Fetch == 0 || plan.Needs < plan.Fetch || plan.Segments == 0 {
			t.Fatalf("plan: %+v, %v", plan, err)
		}
		r, err := w.s.helm.RecoverTo(ctx, admin, "tiny", "live", m)
		if err != nil {
			t.Fatal(err)
		}
		w.until("the recovery ends", 2*time.Minute, func() bool { r = *reach().Recovery; return r.State != bosman.RecoveryRunning })
		if r.State != bosman.RecoveryDone {
			t.Fatalf("%+v", r)
		}
		return r
	}
	_, err = w.s.helm.RecoverTo(ctx, bosman.Actor{Person: "anna", From: "test"}, "tiny", "live", bosman.Moment{At: before})
	if bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a tester recovers: %v", err)
	}
	point := recovered(bosman.Moment{Point: "tiny-" + opRef(first.Number)})
	if !strings.Contains(point.Note, " 0 rows") {
		t.Errorf("at the point: %s", point.Note)
	}
	at := recovered(bosman.Moment{At: before})
	if !strings.Contains(at.Note, " 2 rows") {
		t.Errorf("before the deletion: %s", at.Note)
	}
	if code, body := w.get("live", "/"); code != http.StatusOK || !strings.HasPrefix(body, "hello 0 notes") {
		t.Errorf("live was touched: %d %s", code, body)
	}
	if op := w.op(w.s.helm.RestoreKept(ctx, admin, "tiny", "live", at.Kept, false)); op.State != bosman.OpDone {
		w.dump()
		t.Fatalf("the swap: %s %v", op.State, op.Error)
	}
	if code, body := w.get("live", "/"); code != http.StatusOK || !strings.HasPrefix(body, "hello 2 notes, files one two") {
		t.Errorf("after the swap: %d %s", code, body)
	}

	// The next deployment has a point on each side, and its revert offers the
	// one before its migrations.
	second := w.must("deploy", "live", "1")
	before2 := "tiny-" + opRef(second.Number) + "-before"
	w.until("both points of the second deployment can be reached", time.Minute, func() bool {
		p := reach()
		n := len(p.Points)
		return n >= 3 && p.Points[n-2].Name == before2 && p.Points[n-2].Reachable && p.Points[n-1].Name == "tiny-"+opRef(second.Number) && p.Points[n-1].Reachable
	})
	w.until("the revert offers it", 2*time.Minute, func() bool {
		plan, err := w.s.helm.PlanRevert(ctx, admin, "tiny", "live")
		if err != nil {
			t.Fatal(err)
		}
		return plan.Point != nil && plan.Point.Name == before2
	})
	w.fullSpool(admin, reach)
}

// While the log is not kept that is said, and how to switch it on; what was
// kept before can be reached still.
func TestMomentsWhileTheLogIsNotKept(t *testing.T) {
	v := databasetest.Vault(t, t.TempDir())
	put := func(name, content string) {
		t.Helper()
		_, err := v.Put(t.Context(), name, func(w io.Writer) error {
			_, err := io.WriteString(w, content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().UTC()
	for _, c := range []struct {
		m    bosman.Moment
		kept bool // once
		text string
		next string
	}{
		{bosman.Moment{At: now.Add(-time.Minute)}, false, "point-in-time recovery is off: the log of the databases is not kept, and no moment of them can be reached", "switch it on: bosman serve --point-in-time 7"},
		{bosman.Moment{At: now.Add(time.Hour)}, false, "point-in-time recovery is off", "switch it on: bosman serve --point-in-time 7"},
		{bosman.Moment{Point: "tiny-d1"}, false, "point-in-time recovery is off", "switch it on: bosman serve --point-in-time 7"},
		{bosman.Moment{At: now.Add(-time.Minute)}, true, "; point-in-time recovery is off, and what is written now is not kept", "moments that can be reached: 2026-11-01 03:00:00 UTC to 2026-11-01 03:59:59 UTC"},
		{bosman.Moment{At: now.Add(-time.Minute)}, true, "cannot be reached", "switch it on again: bosman serve --point-in-time 7"},
		{bosman.Moment{Point: "tiny-d1"}, true, "there is no restore point tiny-d1; point-in-time recovery is off", "switch it on again"},
	} {
		if _, err := v.Stat(t.Context(), "log/7/segments/000000010000000000000001-20261101t040000000"); c.kept && bosman.KindOf(err) == bosman.KindNotFound {
			put("log/7/base/20261101t030000000/base.json", `{"start": "000000010000000000000001", "at": "2026-11-01T03:00:00Z", "lsn": "0/1000100", "segment": 16777216, "system_id": "7"}`)
			put("log/7/segments/000000010000000000000001-20261101t040000000", "segment")
		}
		tl := newTimeline(&server{})
		tl.keeper = &archive.Keeper{Vault: func(context.Context) (database.Vault, error) { return v, nil }}
		_, err := tl.PlanRecovery(t.Context(), bosman.Instance{}, c.m)
		if e := bosman.AsError(err); err == nil || !strings.Contains(e.Message, c.text) || e.Kept != "nothing was changed" || !strings.Contains(e.Next, c.next) {
			t.Errorf("%+v: %v", c, err)
		}
		tl.opt.PointInTime = 7
		if c.m.Point == "" { // it would ask the server to finish its log
			continue
		}
		if _, err := tl.PlanRecovery(t.Context(), bosman.Instance{}, c.m); err == nil || strings.Contains(err.Error(), "is off") {
			t.Errorf("switched on: %v", err)
		}
	}
}

// What is wrong with keeping the log is said in a sentence, the worst first.
func TestTimelineTrouble(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		state archive.State
		err   error
		fails time.Duration
		base  string
		want  string
	}{
		"all is well":             {},
		"some wait for a moment":  {state: archive.State{Waiting: 2, Since: now.Add(-time.Minute)}},
		"they wait long":          {state: archive.State{Waiting: 2, Bytes: 32 << 20, Since: now.Add(-time.Hour)}, want: "2 finished segments (32 MB) wait on this machine since 23 Nov 11:00 UTC"},
		"the target just failed":  {fails: time.Second},
		"the target is away":      {state: archive.State{Waiting: 2, Since: now.Add(-2 * time.Minute)}, fails: 2 * time.Minute, want: "the target is full"},
		"some were let go":        {state: archive.State{Lost: now.Add(-time.Hour), Server: "x"}, want: "let go at 23 Nov 11:00 UTC"},
		"the server cannot":       {state: archive.State{Server: "the server could not copy"}, fails: time.Hour, want: "the server could not copy"},
		"the server is down":      {err: bosman.Unavailable("it does not answer"), want: "it does not answer"},
		"no base backup succeeds": {base: "there is no base backup that counts", want: "there is no base backup that counts"},
	} {
		tl := &timeline{base: c.base}
		if c.fails > 0 {
			tl.fails, tl.failure = now.Add(-c.fails), "the target is full"
		}
		if got := tl.judge(c.state, c.err, now); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}
