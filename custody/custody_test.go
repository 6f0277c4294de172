package custody

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/vault"
)

// site is an installation whose state is kept.
type site struct {
	t      *testing.T
	data   string
	target string
	keys   *vault.Keys
	store  *vault.Store
	*Keeper

	rows, mark, urgent string
	repos              map[string]string // app → content
	bundled            int
	moving             int // how often the repository moves while it is bundled
	releases           []Release
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, data: t.TempDir(), target: filepath.Join(t.TempDir(), "target"), rows: "rows 1", mark: "1", repos: map[string]string{"rms": "history 1", "blank": ""}}
	var err error
	if s.keys, err = vault.OpenKeys(filepath.Join(s.data, "backup.key")); err != nil {
		t.Fatal(err)
	}
	s.store = s.open(s.keys)
	for name, text := range map[string]string{"secrets.key": "secret\n"} {
		if err := os.WriteFile(filepath.Join(s.data, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(s.data, "releases", "rms", "r1")
	for name, text := range map[string]string{"tree/app.py": "print()\n", "tree/bin/run": "#!/bin/sh\n", "variants/live/a.css": "x", identityFile: `{"listing":"1"}`} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // as in a release
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "tree/bin/run"), 0o755), os.Symlink("app.py", filepath.Join(dir, "tree/link")), os.Mkdir(filepath.Join(dir, "tree/media"), 0o755)); err != nil { //nolint:gosec // as in a release
		t.Fatal(err)
	}
	s.releases = []Release{{"rms", 1, dir}, {"rms", 9, filepath.Join(s.data, "releases", "rms", "r9")}} // one is not on this machine
	s.Keeper = New(Config{
		Data: s.data, Vault: func(context.Context) (*vault.Store, error) { return s.store, nil }, Sources: s, Home: s.target,
		Files: []string{"secrets.key", "wall.key", "backup.key", SiteFile, RecoveryFile}, Version: "1.2", Flags: []string{"--listen :80"},
	})
	return s
}

func (s *site) open(keys *vault.Keys) *vault.Store {
	s.t.Helper()
	v, err := vault.Open(s.t.Context(), s.target, vault.Options{Keys: keys})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = v.Close() }) // a handle
	return v
}

func (s *site) Snapshot(_ context.Context, file string) error {
	return os.WriteFile(file, []byte(s.rows), 0o600)
}

func (s *site) Mark(context.Context) (string, string, error) { return s.mark, s.urgent, nil }

func (s *site) Repos(context.Context) ([]Repo, error) {
	var out []Repo
	for _, app := range []string{"rms", "blank"} {
		out = append(out, Repo{
			App: app, Main: "main",
			Digest: func(context.Context) (string, error) {
				if s.repos[app] == "" {
					return "", nil
				}
				return fmt.Sprintf("%x", sha256.Sum256([]byte(s.repos[app]))), nil
			},
			Bundle: func(_ context.Context, digest string, w io.Writer) error {
				s.bundled++
				if _, err := io.WriteString(w, s.repos[app]); err != nil {
					return err
				}
				if s.moving > 0 {
					s.moving--
					s.repos[app] += "+"
					return bosman.Busy("moved")
				}
				return nil
			},
		})
	}
	return out, nil
}

func (s *site) Releases(context.Context) ([]Release, error) { return s.releases, nil }

