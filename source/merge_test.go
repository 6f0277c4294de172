package source

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

// seed makes a repository without a server and a clone that writes into it.
func seed(t *testing.T) (*Repos, *Repo, *clone) {
	t.Helper()
	repos, err := New(t.Context(), filepath.Join(t.TempDir(), "git"))
	if err != nil {
		t.Fatal(err)
	}
	repo, err := repos.Create(t.Context(), "rms", "main")
	if err != nil {
		t.Fatal(err)
	}
	c := &clone{t: t, dir: t.TempDir()}
	c.git("init", "--quiet", "--initial-branch=main")
	return repos, repo, c
}

// bring fetches a clone's branches, past the hooks.
func bring(t *testing.T, repo *Repo, c *clone) {
	t.Helper()
	if _, err := repo.Mirror(t.Context(), Remote{URL: c.dir}); err != nil {
		t.Fatal(err)
	}
}

func TestMergeResult(t *testing.T) {
	_, repo, c := seed(t)
	first := c.commit("a.txt", "1\n2\n3\n4\n5\n")
	c.git("checkout", "--quiet", "-b", "ff")
	ahead := c.commit("ff.txt", "x\n")
	c.git("checkout", "--quiet", "-b", "clean", first)
	clean := c.commit("b.txt", "b\n")
	c.git("checkout", "--quiet", "-b", "clash", first)
	c.write("ż \"ó\".txt", "theirs\n")
	clash := c.commit("a.txt", "1\ntheirs\n3\n4\n5\n")
	c.git("checkout", "--quiet", "main")
	c.write("ż \"ó\".txt", "ours\n")
	main := c.commit("a.txt", "1\nours\n3\n4\n5\n")
	c.git("checkout", "--quiet", "--orphan", "alien")
	alien := c.commit("z", "z")
	bring(t, repo, c)
	ctx := t.Context()

	m, err := repo.MergeResult(ctx, main, clean, "Merge branch 'clean'")
	if err != nil || m.Commit == "" || m.FastForward || m.Merged || len(m.Conflicts) != 0 {
		t.Fatalf("clean: %+v, %v", m, err)
	}
	commit, err := repo.Commit(ctx, m.Commit)
	if err != nil || !reflect.DeepEqual(commit.Parents, []string{main, clean}) || commit.Subject != "Merge branch 'clean'" || commit.Tree != m.Tree {
		t.Fatalf("merge commit %+v, %v", commit, err)
	}
	// the tree is what git merge gives
	c.git("checkout", "--quiet", "-B", "by-hand", main)
	c.git("merge", "--quiet", "--no-edit", "clean")
	mustEqual(t, "tree", m.Tree, c.git("rev-parse", "HEAD^{tree}"))

	// the same inputs, later and in another repository, give the same commit
	time.Sleep(1100 * time.Millisecond) // git's times are whole seconds
	_, second, _ := seed(t)
	bring(t, second, c)
	again, err := second.MergeResult(ctx, main, clean, "Merge branch 'clean'")
	if err != nil || !reflect.DeepEqual(again, m) {
		t.Fatalf("again %+v, %v; first %+v", again, err, m)
	}

	m, err = repo.MergeResult(ctx, first, ahead, "")
	if err != nil || !m.FastForward || m.Commit == ahead || m.Tree != c.git("rev-parse", ahead+"^{tree}") {
		t.Fatalf("fast-forward: %+v, %v", m, err)
	}
	m, err = repo.MergeResult(ctx, main, first, "")
	if err != nil || !m.Merged || m.Commit != main {
		t.Fatalf("contained: %+v, %v", m, err)
	}
	m, err = repo.MergeResult(ctx, main, main, "")
	if err != nil || !m.Merged || m.Commit != main {
		t.Fatalf("itself: %+v, %v", m, err)
	}
	m, err = repo.MergeResult(ctx, "", clean, "")
	if err != nil || m.Commit != clean || m.Tree == "" {
		t.Fatalf("no main yet: %+v, %v", m, err)
	}
	m, err = repo.MergeResult(ctx, main, clash, "")
	if err != nil || m.Commit != "" || !reflect.DeepEqual(m.Conflicts, []string{"a.txt", "ż \"ó\".txt"}) {
		t.Fatalf("clash: %+v, %v", m, err)
	}
	_, err = repo.MergeResult(ctx, main, alien, "")
	mustKind(t, err, bosman.KindConflict)
	_, err = repo.MergeResult(ctx, main, strings.Repeat("ab", 20), "")
	mustKind(t, err, bosman.KindNotFound)
	_, err = repo.MergeResult(ctx, "main", clean, "")
	mustKind(t, err, bosman.KindInvalid)
}

