package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// memory is what later scenes need of earlier ones.
type memory struct {
	main, feature bosman.Release // releases of main as it began, and with the feature
	pushedAt      time.Time      // of the feature
	pushes        map[string]*later[pushed]
	live          *visitor
	badBuild      *later[error]
}

// play is the story, a scene after the other. The first check that does not
// hold ends it.
func (w *world) play(ctx context.Context) error {
	m := &memory{pushes: map[string]*later[pushed]{}}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for _, p := range m.pushes {
			p.wait()
		}
		if m.badBuild != nil {
			_ = m.badBuild.wait() // the scene that needs it looked
		}
	}()
	for _, scene := range []func(context.Context, *memory) error{
		w.start, w.main, w.changes, w.trying, w.merging, w.deploying, w.killing, w.breaking, w.backups, w.everyday, w.reboot,
	} {
		if err := scene(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func ref(r int) string { return bosman.Ref(bosman.LetterRelease, r) }

func (w *world) start(ctx context.Context, _ *memory) error {
	w.show.part("Bosman starts with nothing but a folder")
	if err := w.show.step("what this machine has", func() (string, error) { return w.lookAround(ctx) }); err != nil {
		return err
	}
	if err := w.show.step("the history of the application is made", func() (string, error) { return w.history(ctx) }); err != nil {
		return err
	}
	if err := w.show.step("bosman serve", func() (string, error) {
		if err := w.startServe(ctx); err != nil {
			return "", err
		}
		return w.readPassword()
	}); err != nil {
		return err
	}
	return w.show.step("bosman app add, people add", func() (string, error) {
		for _, p := range people {
			if _, err := w.bosmanText(ctx, "", strings.NewReader(password(p.name)), "people", "add", p.name, "--role", string(p.role), "--password-stdin"); err != nil {
				return "", err
			}
		}
		if err := w.bosman(ctx, "", nil, "app", "add", App); err != nil {
			return "", err
		}
		err := w.bosman(ctx, "piotr", nil, "app", "add", "another")
		if _, ok := refused(err, 3); !ok {
			return "", fmt.Errorf("a developer may not add apps, but: %w", orNil(err))
		}
		return "anna and maria are testers, piotr is a developer", nil
	})
}

// history makes the repository. Live of the demo may be deployed at any hour
// and is watched for seconds instead of minutes.
func (w *world) history(ctx context.Context) (string, error) {
	if err := os.MkdirAll(w.opt.Data, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(w.path(marker), []byte("bosman demo --clean removes this folder\n"), 0o600); err != nil {
		return "", err
	}
	script := filepath.Join(w.opt.Example, "history", "history.sh")
	if out, err := exec.CommandContext(ctx, "sh", script, w.work()).CombinedOutput(); err != nil {
		return "", fmt.Errorf("history.sh: %w: %s", err, strings.TrimSpace(string(out)))
	}
	file := filepath.Join(w.work(), bosman.ManifestFile)
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	text := string(data)
	for _, c := range []struct{ was, is string }{
		{`deploy: \{after: staging.*\}`, `deploy: {after: staging, window: "Mon-Sun 00:00-24:00"}`},
		{`watch: \{for: \S+, revert: true\}`, `watch: {for: 15s, revert: true}`},
		{`database: postgres`, `database: ` + w.database},
	} {
		re := regexp.MustCompile(c.was)
		if !re.MatchString(text) {
			return "", fmt.Errorf("%s of the example has no %q", bosman.ManifestFile, c.was)
		}
		text = re.ReplaceAllString(text, c.is)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", err
	}
	if _, err := w.git(ctx, "commit", "-qam", "Demo: live may be deployed at any hour, and is watched for 15 seconds"); err != nil {
		return "", err
	}
	branches, err := w.git(ctx, "branch", "--format=%(refname:short)")
	return "branches " + strings.Join(strings.Fields(branches), ", "), err
}

var firstPassword = regexp.MustCompile(`Log in as (\S+) with the password (\S+)`)

// readPassword finds the first administrator's password in what serve said.
func (w *world) readPassword() (string, error) {
	data, err := os.ReadFile(w.path("serve.out"))
	if err != nil {
		return "", err
	}
	found := firstPassword.FindStringSubmatch(string(data))
	if found == nil {
		return "", fmt.Errorf("serve did not say the first password: %q", data)
	}
	w.admin = found[2]
	return "pages at http://localhost:" + fmt.Sprint(w.opt.Port), nil
}

func (w *world) main(ctx context.Context, m *memory) error {
	w.show.part("A push of main")
	if err := w.show.step("anna pushes main; its build is green", func() (string, error) {
		p := w.push(ctx, "anna", "main", func(l string) { w.show.tell("%s", l) })
		if p.err != nil {
			return "", p.err
		}
		for _, want := range []string{"environment in", "assets", "unit in", "lint", "is green", "release r1"} {
			if !strings.Contains(p.text, want) {
				return "", fmt.Errorf("the push does not say %q: %s", want, p.text)
			}
		}
		w.times.pushGreen = p.took
		return lineWith(p.text, "is green"), nil
	}); err != nil {
		return err
	}
	m.pushedAt = time.Now()
	for _, b := range []string{"feature", "failing", "conflict", "bad-500"} {
		heard := make(chan struct{})
		var once sync.Once
		m.pushes[b] = beside(func() pushed {
			defer once.Do(func() { close(heard) })
			return w.push(ctx, "piotr", b, func(string) { once.Do(func() { close(heard) }) })
		})
		<-heard // so that they are built in this order
	}
	if err := w.show.step("staging follows: migrated, seeded, checked, routed", func() (string, error) {
		i, err := w.settled(ctx, "staging", 1, 5*time.Minute)
		if err != nil {
			return "", err
		}
		if m.main, err = w.release(ctx, 1); err != nil {
			return "", err
		}
		if code, _, err := w.get(ctx, w.host("staging"), "/"); err != nil || code != http.StatusFound {
			return "", fmt.Errorf("staging should ask who looks, but answers %d: %w", code, orNil(err))
		}
		v, err := w.visit(ctx, "staging", "anna", "anna")
		if err != nil {
			return "", err
		}
		n, err := v.count(ctx, "")
		if err != nil || n != 507 {
			return "", fmt.Errorf("staging has %d candidates, not 507: %w", n, orNil(err))
		}
		return fmt.Sprintf("507 candidates at %s, behind a login wall", i.URL), nil
	}); err != nil {
		return err
	}
	return w.show.step("anna deploys it to live", func() (string, error) {
		var op bosman.Operation
		if err := w.bosman(ctx, "anna", &op, "deploy", "live", "--wait"); err != nil {
			return "", err
		}
		if err := w.serves(ctx, m.main); err != nil {
			return "", err
		}
		if _, err := w.bosmanText(ctx, "", nil, "run", "live", "--", ".venv/bin/python", "manage.py", "create_demo_user", "anna", "--on-live", "--password", password("anna")); err != nil {
			return "", err
		}
		var err error
		m.live, err = w.visit(ctx, "live", "anna", password("anna"))
		if err != nil {
			return "", err
		}
		for n := range 12 {
			if err := m.live.add(ctx, n, "Warszawa"); err != nil {
				return "", err
			}
		}
		return "live begins with an empty database; anna takes in 12 candidates", nil
	})
}

// release gives a release by its number.
func (w *world) release(ctx context.Context, n int) (bosman.Release, error) {
	var all []bosman.Release
	if err := w.bosman(ctx, "", &all, "releases"); err != nil {
		return bosman.Release{}, err
	}
	for _, r := range all {
		if r.Number == n {
			return r, nil
		}
	}
	return bosman.Release{}, fmt.Errorf("there is no release %s", ref(n))
}

// serves says whether live answers with the commit of a release.
func (w *world) serves(ctx context.Context, r bosman.Release) error {
	code, body, err := w.get(ctx, w.host("live"), "/healthz")
	if err != nil || code != http.StatusOK || !strings.Contains(body, r.Commit) {
		return fmt.Errorf("live should serve %s of commit %s but answers %d %s: %w", ref(r.Number), bosman.Short(r.Commit), code, firstLine(body), orNil(err))
	}
	return nil
}

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func (w *world) change(ctx context.Context, as, branch string) (wire.ChangeView, error) {
	var v wire.ChangeView
	return v, w.bosman(ctx, as, &v, "changes", branch)
}

func (w *world) changes(ctx context.Context, m *memory) error {
	w.show.part("Branches become changes, built as merged with main")
	if err := w.show.step("a branch in conflict with main says so without a build", func() (string, error) {
		p := m.pushes["conflict"].wait()
		if p.err != nil {
			return "", p.err
		}
		v, err := w.change(ctx, "piotr", "conflict")
		if err != nil {
			return "", err
		}
		if v.Build != nil || !slices.Contains(v.Conflicts, "candidates/views.py") || !strings.Contains(p.text, "candidates/views.py") {
			return "", fmt.Errorf("the conflict is not told: %v, and the push says %q", v.Conflicts, p.text)
		}
		return "piotr reads in the push: conflicts in " + strings.Join(v.Conflicts, ", "), nil
	}); err != nil {
		return err
	}
	if err := w.show.step("the failing branch is red and names its first failed test", func() (string, error) {
		p := m.pushes["failing"].wait()
		if p.err != nil {
			return "", p.err
		}
		v, err := w.change(ctx, "piotr", "failing")
		if err != nil {
			return "", err
		}
		const test = "test_foreign_number_keeps_its_prefix"
		if v.Build == nil || v.Build.State != bosman.BuildRed || v.Build.Report == nil || len(v.Build.Report.Tests) == 0 || v.Build.Report.Tests[0].Name != test || !strings.Contains(p.text, test) {
			return "", fmt.Errorf("the failed test is not told; the push says %q", p.text)
		}
		return lineWith(p.text, "is red"), nil
	}); err != nil {
		return err
	}
	return w.show.step("maria sends it back; piotr reads why", func() (string, error) {
		const why = "numbers from abroad lose their prefix"
		if err := w.bosman(ctx, "maria", nil, "send-back", "failing", "--why", why); err != nil {
			return "", err
		}
		v, err := w.change(ctx, "piotr", "failing")
		if err != nil {
			return "", err
		}
		if len(v.Signoffs) == 0 || v.Signoffs[0].Why != why || v.Signoffs[0].Person != "maria" {
			return "", fmt.Errorf("the reason is not on the change: %+v", v.Signoffs)
		}
		err = w.bosman(ctx, "anna", nil, "merge", "failing")
		if _, ok := refused(err, 3); !ok {
			return "", fmt.Errorf("a red change that was sent back was merged: %w", orNil(err))
		}
		return why, nil
	})
}

func (w *world) trying(ctx context.Context, m *memory) error {
	w.show.part("Testers try it, each on an instance of their own")
	var anna, maria *visitor
	if err := w.show.step("bosman try feature --on testing-anna", func() (string, error) {
		var v wire.ChangeView
		if err := w.until(ctx, "the release of the feature is there", 10*time.Minute, func() (bool, error) {
			var err error
			v, err = w.client.Change(ctx, App, "feature")
			return v.Build != nil && (v.Build.Release != 0 || v.Build.State.Final()), err
		}); err != nil {
			return "", err
		}
		state := v.Build.State
		var op bosman.Operation
		if err := w.bosman(ctx, "anna", &op, "try", "feature", "--on", "testing-anna", "--wait"); err != nil {
			return "", err
		}
		var err error
		if anna, err = w.visit(ctx, "testing-anna", "anna", "anna"); err != nil {
			return "", err
		}
		w.times.pushTester = time.Since(m.pushedAt)
		if m.feature, err = w.release(ctx, op.Release); err != nil {
			return "", err
		}
		code, page, err := anna.do(ctx, http.MethodGet, "/candidates/", "", nil)
		if err != nil || code != http.StatusOK || !strings.Contains(page, "Shortlist") {
			return "", fmt.Errorf("testing-anna does not show the feature (answer %d): %w", code, orNil(err))
		}
		return fmt.Sprintf("a copy of staging with the feature, %s after try was asked for; its build was %s", seconds(op.EndedAt.Sub(op.CreatedAt)), state), nil
	}); err != nil {
		return err
	}
	if err := w.show.step("its mail is caught and shown", func() (string, error) { return w.mail(ctx, anna) }); err != nil {
		return err
	}
	if err := w.show.step("a fresh copy again: what anna did is gone", func() (string, error) {
		if err := anna.add(ctx, 1, "Krakow"); err != nil {
			return "", err
		}
		if n, err := anna.count(ctx, ""); err != nil || n != 508 {
			return "", fmt.Errorf("%d candidates instead of 508: %w", n, orNil(err))
		}
		var op bosman.Operation
		if err := w.bosman(ctx, "anna", &op, "reset", "testing-anna", "--wait"); err != nil {
			return "", err
		}
		var err error
		if anna, err = w.visit(ctx, "testing-anna", "anna", "anna"); err != nil {
			return "", err
		}
		if n, err := anna.count(ctx, ""); err != nil || n != 507 {
			return "", fmt.Errorf("%d candidates instead of 507: %w", n, orNil(err))
		}
		return "507 candidates again in " + seconds(op.EndedAt.Sub(op.CreatedAt)), nil
	}); err != nil {
		return err
	}
	if err := w.show.step("maria tries another change; nobody disturbs the other", func() (string, error) {
		if p := m.pushes["bad-500"].wait(); p.err != nil {
			return "", p.err
		}
		if err := w.bosman(ctx, "maria", nil, "try", "bad-500", "--on", "testing-maria", "--wait"); err != nil {
			return "", err
		}
		var err error
		if maria, err = w.visit(ctx, "testing-maria", "maria", "maria"); err != nil {
			return "", err
		}
		if err := maria.add(ctx, 2, "Gdynia"); err != nil {
			return "", err
		}
		hers, err := maria.count(ctx, "")
		if err != nil {
			return "", err
		}
		annas, err := anna.count(ctx, "")
		if err != nil || hers != 508 || annas != 507 {
			return "", fmt.Errorf("maria has %d candidates, anna %d: %w", hers, annas, orNil(err))
		}
		return "maria took in a candidate: she has 508, anna 507", nil
	}); err != nil {
		return err
	}
	return w.show.step("the tests of the feature are green; anna accepts it", func() (string, error) {
		p := m.pushes["feature"].wait()
		if p.err != nil {
			return "", p.err
		}
		if !strings.Contains(p.text, "is green") {
			return "", fmt.Errorf("the push does not end green: %s", p.text)
		}
		return lineWith(p.text, "is green"), w.bosman(ctx, "anna", nil, "accept", "feature", "--why", "the shortlist works")
	})
}

// mail moves a candidate to the next status and looks for the mail.
func (w *world) mail(ctx context.Context, v *visitor) (string, error) {
	var page struct {
		Results []struct {
			ID        int
			FirstName string `json:"first_name"`
			Email     string
		}
	}
	if err := v.api(ctx, http.MethodGet, "/api/candidates/?status=application", nil, &page); err != nil {
		return "", err
	}
	if len(page.Results) == 0 {
		return "", errors.New("there is no candidate to write to")
	}
	c := page.Results[0]
	if err := v.api(ctx, http.MethodPost, fmt.Sprintf("/api/candidates/%d/move/", c.ID), map[string]string{"status": "interview"}, &struct{}{}); err != nil {
		return "", err
	}
	var all []bosman.Mail
	err := w.until(ctx, "the mail to "+c.Email+" is caught", 2*time.Minute, func() (bool, error) {
		err := w.bosman(ctx, "anna", &all, "mails", "--instance", v.instance)
		return len(all) > 0, err
	})
	if err != nil {
		return "", err
	}
	if !slices.Contains(all[0].To, c.Email) {
		return "", fmt.Errorf("the mail went to %v, not to %s", all[0].To, c.Email)
	}
	return fmt.Sprintf("to %s: %s", c.Email, all[0].Subject), nil
}
