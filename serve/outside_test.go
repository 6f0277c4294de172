package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/forge/forgetest"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/store"
)

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "bosman.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestDeliveriesAreKeptAsForgesNeed(t *testing.T) { forgetest.Inbox(t, inbox{openStore(t), "rms"}) }

func TestStatusesAreKeptAsForgesNeed(t *testing.T) { forgetest.Outbox(t, owed{openStore(t), "rms"}) }

// payload reads a recorded delivery of GitHub and puts this test's names in.
func payload(t *testing.T, name string, edit func(map[string]any)) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "forge", "github", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var p map[string]any
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	edit(p)
	if data, err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	return data
}

// deliver posts a delivery as GitHub would, through the edge.
func (w *world) deliver(event, id, secret string, body []byte) int {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/hooks/tiny", w.port), bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", event)
	req.Header.Set("X-GitHub-Delivery", id)
	req.Header.Set("X-Hub-Signature-256", forgetest.Sign(secret, body))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing is read from it
	return resp.StatusCode
}

func at(p map[string]any, path ...string) map[string]any {
	for _, k := range path {
		next, ok := p[k].(map[string]any)
		if !ok {
			panic("no " + strings.Join(path, "."))
		}
		p = next
	}
	return p
}

func TestGitHub(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	ctx := t.Context()
	remote := filepath.Join(filepath.Dir(w.work), "remote.git")
	w.git("", "init", "-q", "--bare", "-b", "main", remote)
	w.git(w.work, "push", "-q", remote, "main")
	double := forgetest.NewGitHub(t)
	const repo = "octo-org/tiny"
	secret, err := w.s.helm.Connect(ctx, bosman.System(), "tiny", helm.Origin{Kind: "github", Repo: repo, CloneURL: remote, BaseURL: double.URL, Token: double.Token})
	if err != nil {
		t.Fatal(err)
	}
	head := w.git(w.work, "rev-parse", "main")
	push := payload(t, "push.json", func(p map[string]any) {
		at(p, "repository")["full_name"] = repo
		p["ref"], p["after"] = "refs/heads/main", head
	})
	if code := w.deliver("push", "a", "not the secret", push); code != http.StatusUnauthorized {
		t.Errorf("a wrong signature was answered %d", code)
	}
	if code := w.deliver("push", "a", secret, push); code != http.StatusOK {
		t.Fatalf("the push was answered %d", code)
	}
	w.staging(1)
	status := func(commit, state string) func() bool {
		return func() bool {
			all := double.Statuses()
			return len(all) > 0 && all[len(all)-1].Commit == commit && all[len(all)-1].State == state
		}
	}
	w.until("GitHub hears that main is green", 20*time.Second, status(head, "success"))

	// A stranger's pull request: built without secrets, never tried or merged.
	w.git(w.work, "checkout", "-q", "-b", "theirs")
	w.write("words.txt", "hello stranger\n")
	w.commit("from a fork")
	theirs := w.git(w.work, "rev-parse", "theirs")
	w.git(w.work, "push", "-q", remote, "theirs:refs/pull/7/head")
	pull := payload(t, "pull_request_fork_bob.json", func(p map[string]any) {
		at(p, "repository")["full_name"] = repo
		at(p, "pull_request", "base", "repo")["full_name"] = repo
		at(p, "pull_request", "base")["ref"] = "main"
		at(p, "pull_request", "head")["sha"] = theirs
		p["number"], at(p, "pull_request")["number"] = 7, 7
	})
	if code := w.deliver("pull_request", "b", secret, pull); code != http.StatusOK {
		t.Fatalf("the pull request was answered %d", code)
	}
	w.until("GitHub hears that the pull request is green", 30*time.Second, status(theirs, "success"))
	c, err := w.s.store.Change(ctx, "tiny", 1)
	if err != nil || c.Trust != bosman.TrustStranger || c.Head != theirs || c.URL == "" {
		t.Errorf("the change of the pull request: %+v, %v", c, err)
	}
	anna := bosman.Actor{Person: "anna"}
	if _, err := w.s.helm.Try(ctx, anna, "tiny", "c1", "testing-anna"); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a stranger's code was put on an instance: %v", err)
	}
	if _, err := w.s.helm.Merge(ctx, anna, "tiny", "c1"); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("a stranger's code was merged: %v", err)
	}

	// A merge by Bosman moves the forge's main too.
	w.git(w.work, "checkout", "-q", "-b", "ours", "main")
	w.write("words.txt", "hello ours\n")
	w.commit("ours")
	ours := w.git(w.work, "rev-parse", "ours")
	w.git(w.work, "push", "-q", remote, "ours")
	branch := payload(t, "push.json", func(p map[string]any) {
		at(p, "repository")["full_name"] = repo
		p["ref"], p["before"], p["after"] = "refs/heads/ours", strings.Repeat("0", 40), ours
	})
	if code := w.deliver("push", "c", secret, branch); code != http.StatusOK {
		t.Fatalf("the push of a branch was answered %d", code)
	}
	w.until("GitHub hears that the branch is green", 30*time.Second, status(ours, "success"))
	m, err := w.s.helm.Merge(ctx, anna, "tiny", "ours")
	if err != nil || m.Commit == "" {
		t.Fatalf("merge: %+v, %v", m, err)
	}
	if got := w.git(remote, "rev-parse", "main"); got != m.Commit {
		t.Errorf("the forge's main is %s, ours %s", got, m.Commit)
	}
}