func (s *site) backup() Status {
	s.t.Helper()
	st, err := s.Backup(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

func (s *site) objects(prefix string) (names []string) {
	s.t.Helper()
	for i, err := range s.store.List(s.t.Context(), prefix) {
		if err != nil {
			s.t.Fatal(err)
		}
		names = append(names, i.Name)
	}
	return names
}

// TestBackUpAndBringBack with the recovery key alone.
func TestBackUpAndBringBack(t *testing.T) {
	s := newSite(t)
	rec, err := OpenRecovery(filepath.Join(s.data, RecoveryFile), s.keys)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := rec.Make("ola", false)
	if err != nil {
		t.Fatal(err)
	}
	s.moving = 2
	st := s.backup()
	if st.Name == "" || st.Bytes == 0 || st.Key != rec.Key().Fingerprint || st.Mark != "1" {
		t.Fatalf("%+v", st)
	}
	if kept, err := ReadStatus(s.data); err != nil || kept.Name != st.Name {
		t.Fatalf("%+v, %v", kept, err)
	}
	key, err := vault.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	v := s.open(key)
	state, skipped, err := Newest(t.Context(), v, "")
	if err != nil || len(skipped) != 0 || state.Version != "1.2" || state.Target != s.target || len(state.Repos) != 2 || len(state.Releases) != 1 {
		t.Fatalf("%+v, %q, %v", state, skipped, err)
	}
	to := t.TempDir()
	for range 2 { // again, as after an interruption
		if err := Bring(t.Context(), v, state, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{rowsFile: "rows 1", "secrets.key": "secret\n"} {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"backup.key", SiteFile, RecoveryFile} {
		was, err := os.ReadFile(filepath.Join(s.data, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != string(was) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, p := range state.Repos {
		err := BringBundle(t.Context(), v, p, to, func(file string) error {
			if p.App == "blank" {
				if file != "" {
					t.Error("a bundle of nothing")
				}
				return nil
			}
			got, err := os.ReadFile(file)
			if string(got) != "history 1++" {
				t.Errorf("the bundle holds %q", got)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(to, "releases", "rms", "r1")
	for range 2 {
		if err := BringRelease(t.Context(), v, state.Releases[0], dir); err != nil {
			t.Fatal(err)
		}
	}
	if was, now := tree(t, s.releases[0].Dir), tree(t, dir); was != now {
		t.Errorf("the release was\n%s\nand is\n%s", was, now)
	}
}

// tree describes what the seal of a release covers.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil || p == dir {
			return err
		}
		text := ""
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			text, err = os.Readlink(p)
		case info.Mode().IsRegular():
			var data []byte
			data, err = os.ReadFile(p)
			text = string(data)
		}
		fmt.Fprintf(&b, "%s %v %d %q\n", strings.TrimPrefix(p, dir), info.Mode(), info.ModTime().UnixNano(), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestOnlyWhatChanged is written again, and what nobody needs goes.
func TestOnlyWhatChanged(t *testing.T) {
	s := newSite(t)
	first := s.backup()
	s.rows = "rows 2"
	s.backup()
	if s.bundled != 1 || len(s.objects(releasesPrefix)) != 1 || len(s.objects(statePrefix)) != 2 {
		t.Errorf("bundled %d times; %q", s.bundled, s.objects(""))
	}
	s.repos["rms"] = "history 2"
	s.backup()
	if n := s.objects(gitPrefix); s.bundled != 2 || len(n) != 2 {
		t.Errorf("bundled %d times; %q", s.bundled, n)
	}
	// A month later.
	names, err := States(t.Context(), s.store)
	if err != nil || len(names) != 3 || names[2] != first.Name {
		t.Fatalf("%q, %v", names, err)
	}
	st, _, err := Newest(t.Context(), s.store, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := retain(t.Context(), s.store, st, time.Now().Add(40*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := s.objects(""); len(n) != 4 || !slices.Contains(n, st.Name) || !slices.Contains(n, st.Repos[0].Object) {
		t.Errorf("after a month: %q", n)
	}
}

func TestRetention(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 30, 0, 0, time.UTC)
	var names []string
	for h := range 24 * 60 { // hourly for two months
		names = append(names, statePrefix+now.Add(-time.Duration(h)*time.Hour).Format(stampLayout))
	}
	keep := kept(names, now)
	if !keep[names[0]] || !keep[names[23]] || keep[names[25]] {
		t.Error("the states of the last day stay, older ones are thinned")
	}
	days, oldest := map[string]bool{}, ""
	for _, n := range names {
		if keep[n] {
			at, err := stampOf(n)
			if err != nil {
				t.Fatal(err)
			}
			days[at.Format(time.DateOnly)], oldest = true, n
		}
	}
	// 7 days, and the newest of each of 3 weeks before (this week is among the days).
	at, err := stampOf(oldest)
	if err != nil || len(days) < keepDays+2 || len(days) > keepDays+keepWeeks || now.Sub(at) < 14*24*time.Hour {
		t.Errorf("%d days, the oldest %s, %v", len(days), oldest, err)
	}
}

// TestDamagedStateIsPassedOver for the one before it.
func TestDamagedStateIsPassedOver(t *testing.T) {
	s := newSite(t)
	first := s.backup()
	time.Sleep(2 * time.Millisecond)
	second := s.backup()
	file := filepath.Join(s.target, second.Name+".zst.age")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-20] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	st, skipped, err := Newest(t.Context(), s.store, "")
	if err != nil || st.Name != first.Name || len(skipped) != 1 {
		t.Fatalf("%s, %q, %v", st.Name, skipped, err)
	}
	if err := os.Remove(filepath.Join(s.target, first.Name+".zst.age")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Newest(t.Context(), s.store, ""); bosman.KindOf(err) != bosman.KindFailed {
		t.Fatalf("only a damaged one: %v", err)
	}
	empty := newSite(t)
	if _, _, err := Newest(t.Context(), empty.store, ""); bosman.KindOf(err) != bosman.KindNotFound {
		t.Fatalf("none: %v", err)
	}
}

// TestTargetOfAnother is refused before anything is written.
func TestTargetOfAnother(t *testing.T) {
	s := newSite(t)
	s.backup()
	other := newSite(t)
	other.target = s.target
	other.store = other.open(other.keys)
	if _, err := other.Backup(t.Context()); bosman.KindOf(err) != bosman.KindConflict {
		t.Fatalf("%v", err)
	}
	st, err := ReadStatus(other.data)
	if err != nil || st.FailedAt.IsZero() || !strings.Contains(st.Error, "another Bosman") || st.Name != "" {
		t.Fatalf("%+v, %v", st, err)
	}
	if n := s.objects(statePrefix); len(n) != 1 {
		t.Errorf("%q", n)
	}
}

func TestDue(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)
	ok := Status{Name: "x", At: at, Mark: "1", Urgent: "r1", Key: "k"}
	failed := ok
	failed.FailedAt = at.Add(2 * time.Hour)
	for name, c := range map[string]struct {
		s                 Status
		mark, urgent, key string
		after             time.Duration
		want              bool
	}{
		"the first":             {Status{}, "1", "r1", "", 0, true},
		"nothing":               {ok, "1", "r1", "k", 3 * time.Hour, false},
		"changed just now":      {ok, "2", "r1", "k", 59 * time.Minute, false},
		"changed an hour ago":   {ok, "2", "r1", "k", time.Hour, true},
		"live serves another":   {ok, "2", "r2", "k", time.Minute, true},
		"a new key":             {ok, "1", "r1", "other", time.Second, true},
		"midnight":              {ok, "1", "r1", "k", 13 * time.Hour, false},
		"the night":             {ok, "1", "r1", "k", 14*time.Hour + time.Minute, true},
		"it failed a while ago": {failed, "2", "r1", "k", 2*time.Hour + 9*time.Minute, false},
		"time to try again":     {failed, "2", "r1", "k", 2*time.Hour + 10*time.Minute, true},
	} {
		if why := Due(c.s, c.mark, c.urgent, c.key, at.Add(c.after)); (why != "") != c.want {
			t.Errorf("%s: %q", name, why)
		}
	}
}

func TestRecoveryKey(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, RecoveryFile)
	keys, err := vault.OpenKeys(filepath.Join(dir, "backup.key"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenRecovery(file, keys)
	if err != nil || r.Key().Made {
		t.Fatalf("%+v, %v", r.Key(), err)
	}
	if err := r.Confirm("ola", "12345678"); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("confirmed before it was made: %v", err)
	}
	secret, err := r.Make("ola", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Make("jan", false); bosman.KindOf(err) != bosman.KindConflict || strings.Contains(err.Error(), secret[20:40]) {
		t.Errorf("shown twice: %v", err)
	}
	for _, wrong := range []string{"", "12345678", secret[:40], strings.ToLower(secret[len(secret)-7:])} {
		if err := r.Confirm("ola", wrong); bosman.KindOf(err) != bosman.KindInvalid || r.Key().Confirmed() {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	for _, right := range []string{secret, strings.ToLower(secret), " " + secret[:20] + " \n" + secret[20:], secret[len(secret)-8:]} {
		if err := r.Confirm("ola", right); err != nil || !r.Key().Confirmed() {
			t.Errorf("%q: %v", right, err)
		}
	}
	again, err := OpenRecovery(file, keys)
	if err != nil || again.Key() != r.Key() || again.Key().ConfirmedBy != "ola" {
		t.Fatalf("%+v, %v", again.Key(), err)
	}
	// The secret is nowhere.
	for _, f := range []string{file, filepath.Join(dir, "backup.key")} {
		text, err := os.ReadFile(f)
		if err != nil || strings.Contains(string(text), secret[16:60]) || strings.Contains(string(text), secret[len(secret)-8:]) {
			t.Errorf("%s holds it, %v", f, err)
		}
	}
	renewed, err := r.Make("ola", true)
	if err != nil || renewed == secret || r.Key().Confirmed() {
		t.Fatalf("%+v, %v", r.Key(), err)
	}
	if err := r.Confirm("ola", secret); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("the old key confirms the new one: %v", err)
	}
}

// TestHostileArchive: nothing is written outside.
func TestHostileArchive(t *testing.T) {
	s := newSite(t)
	st := State{Format: 1, Name: statePrefix + "x", Files: []FileSum{{Name: "../evil", Bytes: 0, SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}}
	about, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.Put(t.Context(), st.Name, func(w io.Writer) error {
		return writeTar(w, [][2]string{{aboutFile, string(about)}, {"../evil", ""}})
	}); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "data")
	if err := Bring(t.Context(), s.store, st, to); bosman.KindOf(err) != bosman.KindFailed {
		t.Errorf("%v", err)
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(writeTar(pw, [][2]string{{"../evil", "x"}})) }()
	if err := unpackTree(t.Context(), pr, filepath.Join(to, "tree")); bosman.KindOf(err) != bosman.KindFailed {
		t.Errorf("%v", err)
	}
	pr.CloseWithError(errors.New("read enough"))
}

// TestTargetGone: a disk that is not mounted is not taken for an empty target.
func TestTargetGone(t *testing.T) {
	s := newSite(t)
	s.backup()
	away := s.target + ".away"
	if err := os.Rename(s.target, away); err != nil {
		t.Fatal(err)
	}
	fails := func(text string) {
		t.Helper()
		_, err := s.Backup(t.Context())
		if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), text) {
			t.Fatalf("%v", err)
		}
		if st, err := ReadStatus(s.data); err != nil || st.FailedAt.IsZero() || st.Name == "" {
			t.Fatalf("%+v, %v", st, err)
		}
	}
	fails("cannot be used")
	if err := os.Mkdir(s.target, 0o700); err != nil {
		t.Fatal(err)
	}
	fails("is empty")
	if left, err := os.ReadDir(s.target); err != nil || len(left) > 0 {
		t.Fatalf("written to what is not the target: %v, %v", left, err)
	}
	if err := errors.Join(os.Remove(s.target), os.Rename(away, s.target)); err != nil {
		t.Fatal(err)
	}
	if st := s.backup(); !st.FailedAt.IsZero() {
		t.Fatalf("%+v", st)
	}
}
