package source

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// A tag may be named like main; it must not be taken for it.
func TestTagNamedLikeABranch(t *testing.T) {
	_, repo, c := seed(t)
	first := c.commit("a", "1")
	c.git("tag", "main")
	second := c.commit("a", "2")
	c.git("tag", "v1")
	bring(t, repo, c)
	ctx := t.Context()
	if at, err := repo.Resolve(ctx, "main"); err != nil || at != second {
		t.Fatalf("main is %s, %v", at, err)
	}
	if at, err := repo.Resolve(ctx, "v1"); err != nil || at != second {
		t.Fatalf("v1 is %s, %v", at, err)
	}
	if at, err := repo.Resolve(ctx, first[:9]); err != nil || at != first {
		t.Fatalf("%s is %s, %v", first[:9], at, err)
	}
	data, err := repo.ReadFile(ctx, "main", "a")
	if err != nil || string(data) != "2" {
		t.Fatalf("read %q, %v", data, err)
	}
	list, err := repo.Log(ctx, first, "main", 0)
	if err != nil || len(list) != 1 {
		t.Fatalf("log %v, %v", list, err)
	}
}

func TestLogAndAncestors(t *testing.T) {
	_, repo, c := seed(t)
	first := c.commit("a", "1")
	c.git("commit", "--quiet", "--allow-empty", "-m", "Zażółć: \x1f \"x\"\n\nbody\nmore")
	second := c.git("rev-parse", "HEAD")
	bring(t, repo, c)
	ctx := t.Context()
	list, err := repo.Log(ctx, first, second, 0)
	if err != nil || len(list) != 1 || list[0].Subject != "Zażółć: \x1f \"x\"" || list[0].Author.Name != "Anna" || list[0].Author.At.IsZero() {
		t.Fatalf("log %+v, %v", list, err)
	}
	if list, err = repo.Log(ctx, "", "main", 1); err != nil || len(list) != 1 || list[0].Hash != second {
		t.Fatalf("log %+v, %v", list, err)
	}
	for _, tt := range []struct {
		a, b string
		want bool
	}{{first, second, true}, {second, first, false}, {first, first, true}} {
		if got, err := repo.IsAncestor(ctx, tt.a, tt.b); err != nil || got != tt.want {
			t.Fatalf("IsAncestor %v: %v, %v", tt, got, err)
		}
	}
	_, err = repo.IsAncestor(ctx, strings.Repeat("ab", 20), first)
	mustKind(t, err, bosman.KindNotFound)
	for _, bad := range []string{"", "-x", "--all", "a..b", "^main", "main:a", "a\nb"} {
		_, err := repo.Resolve(ctx, bad)
		mustKind(t, err, bosman.KindInvalid)
	}
	_, err = repo.Resolve(ctx, "nothing")
	mustKind(t, err, bosman.KindNotFound)
}

func TestChangedFilesAndLines(t *testing.T) {
	_, repo, c := seed(t)
	c.write("gone.txt", "x\n")
	c.write("moved.txt", "m\n")
	c.write("bin.dat", "\x00\x01")
	c.write("sub/ż \"q\"\t.txt", "1\n2\n3\n")
	c.write("trap.txt", "1\n")
	base := c.commit("a.txt", "1\n2\n3\n4\n5\n6\n7\n8\n")
	c.git("rm", "--quiet", "gone.txt")
	c.git("mv", "moved.txt", "there.txt")
	c.write("bin.dat", "\x00\x02")
	c.write("sub/ż \"q\"\t.txt", "1\n2\nthree")
	c.write("trap.txt", "1\n++ b/fake.txt\n-- x\n@@ -1 +1 @@\n")
	head := c.commit("a.txt", "0\n1\n2\nthree\n4\n5\n6\nseven\neight\nnine\n")
	c.git("checkout", "--quiet", "-b", "other", base)
	other := c.commit("other.txt", "o\n")
	bring(t, repo, c)
	ctx := t.Context()

	files, err := repo.ChangedFiles(ctx, other, head) // what head did, not what other did
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, string(f.Status)+" "+f.Path)
	}
	want := []string{"M a.txt", "M bin.dat", "D gone.txt", "D moved.txt", "M sub/ż \"q\"\t.txt", "A there.txt", "M trap.txt"}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("changed %q, want %q", got, want)
	}
	if files, err = repo.Differences(ctx, other, head); err != nil || len(files) != len(want)+1 {
		t.Fatalf("differences %v, %v", files, err)
	}
	added, deleted, err := repo.ChangedBlobs(ctx, other, head)
	if err != nil || len(added) != 5 || !reflect.DeepEqual(deleted, []string{"gone.txt", "moved.txt"}) {
		t.Fatalf("blobs %v, deleted %v, %v", added, deleted, err)
	}

	lines, err := repo.ChangedLines(ctx, base, head)
	if err != nil {
		t.Fatal(err)
	}
	wantLines := map[string][]LineRange{
		"a.txt":             {{1, 1}, {4, 4}, {8, 10}},
		"sub/ż \"q\"\t.txt": {{3, 3}},
		"there.txt":         {{1, 1}},
		"trap.txt":          {{2, 4}},
	}
	if !reflect.DeepEqual(lines, wantLines) {
		t.Fatalf("lines %v, want %v", lines, wantLines)
	}
	_, err = repo.ChangedLines(ctx, base, strings.Repeat("ab", 20))
	mustKind(t, err, bosman.KindNotFound)
}

