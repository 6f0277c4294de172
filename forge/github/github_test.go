package github

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/forge"
	"github.com/bosman-cd/bosman/forge/forgetest"
)

const secret = "a good long secret"

func newHost(t *testing.T, cfg Config) *Host {
	t.Helper()
	if cfg.Secrets == nil {
		cfg.Secrets = []string{secret}
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func load(t *testing.T, name string) []byte {
	t.Helper()
	body, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func headers(event, id string, body []byte) http.Header {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("X-GitHub-Event", event)
	h.Set("X-GitHub-Delivery", id)
	h.Set("X-Hub-Signature-256", forgetest.Sign(secret, body))
	return h
}

func hash(c string) string { return strings.Repeat(c, 40) }

func TestParse(t *testing.T) {
	h := newHost(t, Config{Repo: "Acme/rms"})
	for _, tt := range []struct {
		file, event string
		key         string
		want        forge.Delivery
	}{
		{"push", "push", "branch/sort-candidates", forge.Delivery{Kind: forge.BranchPushed, Branch: "sort-candidates", Old: hash("a"), Head: hash("b"), Forced: true, Trust: bosman.TrustTeam}},
		{"push_new_branch", "push", "branch/feature/nowa-gałąź", forge.Delivery{Kind: forge.BranchPushed, Branch: "feature/nowa-gałąź", Head: hash("b"), Trust: bosman.TrustTeam}},
		{"push_delete", "push", "branch/sort-candidates", forge.Delivery{Kind: forge.BranchDeleted, Branch: "sort-candidates", Old: hash("b"), Trust: bosman.TrustTeam}},
		{"push_tag", "push", "branch/v1.2", forge.Delivery{Kind: forge.TagPushed, Branch: "v1.2", Head: hash("c"), Trust: bosman.TrustTeam}},
		{"delete", "delete", "branch/sort-candidates", forge.Delivery{Kind: forge.BranchDeleted, Branch: "sort-candidates", Trust: bosman.TrustTeam}},
		{"pull_request_opened", "pull_request", "branch/sort-candidates", forge.Delivery{Kind: forge.PullUpdated, Branch: "sort-candidates", Head: hash("b"), Pull: 41, Base: "main", Title: "Sort candidates", Author: "anna-k", URL: "https://github.com/acme/rms/pull/41", Trust: bosman.TrustTeam}},
		{"pull_request_fork_eve", "pull_request", "pull/42", forge.Delivery{Kind: forge.PullUpdated, Branch: "patch-1", Head: hash("c"), Pull: 42, Base: "main", Title: "Sort candidates", Author: "eve", URL: "https://github.com/acme/rms/pull/42", Fork: "eve", Trust: bosman.TrustStranger}},
		{"pull_request_fork_bob", "pull_request", "pull/43", forge.Delivery{Kind: forge.PullUpdated, Branch: "patch-1", Old: hash("c"), Head: hash("d"), Pull: 43, Base: "main", Title: "Sort candidates", Author: "bob", URL: "https://github.com/acme/rms/pull/43", Fork: "bob", Trust: bosman.TrustStranger}},
		{"pull_request_fork_gone", "pull_request", "pull/44", forge.Delivery{Kind: forge.PullUpdated, Branch: "patch-1", Head: hash("c"), Pull: 44, Base: "main", Title: "Sort candidates", Author: "eve", URL: "https://github.com/acme/rms/pull/44", Fork: "eve", Trust: bosman.TrustStranger}},
		{"pull_request_merged", "pull_request", "branch/sort-candidates", forge.Delivery{Kind: forge.PullClosed, Branch: "sort-candidates", Head: hash("b"), Pull: 41, Base: "main", Title: "Sort candidates", Author: "anna-k", URL: "https://github.com/acme/rms/pull/41", Merged: true, Merge: hash("e"), Trust: bosman.TrustTeam}},
		{"ping", "ping", "branch/", forge.Delivery{Kind: forge.Ping}},
	} {
		d, ok, err := h.Parse(forge.Raw{ID: "1", Event: tt.event, Body: load(t, tt.file)})
		if err != nil || !ok {
			t.Errorf("%s: ok %v, %v", tt.file, ok, err)
			continue
		}
		if d.Repo != "acme/rms" || d.CloneURL != "https://github.com/acme/rms.git" || d.ID != "1" || d.Sender == "" || d.ChangeKey() != tt.key {
			t.Errorf("%s: %+v, key %s", tt.file, d, d.ChangeKey())
		}
		d.ID, d.Repo, d.CloneURL, d.Sender = "", "", "", ""
		if d != tt.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tt.file, d, tt.want)
		}
	}
	for file, event := range map[string]string{"pull_request_labeled": "pull_request", "star": "star"} {
		if _, ok, err := h.Parse(forge.Raw{Event: event, Body: load(t, file)}); ok || err != nil {
			t.Errorf("%s: ok %v, %v", file, ok, err)
		}
	}
	for _, bad := range []string{"", "[]", "{}", `{"repository":{"full_name":"acme/rms"},"ref":"refs/heads/x"}`, `{"repository":{"full_name":"acme/rms"},"ref":"refs/heads/x","before":"--all","after":"-x"}`} {
		if _, _, err := h.Parse(forge.Raw{Event: "push", Body: []byte(bad)}); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, _, err := newHost(t, Config{Repo: "acme/other"}).Parse(forge.Raw{Event: "push", Body: load(t, "push")}); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("another repository: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"push", "pull_request_fork_eve", "delete", "ping"} {
		body, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.SplitN(name, "_fork", 2)[0], body)
	}
	h, err := New(Config{Secrets: []string{secret}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		d, ok, err := h.Parse(forge.Raw{Event: event, Body: body})
		if ok && err != nil || ok && d.Kind == "" {
			t.Fatalf("%+v, %v", d, err)
		}
		if ok && d.Pull > 0 && d.Fork == "" && d.Trust != bosman.TrustTeam {
			t.Fatal("a stranger without a fork")
		}
	})
}

// post delivers through the whole handler.
func post(h http.Handler, header http.Header, body []byte) (int, string) {
	r := httptest.NewRequest("POST", "/hooks/github/rms", bytes.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestWebhook(t *testing.T) {
	store := &forgetest.Memory{}
	woken := 0
	hook := &forge.Webhook{Host: newHost(t, Config{Secrets: []string{"the one before", secret}}), Inbox: store.Inbox(), Wake: func() { woken++ }, Max: 20 << 10}
	body := load(t, "push")
	with := func(change func(http.Header)) http.Header {
		h := headers("push", "d-1", body)
		change(h)
		return h
	}
	oldMAC := hmac.New(sha1.New, []byte(secret))
	oldMAC.Write(body)
	oldSignature := "sha1=" + hex.EncodeToString(oldMAC.Sum(nil))
	for _, tt := range []struct {
		name   string
		header http.Header
		body   []byte
		status int
		kept   int
	}{
		{"no signature", with(func(h http.Header) { h.Del("X-Hub-Signature-256") }), body, 401, 0},
		{"wrong secret", with(func(h http.Header) { h.Set("X-Hub-Signature-256", forgetest.Sign("another secret", body)) }), body, 401, 0},
		{"an older algorithm alone", with(func(h http.Header) { h.Del("X-Hub-Signature-256"); h.Set("X-Hub-Signature", oldSignature) }), body, 401, 0},
		{"an older algorithm in its place", with(func(h http.Header) { h.Set("X-Hub-Signature-256", oldSignature) }), body, 401, 0},
		{"half a signature", with(func(h http.Header) { h.Set("X-Hub-Signature-256", h.Get("X-Hub-Signature-256")[:39]) }), body, 401, 0},
		{"no digits", with(func(h http.Header) { h.Set("X-Hub-Signature-256", "sha256=") }), body, 401, 0},
		{"another body", with(func(http.Header) {}), append([]byte(" "), body...), 401, 0},
		{"no number", with(func(h http.Header) { h.Del("X-GitHub-Delivery") }), body, 400, 0},
		{"no JSON", with(func(h http.Header) { h.Set("Content-Type", "text/plain") }), body, 400, 0},
		{"too large", headers("push", "d-1", bytes.Repeat([]byte("x"), 21<<10)), bytes.Repeat([]byte("x"), 21<<10), 413, 0},
		{"unknown event", headers("star", "d-0", load(t, "star")), load(t, "star"), 202, 0},
		{"label", headers("pull_request", "d-0", load(t, "pull_request_labeled")), load(t, "pull_request_labeled"), 202, 0},
		{"good", with(func(http.Header) {}), body, 200, 1},
		{"delivered again", with(func(http.Header) {}), body, 200, 1},
		{"replayed under another number", with(func(h http.Header) { h.Set("X-GitHub-Delivery", "d-2") }), body, 200, 1},
		{"signed with the secret before", with(func(h http.Header) {
			h.Set("X-GitHub-Delivery", "d-3")
			h.Set("X-GitHub-Event", "ping")
			h.Set("X-Hub-Signature-256", forgetest.Sign("the one before", load(t, "ping")))
		}), load(t, "ping"), 200, 2},
	} {
		status, text := post(hook, tt.header, tt.body)
		if status != tt.status || len(store.Raws()) != tt.kept || woken != tt.kept {
			t.Errorf("%s: %d %q, %d kept, woken %d times", tt.name, status, text, len(store.Raws()), woken)
		}
	}
	form := []byte(url.Values{"payload": {string(load(t, "push_tag"))}}.Encode())
	header := headers("push", "d-4", form)
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	if status, text := post(hook, header, form); status != 200 || len(store.Raws()) != 3 || !json.Valid(store.Raws()[2].Body) {
		t.Errorf("a form: %d %s", status, text)
	}
	w := httptest.NewRecorder()
	hook.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 405 {
		t.Errorf("GET gave %d", w.Code)
	}
}

// Defect A: a burst against a busy store loses nothing.
func TestBurstAgainstABusyStore(t *testing.T) {
	store := &forgetest.Memory{}
	busy := errors.New("database is locked")
	for range 30 {
		store.Fail(busy)
	}
	hook := &forge.Webhook{Host: newHost(t, Config{}), Inbox: store.Inbox()}
	var wg sync.WaitGroup
	for i := range 160 {
		body := bytes.Replace(load(t, "push"), []byte("sort-candidates"), fmt.Appendf(nil, "branch-%d", i), 1)
		wg.Go(func() {
			if status, text := post(hook, headers("push", fmt.Sprint("d-", i), body), body); status != 200 {
				t.Errorf("delivery %d: %d %s", i, status, text)
			}
		})
	}
	wg.Wait()
	if n := len(store.Raws()); n != 160 {
		t.Fatalf("%d of 160 deliveries were kept", n)
	}
}

// Defect C: forks with the same branch name are different changes.
func TestForksWithTheSameBranch(t *testing.T) {
	h := newHost(t, Config{})
	keys := map[string]bool{}
	for _, name := range []string{"pull_request_fork_eve", "pull_request_fork_bob", "pull_request_fork_gone"} {
		d, _, err := h.Parse(forge.Raw{Event: "pull_request", Body: load(t, name)})
		if err != nil || d.Branch != "patch-1" || d.Trust != bosman.TrustStranger {
			t.Fatalf("%+v, %v", d, err)
		}
		keys[d.ChangeKey()] = true
	}
	if len(keys) != 3 {
		t.Fatalf("keys %v", keys)
	}
}

func TestStatus(t *testing.T) {
	g := forgetest.NewGitHub(t)
	h := newHost(t, Config{Token: g.Token, BaseURL: g.URL})
	ctx := t.Context()
	s := forge.Status{Repo: "acme/rms", Commit: hash("b"), State: forge.Success, Description: strings.Repeat("ż", 200), URL: "https://bosman.example.org/rms/b412"}
	if err := h.SetStatus(ctx, s); err != nil {
		t.Fatal(err)
	}
	want := forgetest.Posted{Repo: "acme/rms", Commit: hash("b"), State: "success", Context: "bosman", Description: strings.Repeat("ż", 139) + "…", Link: s.URL}
	if got := g.Statuses(); len(got) != 1 || got[0] != want {
		t.Fatalf("posted %+v", got)
	}
	reset := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, tt := range []struct {
		status int
		header map[string]string
		kind   bosman.ErrorKind
		later  time.Time
	}{
		{500, nil, bosman.KindUnavailable, time.Time{}},
		{502, nil, bosman.KindUnavailable, time.Time{}},
		{401, nil, bosman.KindForbidden, time.Time{}},
		{404, nil, bosman.KindInvalid, time.Time{}},
		{422, nil, bosman.KindInvalid, time.Time{}},
		{403, nil, bosman.KindForbidden, time.Time{}},
		{403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Limit": "5000", "X-RateLimit-Reset": fmt.Sprint(reset.Unix())}, bosman.KindUnavailable, reset},
	} {
		g.Answer(tt.status, tt.header)
		err := h.SetStatus(ctx, s)
		var later *forge.Later
		if bosman.KindOf(err) != tt.kind || errors.As(err, &later) == tt.later.IsZero() || later != nil && !later.At.Equal(tt.later) {
			t.Errorf("%d %v: %v (%v)", tt.status, tt.header, err, later)
		}
	}
	for _, repo := range []string{"", "acme", "acme/", "a/b/c", "../x", "a/b?c"} {
		s.Repo = repo
		if err := h.SetStatus(ctx, s); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("%q: %v", repo, err)
		}
	}
}

func TestComment(t *testing.T) {
	g := forgetest.NewGitHub(t)
	h := newHost(t, Config{Token: g.Token, BaseURL: g.URL})
	for i := range 150 { // ours comes on the second page
		g.AddComment("acme/rms", 41, fmt.Sprint("chat ", i))
	}
	c := forge.Comment{Repo: "acme/rms", Pull: 41, Key: "build", Text: "b412 is running"}
	for _, text := range []string{"b412 is running", "b412 is green", "b412 is green"} {
		c.Text = text
		if err := h.Comment(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	c.Key, c.Text = "hazards", "c12 is stale"
	if err := h.Comment(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	got := g.Comments("acme/rms", 41)
	if len(got) != 152 || !strings.HasSuffix(got[150], "b412 is green") || !strings.HasSuffix(got[151], "c12 is stale") {
		t.Fatalf("%d comments, the last %q", len(got), got[150:])
	}
}

func TestPulls(t *testing.T) {
	g := forgetest.NewGitHub(t)
	h := newHost(t, Config{Token: g.Token, BaseURL: g.URL})
	h2 := newHost(t, Config{})
	var want []forge.Delivery
	for _, name := range []string{"pull_request_opened", "pull_request_fork_eve", "pull_request_fork_gone"} {
		var p struct {
			Pull json.RawMessage `json:"pull_request"`
		}
		if err := json.Unmarshal(load(t, name), &p); err != nil {
			t.Fatal(err)
		}
		g.AddPull(p.Pull)
		d, _, err := h2.Parse(forge.Raw{Event: "pull_request", Body: load(t, name)})
		if err != nil {
			t.Fatal(err)
		}
		d.Sender = ""
		want = append(want, d)
	}
	got, err := h.Pulls(t.Context(), "acme/rms")
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
}

func TestNewRefusesWeakSecrets(t *testing.T) {
	for _, secrets := range [][]string{nil, {""}, {"short"}, {secret, ""}} {
		if _, err := New(Config{Secrets: secrets}); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("%q: %v", secrets, err)
		}
	}
}
