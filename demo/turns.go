package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

func (w *world) merging(ctx context.Context, m *memory) error {
	w.show.part("The merge")
	if err := w.show.step("bosman merge feature: the tested release is reused, staging follows", func() (string, error) {
		before, err := w.client.Builds(ctx, App, -1, 100)
		if err != nil {
			return "", err
		}
		var merged wire.Merged
		if err := w.bosman(ctx, "anna", &merged, "merge", "feature", "--wait"); err != nil {
			return "", err
		}
		if merged.Release != m.feature.Number || merged.Commit == "" {
			return "", fmt.Errorf("the merge gives %s, but %s was tested", ref(merged.Release), ref(m.feature.Number))
		}
		head, err := w.git(ctx, "ls-remote", w.gitURL("anna"), "refs/heads/main")
		if err != nil {
			return "", err
		}
		if !strings.HasPrefix(head, merged.Commit) {
			return "", fmt.Errorf("main is %s, not %s", head, merged.Commit)
		}
		if _, err := w.settled(ctx, "staging", m.feature.Number, 5*time.Minute); err != nil {
			return "", err
		}
		after, err := w.client.Builds(ctx, App, -1, 100)
		if err != nil {
			return "", err
		}
		for _, b := range after {
			known := slices.ContainsFunc(before, func(o bosman.Build) bool { return o.Number == b.Number })
			if !known && !b.Reused && b.Change == 0 {
				return "", fmt.Errorf("%s built again what was built", bosman.Ref(bosman.LetterBuild, b.Number))
			}
		}
		// What main is now, the other branch must be tested with.
		m.badBuild = beside(func() error { return w.bosman(ctx, "piotr", nil, "build", "bad-500", "--wait") })
		return fmt.Sprintf("main is %s; staging runs %s, built once", bosman.Short(merged.Commit), ref(merged.Release)), nil
	}); err != nil {
		return err
	}
	return w.show.step("bosman build bad-500: tested anew with what main is now", func() (string, error) {
		err := m.badBuild.wait()
		m.badBuild = nil
		return "green: no test sees what is wrong with it", err
	})
}

func (w *world) gitURL(person string) string {
	return fmt.Sprintf("http://%s:%s@127.0.0.1:%d/%s.git", person, password(person), w.opt.Port, App)
}

// switched is how long it took from asking until requests went to the
// release.
func switched(op bosman.Operation) time.Duration {
	for _, s := range op.Steps {
		if s.Name == "switch" {
			return s.EndedAt.Sub(op.CreatedAt)
		}
	}
	return 0
}

func (w *world) deploying(ctx context.Context, m *memory) error {
	w.show.part("Live, asked by a probe all the time")
	if err := w.show.step("bosman deploy live", func() (string, error) {
		// The first release must be settled: one thing at a time.
		if _, err := w.settled(ctx, "live", m.main.Number, 5*time.Minute); err != nil {
			return "", err
		}
		p := w.probe(ctx, mixed...)
		var op bosman.Operation
		err := w.bosman(ctx, "anna", &op, "deploy", "live", "--wait", "--why", "the shortlist")
		if err == nil {
			err = w.serves(ctx, m.feature)
		}
		met := p.stop()
		if err != nil {
			return "", err
		}
		if err := met.none(); err != nil {
			return "", err
		}
		w.times.deploy = switched(op)
		tags, err := w.git(ctx, "ls-remote", "--tags", w.gitURL("anna"))
		if err != nil {
			return "", err
		}
		if want := fmt.Sprintf("refs/tags/live-%d", op.Number); !strings.Contains(tags, want) {
			return "", fmt.Errorf("there is no tag %s: %s", want, tags)
		}
		var backups []bosman.Backup
		if err := w.bosman(ctx, "anna", &backups, "backup", "list", "--instance", "live"); err != nil {
			return "", err
		}
		if len(backups) == 0 || backups[0].Operation != op.Number || backups[0].VerifiedAt.IsZero() {
			return "", errors.New("there is no verified backup from before the deployment")
		}
		return fmt.Sprintf("switched after %s with a verified backup; %s", seconds(switched(op)), met), nil
	}); err != nil {
		return err
	}
	return w.show.step("bosman revert live, while the new release is still watched", func() (string, error) {
		p := w.probe(ctx, mixed...)
		var op bosman.Operation
		err := w.bosman(ctx, "anna", &op, "revert", "live", "--wait", "--why", "the star is yellow")
		if err == nil {
			err = w.serves(ctx, m.main)
		}
		met := p.stop()
		if err != nil {
			return "", err
		}
		if err := met.none(); err != nil {
			return "", err
		}
		w.times.revert = switched(op)
		return fmt.Sprintf("back on %s after %s; %s", ref(m.main.Number), seconds(switched(op)), met), nil
	})
}