func TestBlobs(t *testing.T) {
	_, repo, c := seed(t)
	for i := range 300 {
		c.write(fmt.Sprintf("d/%03d.txt", i), strings.Repeat(fmt.Sprint(i, "\n"), i))
	}
	c.write("empty", "")
	c.write("big", strings.Repeat("x", MaxBlob+1))
	head := c.commit("z", "no newline")
	bring(t, repo, c)
	ctx := t.Context()
	files, err := repo.Files(ctx, head)
	if err != nil || len(files) != 303 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var hashes []string
	for _, h := range files {
		hashes = append(hashes, h)
	}
	missing := strings.Repeat("ab", 20)
	blobs, err := repo.Blobs(ctx, append(hashes, missing))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		mustEqual(t, "blob", string(blobs[files[fmt.Sprintf("d/%03d.txt", i)]]), strings.Repeat(fmt.Sprint(i, "\n"), i))
	}
	for _, out := range []string{missing, files["big"]} {
		if _, there := blobs[out]; there {
			t.Fatal("a blob that is missing or too big was read")
		}
	}
	_, err = repo.ReadFile(ctx, "main", "big")
	mustKind(t, err, bosman.KindInvalid)
	_, err = repo.ReadFile(ctx, "main", "nothing")
	mustKind(t, err, bosman.KindNotFound)
	_, err = repo.ReadFile(ctx, "main", "d")
	mustKind(t, err, bosman.KindNotFound)
	_, err = repo.Blobs(ctx, []string{"HEAD"})
	mustKind(t, err, bosman.KindInvalid)
}

func TestExport(t *testing.T) {
	_, repo, c := seed(t)
	c.write("run.sh", "#!/bin/sh\n")
	if err := os.Chmod(filepath.Join(c.dir, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.write("conf/base.ini", "x\n")
	for link, to := range map[string]string{"conf/link.ini": "base.ini", "up": "conf/../conf/base.ini"} {
		if err := os.Symlink(to, filepath.Join(c.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	c.write(".gitattributes", "secret.txt export-ignore\n")
	c.write("secret.txt", "kept\n")
	sub := &clone{t: t, dir: t.TempDir()}
	sub.git("init", "--quiet")
	sub.commit("s", "s")
	c.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", sub.dir, "vendor/sub")
	head := c.commit("a b.txt", "a\n")
	bring(t, repo, c)
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "out")
	done, err := repo.Export(ctx, head, dir)
	if err != nil || !reflect.DeepEqual(done.Submodules, []string{"vendor/sub"}) || done.Files != 8 {
		t.Fatalf("exported %+v, %v", done, err)
	}
	for name, mode := range map[string]os.FileMode{"run.sh": 0o755, "a b.txt": 0o644, "secret.txt": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Fatalf("%s: %v, %v", name, info, err)
		}
	}
	if to, err := os.Readlink(filepath.Join(dir, "conf/link.ini")); err != nil || to != "base.ini" {
		t.Fatalf("link to %q, %v", to, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "vendor/sub")); err != nil || !info.IsDir() {
		t.Fatalf("submodule: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		t.Fatal("a .git was written")
	}
	_, err = repo.Export(ctx, head, dir)
	mustKind(t, err, bosman.KindConflict)
	if left, err := filepath.Glob(filepath.Join(repo.Dir(), "export-*")); err != nil || len(left) > 0 {
		t.Fatalf("left behind %v, %v", left, err)
	}

	for i, to := range []string{"/etc/passwd", "../x", "conf/../../x"} {
		c.git("checkout", "--quiet", "-B", "evil", head)
		if err := os.Symlink(to, filepath.Join(c.dir, "evil")); err != nil {
			t.Fatal(err)
		}
		evil := c.commit("n", fmt.Sprint(i))
		bring(t, repo, c)
		out := filepath.Join(t.TempDir(), "out")
		_, err = repo.Export(ctx, evil, out)
		mustKind(t, err, bosman.KindInvalid)
		mustContain(t, err.Error(), "evil points out of the repository")
		if _, err := os.Stat(out); err == nil {
			t.Fatal("something was written")
		}
	}
}
