package serve

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/need"
)

// backedUp is a Bosman whose live keeps two backups.
func backedUp(t *testing.T, database string) *world {
	t.Helper()
	return backedUpWith(t, database, nil)
}

func backedUpWith(t *testing.T, database string, tune func(*Options)) *world {
	t.Helper()
	w := newWorldWith(t, database, tune)
	w.write("bosman.yaml", strings.Replace(strings.Replace(tinyManifest, "DATABASE", database, 1), "live: {", "live: {backup: {keep: 2}, ", 1))
	w.commit("backups are kept")
	w.push("piotr", "main")
	w.staging(1)
	if op := w.op(ask(t.Context(), w.s, "deploy", "live", "1")); op.State != bosman.OpDone {
		t.Fatalf("%s: %v", op.State, op.Error)
	}
	media := filepath.Join(instanceDir(w.data, "tiny", "live"), "data", "media")
	if err := os.MkdirAll(media, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(media, "cv.pdf"), []byte("cv"), 0o644); err != nil { //nolint:gosec // the application reads it
		t.Fatal(err)
	}
	return w
}

func (w *world) backups() []bosman.Backup {
	w.t.Helper()
	all, err := w.s.store.Backups(w.t.Context(), "tiny", "live", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) backup() bosman.Backup {
	w.t.Helper()
	op, err := w.s.helm.MakeBackup(w.t.Context(), bosman.System(), "tiny", "live")
	if op = w.op(op, err); op.State != bosman.OpDone {
		w.t.Fatalf("%s: %v", op.State, op.Error)
	}
	return w.backups()[0]
}

// sealedFile is the file of an object of a backup.
func (w *world) sealedFile(b bosman.Backup, object string) string {
	return filepath.Join(w.data, "backups", b.Name, object+".zst.age")
}

// Backups are made at their moment once, kept as the policy says, and known
// again from the target alone; what cannot be relied on is loud and blocks
// live until one counts again.
func TestBackups(t *testing.T) {
	need.Slow(t, "plays a whole road")
	w := backedUp(t, "sqlite")
	ctx, admin := t.Context(), bosman.Actor{Person: firstAdmin, From: "test"}
	first := w.backup()
	if first.VerifiedAt.IsZero() || !first.Encrypted || first.Where != filepath.Join(w.data, "backups") || first.Content == 0 || first.Files != 1 || first.VerifyTook == 0 {
		t.Errorf("%+v", first)
	}
	c, err := w.s.helm.BackupContents(ctx, admin, "tiny", first.Number)
	if err != nil || c.Engine != "sqlite" || c.Files != 1 || c.TakenAt.IsZero() {
		t.Errorf("%+v, %v", c, err)
	}

	// By schedule: once for each moment.
	_, night, err := w.s.backups.Moments(bosman.BackupSchedule, "", time.Now(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	night = night.Add(time.Minute) // whatever the hour is now
	for range 2 {
		if err := w.s.backups.look(ctx, night); err != nil {
			t.Fatal(err)
		}
	}
	w.until("the scheduled backup", time.Minute, func() bool { return len(w.backups()) == 2 && !w.backups()[0].VerifiedAt.IsZero() })
	second := w.backups()[0]
	if second.Why != "by schedule" || second.By != "bosman" || second.Bytes >= first.Bytes {
		t.Errorf("%+v", second)
	}

	// Retention: two stay, the newest that counts always.
	third := w.backup()
	if n, err := w.s.helm.PruneBackups(ctx, "tiny"); err != nil || n != 1 {
		t.Errorf("%d removed, %v", n, err)
	}
	if got := numbers(w.backups()); !slices.Equal(got, []int{third.Number, second.Number}) {
		t.Errorf("%v stay", got)
	}
	if _, err := os.Stat(filepath.Dir(w.sealedFile(first, "backup.json"))); err == nil && len(glob(t, filepath.Join(w.data, "backups", first.Name, "*"))) > 0 {
		t.Error("the removed backup left its content")
	}
	if err := w.s.helm.RemoveBackup(ctx, admin, "tiny", third.Number); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("the newest was removed: %v", err)
	}
	if err := w.s.helm.RemoveBackup(ctx, bosman.Actor{Person: "anna"}, "tiny", second.Number); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a tester removed a backup: %v", err)
	}

	// Catalogue: from the target alone.
	for _, b := range w.backups() {
		if err := w.s.store.RemoveBackup(ctx, "tiny", b.Number); err != nil {
			t.Fatal(err)
		}
	}
	found, err := w.s.helm.ImportBackups(ctx, admin, "tiny", "")
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	if again, err := w.s.helm.ImportBackups(ctx, admin, "tiny", ""); err != nil || len(again) != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
	got := w.backups()[0]
	if got.Number != third.Number || got.VerifiedAt.IsZero() || got.Checksum != third.Checksum || got.Rows != third.Rows || !got.Encrypted {
		t.Errorf("%+v, want %+v", got, third)
	}
	op, err := w.s.helm.RestoreBackup(ctx, admin, "tiny", got.Number, "")
	if op = w.op(op, err); op.State != bosman.OpDone {
		t.Fatalf("%s: %v", op.State, op.Error)
	}

	// Damage is found by proving, told once, and blocks live.
	path := w.sealedFile(got, "backup.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-3] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.s.helm.VerifyBackup(ctx, admin, "tiny", got.Number, true); err != nil {
		t.Fatal(err)
	}
	w.until("the damage is found", time.Minute, func() bool { return w.backups()[0].Error != "" })
	health, err := w.s.helm.BackupHealth(ctx, admin, "tiny")
	if err != nil || len(health) != 1 || !strings.Contains(health[0].Trouble, "damaged") || health[0].Newest != second.Number {
		t.Errorf("%+v, %v", health, err)
	}
	last, err := w.s.store.LastEvent(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.s.backups.look(ctx, night); err != nil {
			t.Fatal(err)
		}
	}
	events, err := w.s.store.EventsAfter(ctx, last, 100)
	if err != nil {
		t.Fatal(err)
	}
	if n := slices.IndexFunc(events, func(e bosman.Event) bool { return e.Kind == bosman.EventBackupTrouble && e.Subject == "live" }); n < 0 {
		t.Errorf("nobody is told: %+v", events)
	}
	_, err = w.s.helm.Deploy(ctx, admin, helm.DeployRequest{App: "tiny", Instance: "live", Release: 1})
	if bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), "cannot be relied on") || bosman.AsError(err).Next == "" {
		t.Errorf("deployed with backups that cannot be relied on: %v", err)
	}
	// Taken up again, it is known as what it is, and the others are no worse.
	if err := w.s.store.RemoveBackup(ctx, "tiny", got.Number); err != nil {
		t.Fatal(err)
	}
	if found, err := w.s.helm.ImportBackups(ctx, admin, "tiny", ""); err != nil || len(found) != 1 || found[0].Number != got.Number || found[0].Instance != "live" || !strings.Contains(found[0].Error, "damaged") {
		t.Errorf("%+v, %v", found, err)
	}
	w.backup() // one that counts
	if health, err = w.s.helm.BackupHealth(ctx, admin, "tiny"); err != nil || health[0].Trouble != "" {
		t.Errorf("%+v, %v", health, err)
	}
}

func numbers(all []bosman.Backup) (out []int) {
	for _, b := range all {
		out = append(out, b.Number)
	}
	return out
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
