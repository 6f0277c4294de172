package database_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/internal/need"
)

// media makes uploaded files of all sorts.
func media(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "data")
	big := make([]byte, 5<<20)
	for i := 0; i < len(big); i += 512 {
		big[i] = byte(rand.Uint32())
	}
	twice := bytes.Repeat([]byte("the same"), 10_000)
	for name, content := range map[string][]byte{
		"media/big": big, "media/same": twice, "media/again": twice, "empty": nil,
		"media/ż ó'\"\n.pdf": []byte("cv"), "bad\xff name": []byte("not UTF-8"), "media/locked/x": []byte("x"),
	} {
		put(t, root, name, content)
	}
	for i := range 300 {
		put(t, root, fmt.Sprintf("small/%d", i), []byte(fmt.Sprintf("content %d", i)))
	}
	if err := errors.Join(os.Symlink("/etc/passwd", filepath.Join(root, "link")), os.Symlink("..", filepath.Join(root, "media/up")),
		os.Chmod(filepath.Join(root, "media/locked"), 0o555)); err != nil {
		t.Fatal(err)
	}
	return root
}

func put(t *testing.T, root, name string, content []byte) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o640)); err != nil {
		t.Fatal(err)
	}
}

// same compares two folders in all that a backup keeps.
func same(t *testing.T, what, a, b string) {
	t.Helper()
	left, right := describe(t, a), describe(t, b)
	for path, is := range left {
		if right[path] != is {
			t.Errorf("%s: %q is %.80q instead of %.80q", what, path, right[path], is)
		}
	}
	for path := range right {
		if _, ok := left[path]; !ok {
			t.Errorf("%s: %q is too much", what, path)
		}
	}
}

func describe(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		is := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			is += info.ModTime().String() + string(b)
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			is += to
		default:
			is += info.ModTime().String()
		}
		out[rel] = is
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kept is a keeper of files without a database, and its backups.
type kept struct {
	*testing.T
	database.Keeper
	vault database.Vault
	files string
	root  string
}

func keep(t *testing.T) *kept {
	t.Helper()
	root := t.TempDir()
	return &kept{T: t, Keeper: database.Keeper{State: filepath.Join(root, "state")}, vault: databasetest.Vault(t, filepath.Join(root, "target")), files: media(t), root: root}
}

func (k *kept) at(n int) database.Place {
	return database.Place{Vault: k.vault, Name: database.NameIn("rms", "live", n, time.Unix(int64(n), 0))}
}

func (k *kept) backup(n int) database.Manifest {
	k.Helper()
	m, err := k.Keeper.Backup(k.Context(), database.Snapshot{Files: k.files}, k.at(n), database.About{App: "rms", Instance: "live", Number: n})
	if err != nil {
		k.Fatal(err)
	}
	return m
}

func (k *kept) restored(n int) string {
	k.Helper()
	into := filepath.Join(k.root, fmt.Sprintf("restored%d-%s", n, strconv.Itoa(rand.Int())))
	if _, _, _, err := k.Restore(k.Context(), k.at(n), "live", database.Snapshot{Files: into}); err != nil {
		k.Fatal(err)
	}
	return into
}

// read is how many bytes this process has read.
func read(t *testing.T) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(b), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// What nobody touched is neither read nor written again, what changed is, and
// each backup gives back what was there when it was made.
func TestFilesAreBackedUpOnce(t *testing.T) {
	need.Slow(t, "waits until files have rested")
	k := keep(t)
	put(t, k.files, "media/huge", make([]byte, 33<<20)) // more than a pack holds
	first := k.backup(1)
	if len(first.Files.NewPacks) != 2 || first.Files.Files != 310 {
		t.Errorf("the first: %+v", first.Files)
	}
	if first.Files.NewBytes != first.Files.Bytes-80_000 {
		t.Error("what is there twice was written twice")
	}
	same(t, "first", k.files, k.restored(1))
	time.Sleep(2100 * time.Millisecond)
	if m := k.backup(2); m.Files.NewBytes != 0 || len(m.Files.NewPacks) != 0 || m.Bytes > 100_000 {
		t.Errorf("nothing changed, yet %d bytes are new", m.Files.NewBytes)
	}
	begun := read(t)
	if m := k.backup(3); m.Files.NewBytes != 0 {
		t.Errorf("nothing changed, yet %d bytes are new", m.Files.NewBytes)
	}
	if n := read(t) - begun; n > 1<<20 {
		t.Errorf("files that nobody touched were read: %d bytes", n)
	}
	before := k.restored(3)
	put(t, k.files, "media/more", []byte("more"))
	put(t, k.files, "small/7", []byte("changed"))
	if err := errors.Join(os.Remove(filepath.Join(k.files, "small/8")), os.Rename(filepath.Join(k.files, "media/big"), filepath.Join(k.files, "moved"))); err != nil {
		t.Fatal(err)
	}
	if m := k.backup(4); m.Files.NewBytes != int64(len("more")+len("changed")) {
		t.Errorf("%d bytes are new", m.Files.NewBytes)
	}
	same(t, "before", before, k.restored(1))
	same(t, "after", k.files, k.restored(4))
	for n := 1; n <= 4; n++ {
		if _, err := k.Verify(t.Context(), k.at(n), true); err != nil {
			t.Error(err)
		}
	}
}