func TestMergeResultsSurviveGC(t *testing.T) {
	_, repo, c := seed(t)
	first := c.commit("a", "1")
	c.git("checkout", "--quiet", "-b", "change")
	head := c.commit("b", "2")
	bring(t, repo, c)
	ctx := t.Context()
	m, err := repo.MergeResult(ctx, first, head, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Move(ctx, "change", "", head); err != nil { // the branch is deleted
		t.Fatal(err)
	}
	gc := func() {
		if out, err := exec.Command("git", "--git-dir="+repo.Dir(), "-c", "core.logAllRefUpdates=false", "reflog", "expire", "--expire=now", "--all").CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		if out, err := exec.Command("git", "--git-dir="+repo.Dir(), "gc", "--quiet", "--prune=now").CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	gc()
	if _, err := repo.Commit(ctx, m.Commit); err != nil {
		t.Fatalf("the merge result is gone: %v", err)
	}
	if list, err := repo.Merges(ctx); err != nil || !reflect.DeepEqual(list, []string{m.Commit}) {
		t.Fatalf("merges %v, %v", list, err)
	}
	if err := repo.Keep(ctx, head); err != nil {
		t.Fatal(err)
	}
	if err := repo.setHidden(ctx, mergePrefix, []string{m.Commit}, false); err != nil {
		t.Fatal(err)
	}
	gc()
	if _, err := repo.Commit(ctx, head); err != nil {
		t.Fatalf("the kept commit is gone: %v", err)
	}
	if err := repo.Forget(ctx, head, m.Commit); err != nil { // one of them is not there: fine
		t.Fatal(err)
	}
	gc()
	_, err = repo.Commit(ctx, head)
	mustKind(t, err, bosman.KindNotFound)
	if err := repo.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestMoveMainComparesAndSwaps(t *testing.T) {
	_, repo, c := seed(t)
	first := c.commit("a", "1")
	second := c.commit("a", "2")
	third := c.commit("a", "3")
	c.git("branch", "-m", "main", "work")
	bring(t, repo, c)
	ctx := t.Context()
	if err := repo.MoveMain(ctx, first, ""); err != nil {
		t.Fatal(err)
	}
	if err := repo.MoveMain(ctx, second, first); err != nil {
		t.Fatal(err)
	}
	if err := repo.MoveMain(ctx, second, first); err != nil {
		t.Fatalf("made once more after a crash: %v", err)
	}
	err := repo.MoveMain(ctx, third, first)
	mustKind(t, err, bosman.KindConflict)
	mustContain(t, err.Error(), "main moved meanwhile", bosman.Short(second))
	mustKind(t, repo.MoveMain(ctx, third, ""), bosman.KindConflict)
	mustKind(t, repo.MoveMain(ctx, "HEAD", second), bosman.KindInvalid)
	if at, err := repo.Resolve(ctx, "main"); err != nil || at != second {
		t.Fatalf("main is at %s, %v", at, err)
	}
}

func TestTag(t *testing.T) {
	_, repo, c := seed(t)
	first := c.commit("a", "1")
	second := c.commit("a", "2")
	bring(t, repo, c)
	ctx := t.Context()
	by := Signature{Name: "Anna <evil>", Email: "anna@example.org", At: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	for range 2 { // the second time it is there already
		if err := repo.Tag(ctx, "live-2026-11-23", first, "d37 put r136 live\n\n# kept", by); err != nil {
			t.Fatal(err)
		}
	}
	mustKind(t, repo.Tag(ctx, "live-2026-11-23", second, "x", by), bosman.KindConflict)
	for _, bad := range []string{"", "-d", "a b", "a..b", "x.lock", "a:b"} {
		mustKind(t, repo.Tag(ctx, bad, first, "x", by), bosman.KindInvalid)
	}
	out, err := repo.git(ctx, "cat-file", "tag", "live-2026-11-23")
	if err != nil {
		t.Fatal(err)
	}
	mustContain(t, string(out), "tagger Anna evil <anna@example.org> 1795424400 +0000", "d37 put r136 live", "# kept")
}

func TestRecover(t *testing.T) {
	_, repo, c := seed(t)
	first := c.commit("a", "1")
	second := c.commit("a", "2")
	bring(t, repo, c)
	ctx := t.Context()
	for _, name := range []string{"refs/heads/main.lock", "packed-refs.lock", "objects/tmp_objdir-incoming-x/pack/p", "export-1/index"} {
		full := filepath.Join(repo.Dir(), name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustKind(t, repo.MoveMain(ctx, first, second), bosman.KindUnavailable)
	if removed, err := repo.Recover(time.Hour); err != nil || len(removed) != 0 {
		t.Fatalf("removed %v, %v", removed, err)
	}
	if removed, err := repo.Recover(0); err != nil || len(removed) != 4 {
		t.Fatalf("removed %v, %v", removed, err)
	}
	if err := repo.MoveMain(ctx, first, second); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkMergeResult(b *testing.B) {
	repos, err := New(b.Context(), filepath.Join(b.TempDir(), "git"))
	if err != nil {
		b.Fatal(err)
	}
	repo, err := repos.Create(b.Context(), "rms", "main")
	if err != nil {
		b.Fatal(err)
	}
	c := &clone{t: b, dir: b.TempDir()}
	c.git("init", "--quiet", "--initial-branch=main")
	for i := range 500 {
		c.write(fmt.Sprintf("d%d/%d.txt", i%20, i), fmt.Sprint(i))
	}
	first := c.commit("a", "1")
	main := c.commit("b", "1")
	c.git("checkout", "--quiet", "-b", "change", first)
	head := c.commit("c", "1")
	if _, err := repo.Mirror(b.Context(), Remote{URL: c.dir}); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if _, err := repo.MergeResult(b.Context(), main, head, fmt.Sprint(i)); err != nil {
			b.Fatal(err)
		}
	}
}

func TestMirrorAndPush(t *testing.T) {
	_, repo, c := seed(t)
	first := c.commit("a", "1")
	c.git("branch", "old")
	c.git("tag", "v1")
	c.git("update-ref", "refs/pull/7/head", first)
	ctx := t.Context()
	remote := Remote{URL: "file://" + c.dir, Pulls: true}
	moved, err := repo.Mirror(ctx, remote)
	if err != nil || len(moved) != 4 {
		t.Fatalf("moved %v, %v", moved, err)
	}
	if pulls, err := repo.Pulls(ctx); err != nil || pulls["7"] != first {
		t.Fatalf("pulls %v, %v", pulls, err)
	}
	if moved, err = repo.Mirror(ctx, remote); err != nil || len(moved) != 0 {
		t.Fatalf("moved %v, %v", moved, err)
	}
	second := c.commit("a", "2")
	c.git("branch", "-D", "old")
	moved, err = repo.Mirror(ctx, remote)
	want := []RefUpdate{{Ref: "refs/heads/main", Old: first, New: second}, {Ref: "refs/heads/old", Old: first, New: Zero}}
	if err != nil || !reflect.DeepEqual(moved, want) {
		t.Fatalf("moved %v, %v", moved, err)
	}
	c.git("checkout", "--quiet", "--detach")
	if err := repo.Push(ctx, remote, first, "refs/heads/release", ""); err != nil {
		t.Fatal(err)
	}
	mustKind(t, repo.Push(ctx, remote, second, "refs/heads/release", second), bosman.KindConflict)
	if err := repo.Push(ctx, remote, second, "refs/heads/release", first); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "pushed", c.git("rev-parse", "release"), second)
	_, err = repo.Mirror(ctx, Remote{URL: "file:///nonexistent/x.git"})
	mustKind(t, err, bosman.KindUnavailable)
	for _, bad := range []string{"", "--upload-pack=x", "ext::sh -c x", "https://a:b@example.org/x.git", "x.git"} {
		_, err := repo.Mirror(ctx, Remote{URL: bad})
		mustKind(t, err, bosman.KindInvalid)
	}
}

func TestCreateAndRemove(t *testing.T) {
	repos, repo, c := seed(t)
	head := c.commit("a", "1")
	bring(t, repo, c)
	ctx := t.Context()
	if err := os.RemoveAll(filepath.Join(repo.Dir(), "hooks")); err != nil {
		t.Fatal(err)
	}
	if _, err := repos.Create(ctx, "rms", "main"); err != nil { // mends it
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(repo.Dir(), "hooks", hookPreReceive)); err != nil {
		t.Fatal(err)
	}
	if at, err := repo.Resolve(ctx, "main"); err != nil || at != head {
		t.Fatalf("main at %s, %v", at, err)
	}
	if size, err := repo.Size(); err != nil || size == 0 {
		t.Fatalf("size %d, %v", size, err)
	}
	out, err := repo.git(ctx, "config", "--get", "receive.fsck.badTimezone")
	if err != nil || strings.TrimSpace(string(out)) != "warn" {
		t.Fatalf("config %q, %v", out, err)
	}
	if apps, err := repos.List(); err != nil || !reflect.DeepEqual(apps, []string{"rms"}) {
		t.Fatalf("apps %v, %v", apps, err)
	}
	for range 2 {
		if err := repos.Remove("rms"); err != nil {
			t.Fatal(err)
		}
	}
	_, err = repos.Open("rms")
	mustKind(t, err, bosman.KindNotFound)
	_, err = repos.Create(ctx, "../rms", "")
	mustKind(t, err, bosman.KindInvalid)
	_, err = repos.Create(ctx, "ok", "-x")
	mustKind(t, err, bosman.KindInvalid)
}
