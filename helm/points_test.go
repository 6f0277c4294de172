package helm

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

// lane is a Timeline that remembers what was asked.
type lane struct {
	trouble string
	asked   []bosman.Moment
}

func (l *lane) PointInTime(context.Context, string) (bosman.PointInTime, error) {
	return bosman.PointInTime{On: true}, nil
}

func (l *lane) PlanRecovery(_ context.Context, _ bosman.Instance, m bosman.Moment) (bosman.RecoveryPlan, error) {
	return bosman.RecoveryPlan{Moment: m}, nil
}

func (l *lane) Recover(_ context.Context, i bosman.Instance, m bosman.Moment, by string) (bosman.PointRecovery, error) {
	l.asked = append(l.asked, m)
	return bosman.PointRecovery{App: i.App, Instance: i.Name, Moment: m, By: by, State: bosman.RecoveryRunning}, nil
}

func (l *lane) Trouble() string { return l.trouble }

func (l *lane) Seen() bosman.PointInTime { return bosman.PointInTime{On: true} }

func TestWhoRecoversWhat(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	l := &lane{}
	r.Timeline = l
	anna := bosman.Actor{Person: "anna", From: "test"}
	r.ends(0, bosman.BuildGreen)
	r.done(r.last())
	staging, err := r.Store.Instance(ctx, "rms", "staging")
	if err != nil {
		t.Fatal(err)
	}
	at := bosman.Moment{At: time.Now().Add(-time.Hour)}
	_, err = r.RecoverTo(ctx, admin, "rms", "staging", at)
	wantKind(t, "without such a database", err, bosman.KindInvalid)
	staging.Database = bosman.Database{Engine: bosman.EnginePostgres, Cluster: "main", Name: "rms__staging"}
	if err := r.Store.SaveInstance(ctx, staging); err != nil {
		t.Fatal(err)
	}
	_, err = r.RecoverTo(ctx, anna, "rms", "staging", at)
	wantKind(t, "a tester", err, bosman.KindForbidden)
	for _, m := range []bosman.Moment{{}, {At: at.At, Point: "rms-d1"}} {
		_, err = r.RecoverTo(ctx, admin, "rms", "staging", m)
		wantKind(t, "neither or both", err, bosman.KindInvalid)
	}
	if len(l.asked) != 0 {
		t.Fatalf("asked for %v", l.asked)
	}
	if p, err := r.PlanRecovery(ctx, anna, "rms", "staging", at); err != nil || p.Moment != at {
		t.Errorf("the plan: %+v, %v", p, err)
	}
	got, err := r.RecoverTo(ctx, admin, "rms", "staging", at)
	if err != nil || got.By != admin.Person || len(l.asked) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	lines, err := r.Activity(ctx, admin, "rms", 0, 1)
	if err != nil || len(lines) != 1 || !strings.HasPrefix(lines[0].What, "recover the database of staging as of ") || lines[0].Who != admin.Person {
		t.Errorf("activity %+v, %v", lines, err)
	}

	l.trouble = "3 finished segments wait"
	b := bosman.BackupHealth{Instance: "staging"}
	if r.addTimeline(staging, &b); b.Log != l.trouble || !strings.HasSuffix(b.Worst(), l.trouble) {
		t.Errorf("health %+v", b)
	}
	b.Trouble = "the newest backup failed"
	if r.addTimeline(staging, &b); b.Worst() != b.Trouble {
		t.Errorf("a missing backup is worse: %+v", b)
	}
	staging.Database.Engine = "sqlite"
	b = bosman.BackupHealth{}
	if r.addTimeline(staging, &b); b.Worst() != "" {
		t.Errorf("another server's trouble: %+v", b)
	}
	p, err := r.PointInTime(ctx, anna, "rms")
	if err != nil || p.Spans == nil || p.Points == nil {
		t.Errorf("nothing is listed as null: %+v, %v", p, err)
	}
}