// A file changed in place keeps nothing but its name: its times cannot hide it.
func TestChangeThatHidesIsSeen(t *testing.T) {
	need.Slow(t, "waits until files have rested")
	k := keep(t)
	time.Sleep(2100 * time.Millisecond)
	k.backup(1)
	path := filepath.Join(k.files, "small/3")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, k.files, "small/3", []byte("CONTENT 3"))
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	k.backup(2)
	same(t, "after", k.files, k.restored(2))
}

// Removing backups removes what no other one needs, and no more; what is
// mostly waste does not stay for ever.
func TestCollect(t *testing.T) {
	k := keep(t)
	k.backup(1)
	k.backup(2)
	put(t, k.files, "new", []byte("only in the third"))
	k.backup(3)
	collect := func() int {
		t.Helper()
		n, _, err := database.Collect(t.Context(), k.vault, "rms", 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := collect(); n != 0 {
		t.Errorf("%d objects were removed that backups need", n)
	}
	if err := database.Remove(t.Context(), k.at(1)); err != nil {
		t.Fatal(err)
	}
	if n := collect(); n != 0 {
		t.Errorf("%d objects were removed that later backups need", n)
	}
	if _, err := k.Verify(t.Context(), k.at(2), true); err != nil {
		t.Error(err)
	}
	if err := database.Remove(t.Context(), k.at(3)); err != nil {
		t.Fatal(err)
	}
	if n := collect(); n != 1 {
		t.Errorf("%d objects were removed instead of one", n)
	}
	// Most of what lies with the small files goes: the rest moves.
	if err := errors.Join(os.Remove(filepath.Join(k.files, "media/big"))); err != nil {
		t.Fatal(err)
	}
	m := k.backup(4)
	if m.Files.NewBytes == 0 || m.Files.NewBytes > 1<<20 {
		t.Errorf("%d bytes moved", m.Files.NewBytes)
	}
	if err := database.Remove(t.Context(), k.at(2)); err != nil {
		t.Fatal(err)
	}
	collect()
	same(t, "after", k.files, k.restored(4))
	all, err := database.Listed(t.Context(), k.vault, "")
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, o := range all {
		size += o.Size
	}
	if size > 1<<20 {
		t.Errorf("%d bytes stay: %+v", size, all)
	}
}

// While a manifest cannot be read nothing is thrown away.
func TestCollectSparesWhatItCannotRead(t *testing.T) {
	k := keep(t)
	k.backup(1)
	put(t, k.files, "new", []byte("new"))
	k.backup(2)
	path := filepath.Join(k.root, "target", k.at(1).Name, "backup.json.zst.age")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := database.Remove(t.Context(), k.at(2)); err != nil {
		t.Fatal(err)
	}
	n, _, err := database.Collect(t.Context(), k.vault, "rms", 0)
	if bosman.KindOf(err) != bosman.KindFailed || n != 0 || bosman.AsError(err).Kept == "" {
		t.Errorf("%d objects removed, %v", n, err)
	}
	// The next backup does not trust it either, and is whole.
	k.backup(3)
	same(t, "after", k.files, k.restored(3))
}

// breaking is a target that breaks after so many bytes.
type breaking struct {
	database.Vault
	left int
	with error
}

func (b *breaking) Put(ctx context.Context, name string, write func(io.Writer) error) (bosman.SealedObject, error) {
	return b.Vault.Put(ctx, name, func(w io.Writer) error {
		return write(writer(func(p []byte) (int, error) {
			if b.left -= len(p); b.left < 0 {
				return 0, b.with
			}
			return w.Write(p)
		}))
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// A target that breaks half-way leaves no backup and what was there before.
func TestTargetBreaksHalfWay(t *testing.T) {
	k := keep(t)
	k.backup(1)
	gone := bosman.Unavailable("the backup target cannot be reached").WithNext("look after it")
	whole := k.vault
	for i, left := range []int{0, 10, 1000, 1 << 20, 5 << 20} {
		put(t, k.files, "media/big2", bytes.Repeat([]byte(strconv.Itoa(i)), 6<<20))
		k.vault = &breaking{whole, left, gone}
		_, err := k.Keeper.Backup(t.Context(), database.Snapshot{Files: k.files}, k.at(2), database.About{App: "rms", Instance: "live"})
		k.vault = whole
		if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "cannot be reached") {
			t.Errorf("after %d bytes: %v", left, err)
		}
		if _, err := database.ReadManifest(t.Context(), k.at(2)); bosman.KindOf(err) != bosman.KindNotFound {
			t.Errorf("after %d bytes there is a backup: %v", left, err)
		}
		if _, err := k.Verify(t.Context(), k.at(1), true); err != nil {
			t.Error(err)
		}
	}
	k.backup(2)
	same(t, "after", k.files, k.restored(2))
}
