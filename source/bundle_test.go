package source

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/bosman-cd/bosman"
)

// TestBundle brings a repository back with all its refs, hidden ones too.
func TestBundle(t *testing.T) {
	repos, err := New(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	repo, err := repos.Create(t.Context(), "rms", "trunk")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := repo.Digest(t.Context()); err != nil || d != "" {
		t.Fatalf("%q, %v", d, err)
	}
	tree, err := repo.git(t.Context(), "hash-object", "-w", "-t", "tree", "/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	commit := func(message string) string {
		t.Helper()
		out, err := repo.run(t.Context(), call{
			args: []string{"commit-tree", string(bytes.TrimSpace(tree)), "-m", message},
			env:  []string{"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(bytes.TrimSpace(out))
	}
	for _, ref := range []string{"refs/heads/trunk", "refs/heads/feature/ż", "refs/tags/live-r1", "refs/bosman/keep/x", "refs/bosman/merge/y"} {
		if _, err := repo.git(t.Context(), "update-ref", ref, commit(ref)); err != nil {
			t.Fatal(err)
		}
	}
	digest, err := repo.Digest(t.Context())
	if err != nil || len(digest) != 64 {
		t.Fatalf("%q, %v", digest, err)
	}
	file := filepath.Join(t.TempDir(), "bundle")
	var out bytes.Buffer
	if err := repo.Bundle(t.Context(), digest, &out); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := New(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Unbundle(t.Context(), "rms", "trunk", file, "other"); bosman.KindOf(err) != bosman.KindFailed {
		t.Fatalf("content that is not what was wanted: %v", err)
	}
	for range 2 {
		if err := other.Unbundle(t.Context(), "rms", "trunk", file, digest); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Unbundle(t.Context(), "blank", "", "", ""); err != nil {
		t.Fatal(err)
	}
	back, err := other.Open("rms")
	if err != nil {
		t.Fatal(err)
	}
	if main, err := back.MainBranch(t.Context()); err != nil || main != "trunk" {
		t.Errorf("main is %q, %v", main, err)
	}
	if _, err := os.Stat(filepath.Join(back.Dir(), "hooks", hookPreReceive)); err != nil {
		t.Error(err)
	}
	if apps, err := other.List(); err != nil || len(apps) != 2 {
		t.Errorf("%q, %v", apps, err)
	}
	if _, err := repo.git(t.Context(), "update-ref", "refs/heads/new", commit("new")); err != nil {
		t.Fatal(err)
	}
	if err := repo.Bundle(t.Context(), digest, &out); bosman.KindOf(err) != bosman.KindBusy {
		t.Errorf("a repository that moved: %v", err)
	}
	moved, err := repo.Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Unbundle(t.Context(), "rms", "trunk", file, moved); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("over another: %v", err)
	}
	half := filepath.Join(t.TempDir(), "half")
	if err := os.WriteFile(half, out.Bytes()[:out.Len()/3], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := other.Unbundle(t.Context(), "half", "trunk", half, digest); err == nil {
		t.Error("half a bundle was taken")
	}
	if _, err := other.Open("half"); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("half a repository is there: %v", err)
	}
}
