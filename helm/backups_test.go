package helm

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

// removals is Vaults, of which only removing is asked for.
type removals struct {
	Vaults
	gone []int
}

func (v *removals) Remove(_ context.Context, b bosman.Backup) error {
	v.gone = append(v.gone, b.Number)
	return nil
}

// TestBackupsThatAWayBackNeedsStay: retention and people leave the backup of the
// last deployment that switched, those of operations that are not over, the
// newest that counts, and the one made last, whatever clocks said.
func TestBackupsThatAWayBackNeedsStay(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	v := &removals{}
	r.Vaults = v
	r.write("bosman.yaml", "timezone: Europe/Warsaw\nhealth: /healthz\ninstances:\n  live:\n    deploy: {after: staging, window: \"Mon-Thu 09:00-15:00\"}\n    backup: {keep: 1}\n")
	r.commit("keep one backup")
	r.push("main")
	for n, age := range map[int]time.Duration{1: 90, 2: 80, 3: 70, 4: 60, 5: 50, 6: 40, 7: 9000, 8: -9000} { // 7 and 8: the clock was wrong
		at := r.now.Add(-age * time.Hour)
		if err := r.Store.SaveBackup(ctx, bosman.Backup{App: "rms", Instance: "live", Number: n, CreatedAt: at, VerifiedAt: at.Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, op := range []bosman.Operation{
		{Number: 1, Plan: bosman.PlanDeploy, State: bosman.OpDone, Committed: true, Backup: 1}, // an older deployment
		{Number: 2, Plan: bosman.PlanDeploy, State: bosman.OpDone, Committed: true, Backup: 2}, // the last that switched
		{Number: 3, Plan: bosman.PlanDeploy, State: bosman.OpFailed, Backup: 3},                // one that did not
		{Number: 4, Plan: bosman.PlanRestore, State: bosman.OpRunning, Backup: 4},              // at work
	} {
		op.App, op.Instance, op.CreatedAt = "rms", "live", r.now
		if err := r.Store.SaveOperation(ctx, op); err != nil {
			t.Fatal(err)
		}
	}
	for n, kept := range map[int]bool{2: true, 4: true, 6: true} {
		if err := r.RemoveBackup(ctx, admin, "rms", n); kept != (bosman.KindOf(err) == bosman.KindConflict) {
			t.Errorf("removing k%d by hand: %v", n, err)
		}
	}
	if err := r.RemoveBackup(ctx, bosman.Actor{Person: "anna"}, "rms", 1); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a tester removes a backup: %v", err)
	}
	if len(v.gone) != 0 {
		t.Fatalf("removed: %v", v.gone)
	}
	if n, err := r.PruneBackups(ctx, "rms"); err != nil || n != 0 {
		t.Errorf("30 are kept until somebody confirms that it is 1; %d were removed, %v", n, err)
	}
	if err := r.ConfirmPolicy(ctx, admin, "rms"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.PruneBackups(ctx, "rms"); err != nil {
		t.Fatal(err)
	}
	slices.Sort(v.gone)
	if !slices.Equal(v.gone, []int{1, 3, 5, 7}) {
		t.Errorf("removed: %v", v.gone)
	}
	if len(v.gone) > 0 {
		if b, err := r.BackupHealth(ctx, admin, "rms"); err != nil || len(b) > 0 && b[0].Newest == 8 {
			t.Errorf("a backup of the future is the newest: %+v, %v", b, err)
		}
	}
}
