package databasetest

import (
	"os"
	"path/filepath"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// Format1 judges that a backup in a folder, as it was made before there were
// vaults (3 candidates, and media/cv.pdf with "old"), is proven and restored,
// and that a damaged one is refused.
func Format1(t *testing.T, mk Maker, dir string) {
	s := suite{app: "format1", mk: mk}
	w, _ := s.world(t)
	root := t.TempDir()
	live := database.Snapshot{Database: w.create(t, w.Engine, "live", 1), Files: filepath.Join(root, "data")}
	k := w.keeper(filepath.Join(root, "state"))
	at := database.Folder(filepath.Join(root, "k1"))
	if err := os.CopyFS(at.Name, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Verify(t.Context(), at, false); err != nil {
		t.Fatal(err)
	}
	now, _, _, err := k.Restore(t.Context(), at, "live", live)
	if err != nil {
		t.Fatal(err)
	}
	if n := w.rows(now.Database); n != 3 || readFile(filepath.Join(now.Files, "media/cv.pdf")) != "old" {
		t.Errorf("%d rows, %q", n, readFile(filepath.Join(now.Files, "media/cv.pdf")))
	}
	for _, path := range filesIn(t, at.Name) {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b := append([]byte(nil), whole...)
		b[len(b)/2] ^= 0x20
		writeFile(t, path, string(b))
		if _, err := k.Verify(t.Context(), at, false); bosman.KindOf(err) != bosman.KindFailed {
			t.Errorf("%s damaged: %v", path, err)
		}
		writeFile(t, path, string(whole))
	}
	if err := database.Remove(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	_, err = k.Verify(t.Context(), at, false)
	wantKind(t, "a removed backup", err, bosman.KindNotFound)
}
