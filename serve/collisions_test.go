package serve

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/forge/forgetest"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/need"
)

// Two pull requests whose migrations collide: a status and one comment on
// both, before either is merged; the second is blocked once the first was.
func TestCollisionsAreToldAtTheForge(t *testing.T) {
	need.Slow(t, "a whole Bosman")
	w := newWorld(t, "none")
	ctx := t.Context()
	if err := os.MkdirAll(filepath.Join(w.work, "shop/migrations"), 0o755); err != nil {
		t.Fatal(err)
	}
	django := func(name string, after ...string) {
		deps := ""
		for _, a := range after {
			deps += fmt.Sprintf("('shop', %q), ", a)
		}
		w.write("shop/migrations/"+name+".py", "from django.db import migrations\n\nclass Migration(migrations.Migration):\n    dependencies = ["+deps+"]\n    operations = []\n")
	}
	django("0007_start")
	w.commit("migrations")
	remote := filepath.Join(filepath.Dir(w.work), "remote.git")
	w.git("", "init", "-q", "--bare", "-b", "main", remote)
	w.git(w.work, "push", "-q", remote, "main")
	double := forgetest.NewGitHub(t)
	const repo = "octo-org/tiny"
	secret, err := w.s.helm.Connect(ctx, bosman.System(), "tiny", helm.Origin{Kind: "github", Repo: repo, CloneURL: remote, BaseURL: double.URL, Token: double.Token})
	if err != nil {
		t.Fatal(err)
	}
	if code := w.deliver("push", "main", secret, payload(t, "push.json", func(p map[string]any) {
		at(p, "repository")["full_name"] = repo
		p["ref"], p["after"] = "refs/heads/main", w.git(w.work, "rev-parse", "main")
	})); code != http.StatusOK {
		t.Fatalf("the push was answered %d", code)
	}
	w.staging(1)
	propose := func(branch string, number int) string {
		head := w.git(w.work, "rev-parse", branch)
		w.git(w.work, "push", "-q", remote, branch, fmt.Sprintf("%s:refs/pull/%d/head", branch, number))
		code := w.deliver("pull_request", branch+head, secret, payload(t, "pull_request_opened.json", func(p map[string]any) {
			at(p, "repository")["full_name"] = repo
			pull := at(p, "pull_request")
			at(pull, "base", "repo")["full_name"], at(pull, "head", "repo")["full_name"] = repo, repo
			at(pull, "head", "repo")["id"] = at(pull, "base", "repo")["id"]
			at(pull, "base")["ref"], at(pull, "head")["ref"], at(pull, "head")["sha"] = "main", branch, head
			p["number"], pull["number"], pull["html_url"] = number, number, fmt.Sprintf("https://github.com/%s/pull/%d", repo, number)
		}))
		if code != http.StatusOK {
			t.Fatalf("the pull request was answered %d", code)
		}
		return head
	}
	branch := func(name, migration string) {
		w.git(w.work, "checkout", "-q", "-b", name, "main")
		django(migration, "0007_start")
		w.write(name+".txt", name)
		w.commit(name)
	}
	status := func(commit, state, text string) func() bool {
		return func() bool {
			var last forgetest.Posted
			for _, p := range double.Statuses() {
				if p.Commit == commit && p.Context == "bosman/migrations" {
					last = p
				}
			}
			return last.State == state && strings.Contains(last.Description, text)
		}
	}
	commented := func(number int, texts ...string) func() bool {
		return func() bool {
			got := double.Comments(repo, number)
			return len(got) == len(texts) && !slices.ContainsFunc(texts, func(want string) bool {
				return !slices.ContainsFunc(got, func(c string) bool { return strings.Contains(c, want) })
			})
		}
	}
	branch("a", "0008_a")
	first := propose("a", 12)
	w.until("the first has a good status", 30*time.Second, status(first, "success", "1 migration, no collision"))
	branch("b", "0008_b")
	second := propose("b", 15)
	const both = `PR 12 (0008\_a) and PR 15 (0008\_b) both follow shop.0007\_start`
	plain := strings.ReplaceAll(both, `\`, "")
	w.until("both have the status", 30*time.Second, func() bool { return status(first, "success", plain)() && status(second, "success", plain)() })
	w.until("both have the comment", 20*time.Second, func() bool { return commented(12, both)() && commented(15, both)() })

	// The same again says nothing twice.
	propose("b", 15)
	anna := bosman.Actor{Person: "anna", From: "test"}
	w.until("the first is merged", 60*time.Second, func() bool {
		m, err := w.s.helm.Merge(ctx, anna, "tiny", "a")
		return bosman.KindOf(err) == bosman.KindConflict && strings.Contains(err.Error(), "merged already") || err == nil && m.Commit != ""
	})
	w.until("the second fails", 30*time.Second, status(second, "failure", "PR 15 is stale: 0008_b follows shop.0007_start, but main already has 0008_a there"))
	w.until("its comments say so", 20*time.Second, commented(15, "do so no longer", "makemigrations --merge shop"))
	if _, err := w.s.helm.Merge(ctx, anna, "tiny", "b"); bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), "PR 15 is stale") {
		t.Errorf("merging the second: %v", err)
	}

	// The command that is offered clears it.
	w.git(w.work, "checkout", "-q", "b")
	w.git(w.work, "merge", "-q", "-m", "merge main", "a")
	django("0009_merge", "0008_a", "0008_b")
	w.commit("makemigrations --merge")
	mended := propose("b", 15)
	w.until("it is well again", 30*time.Second, status(mended, "success", "no collision"))
	w.until("its comments are done with", 20*time.Second, func() bool {
		got := double.Comments(repo, 15)
		return len(got) == 2 && strings.Contains(got[0], "do so no longer") && strings.Contains(got[1], "do so no longer")
	})
	w.until("the first's comment does not go on warning", 20*time.Second, commented(12, "It is no longer."))
}