func (w *world) backups(ctx context.Context, m *memory) error {
	w.show.part("Backups")
	return w.show.step("backup make, a mistake, backup restore", func() (string, error) {
		before, err := m.live.count(ctx, "")
		if err != nil {
			return "", err
		}
		if err := w.bosman(ctx, "", nil, "backup", "make", "live", "--wait"); err != nil {
			return "", err
		}
		var list []bosman.Backup
		if err := w.bosman(ctx, "", &list, "backup", "list", "--instance", "live"); err != nil {
			return "", err
		}
		if len(list) == 0 || list[0].VerifiedAt.IsZero() {
			return "", errors.New("the backup is not verified")
		}
		if _, err := w.bosmanText(ctx, "", nil, "run", "live", "--", ".venv/bin/python", "manage.py", "shell", "-c", "from candidates.models import Candidate; Candidate.objects.all().delete()"); err != nil {
			return "", err
		}
		if n, err := m.live.count(ctx, ""); err != nil || n != 0 {
			return "", fmt.Errorf("%d candidates are left after all were deleted: %w", n, orNil(err))
		}
		number := bosman.Ref(bosman.LetterBackup, list[0].Number)
		err = w.bosman(ctx, "anna", nil, "backup", "restore", number, "--yes")
		if _, ok := refused(err, 3); !ok {
			return "", fmt.Errorf("a tester may not restore live, but: %w", orNil(err))
		}
		var op bosman.Operation
		if err := w.bosman(ctx, "", &op, "backup", "restore", number, "--yes", "--wait"); err != nil {
			return "", err
		}
		live, err := w.visit(ctx, "live", "anna", password("anna"))
		if err != nil {
			return "", err
		}
		m.live = live
		after, err := live.count(ctx, "")
		if err != nil || after != before {
			return "", fmt.Errorf("%d candidates after the restore instead of %d: %w", after, before, orNil(err))
		}
		return fmt.Sprintf("all %d candidates are back from %s in %s", after, number, seconds(op.EndedAt.Sub(op.CreatedAt))), nil
	})
}

func (w *world) everyday(ctx context.Context, m *memory) error {
	w.show.part("Every day")
	if err := w.show.step("bosman run, log, status, activity", func() (string, error) {
		said, err := w.bosmanText(ctx, "", nil, "run", "live", "--", "sh", "-c", "echo $BOSMAN_INSTANCE $BOSMAN_RELEASE")
		if want := "live " + ref(m.feature.Number); err != nil || strings.TrimSpace(said) != want && strings.TrimSpace(said) != fmt.Sprintf("live %d", m.feature.Number) {
			return "", fmt.Errorf("run says %q, not %q: %w", said, want, orNil(err))
		}
		err = w.bosman(ctx, "anna", nil, "run", "live", "--", "true")
		if _, ok := refused(err, 3); !ok {
			return "", fmt.Errorf("a tester may not run commands on live, but: %w", orNil(err))
		}
		log, err := w.bosmanText(ctx, "anna", nil, "log", "live", "-n", "20")
		if err != nil || strings.TrimSpace(log) == "" {
			return "", fmt.Errorf("live has no log: %w", orNil(err))
		}
		var jobs []wire.Job
		if err := w.bosman(ctx, "anna", &jobs, "status"); err != nil {
			return "", err
		}
		if len(jobs) < 5 {
			return "", fmt.Errorf("the table has %d rows", len(jobs))
		}
		var lines []bosman.Activity
		if err := w.bosman(ctx, "anna", &lines, "activity", "--max", "500"); err != nil {
			return "", err
		}
		for _, want := range []string{"merged c", "go back to", "restore k", "sent back"} {
			if !slices.ContainsFunc(lines, func(l bosman.Activity) bool { return strings.Contains(l.What, want) }) {
				return "", fmt.Errorf("the activity log has no line with %q", want)
			}
		}
		if len(lines) < 20 {
			return "", fmt.Errorf("the activity log has %d lines", len(lines))
		}
		return fmt.Sprintf("%d rows, %d lines of activity", len(jobs), len(lines)), nil
	}); err != nil {
		return err
	}
	if err := w.show.step("bosman restart live, under the probe", func() (string, error) {
		p := w.probe(ctx, mixed...)
		err := w.bosman(ctx, "", nil, "restart", "live", "--wait")
		met := p.stop()
		if err != nil {
			return "", err
		}
		return met.String(), met.none()
	}); err != nil {
		return err
	}
	return w.show.step("two changes whose migrations collide are told before the merge", func() (string, error) {
		var told string
		for _, b := range []string{"migration-a", "migration-b"} {
			pushing, hangUp := context.WithCancel(ctx)
			p := w.push(pushing, "piotr", b, func(l string) {
				if strings.HasPrefix(l, "! ") {
					told = l
				}
				if strings.HasPrefix(l, "http") {
					hangUp() // the build goes on without us
				}
			})
			hungUp := pushing.Err() != nil
			hangUp()
			if p.err != nil && !hungUp {
				return "", p.err
			}
		}
		v, err := w.change(ctx, "piotr", "migration-a")
		if err != nil {
			return "", err
		}
		if told == "" || len(v.Hazards) == 0 {
			return "", fmt.Errorf("nothing is said of the collision; on the change: %v", v.Hazards)
		}
		for _, b := range []string{"migration-a", "migration-b"} {
			if v, err := w.change(ctx, "piotr", b); err == nil && v.Build != nil && !v.Build.State.Final() {
				if err := w.bosman(ctx, "piotr", nil, "cancel", bosman.Ref(bosman.LetterBuild, v.Build.Number), "--why", "the demo saw enough"); err != nil {
					return "", err
				}
			}
		}
		return strings.TrimPrefix(told, "! "), nil
	})
}

// explain says at length what did not hold.
func (w *world) explain(out io.Writer, err error) {
	text := "\n" + err.Error() + "\n"
	var be *bosman.Error
	if errors.As(err, &be) && be.Next != "" {
		text += "next: " + be.Next + "\n"
	}
	_, _ = io.WriteString(out, text) // the exit code says it too
}
