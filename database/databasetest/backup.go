package databasetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// backedUp makes live with n rows and files, and a verified backup of it.
func (w World) backedUp(t *testing.T, n int) (k *database.Keeper, live database.Snapshot, backup database.Place) {
	t.Helper()
	root := t.TempDir()
	live = database.Snapshot{Database: w.create(t, w.Engine, "live", n), Files: filepath.Join(root, "data")}
	writeFile(t, filepath.Join(live.Files, "media/cv.pdf"), "old")
	if err := os.Symlink("/etc/passwd", filepath.Join(live.Files, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(live.Files, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	k = w.keeper(filepath.Join(root, "state"))
	backup = Vault(t, filepath.Join(root, "backups")).place("live", 1)
	m, err := k.Backup(t.Context(), live, backup, database.About{App: "rms", Instance: "live", Release: 4, Why: "by hand"})
	if err != nil {
		t.Fatal(err)
	}
	tables, rows := m.Total()
	if tables != 1 || rows != int64(n) || m.Files.Files != 2 || len(m.Checksum) != 64 || m.Bytes == 0 {
		t.Errorf("manifest %+v", m)
	}
	return k, live, backup
}

func (s *suite) backup(t *testing.T) {
	w, _ := s.world(t)
	k, live, backup := w.backedUp(t, 3)
	if _, err := k.Verify(t.Context(), backup, false); err != nil {
		t.Fatal(err)
	}
	if left := listed(t, w.Trial); strings.Contains(strings.Join(left, " "), "verify") {
		t.Errorf("the trial left %q", left)
	}
	_, err := k.Backup(t.Context(), live, backup, database.About{App: "rms", Instance: "live"})
	wantKind(t, "a second backup in one place", err, bosman.KindConflict)

	w.exec(t, live.Database, "DELETE FROM candidate WHERE id > 0", "CREATE TABLE extra (x text)")
	writeFile(t, filepath.Join(live.Files, "media/cv.pdf"), "new")
	writeFile(t, filepath.Join(live.Files, "media/more.pdf"), "more")
	now, kept, m, err := k.Restore(t.Context(), backup, "live", live)
	if err != nil {
		t.Fatal(err)
	}
	if m.Release != 4 || now.Database != live.Database || w.rows(now.Database) != 3 || readFile(filepath.Join(now.Files, "media/cv.pdf")) != "old" {
		t.Errorf("restored %+v with %d rows", now, w.rows(now.Database))
	}
	if link, err := os.Readlink(filepath.Join(now.Files, "link")); err != nil || link != "/etc/passwd" {
		t.Errorf("link %q, %v", link, err)
	}
	if _, err := os.Lstat(filepath.Join(now.Files, "media/more.pdf")); err == nil {
		t.Error("a file of later is there")
	}
	if in, err := w.Engine.Inspect(t.Context(), kept.Database); err != nil || total(in) != 1 || len(in.Rows) != 2 || readFile(filepath.Join(kept.Files, "media/cv.pdf")) != "new" {
		t.Errorf("kept %+v %v: %v", kept, in.Rows, err)
	}
	all, err := k.Kept(t.Context(), "live", live.Files)
	if err != nil || len(all) != 1 || all[0].Snapshot.Database.Name != kept.Database.Name || all[0].Snapshot.Files != kept.Files {
		t.Fatalf("Kept lists %+v, %v", all, err)
	}
	if err := k.Drop(t.Context(), all[0].Snapshot); err != nil {
		t.Fatal(err)
	}
	if all, err := k.Kept(t.Context(), "live", live.Files); err != nil || len(all) != 0 {
		t.Errorf("dropped, yet kept: %+v, %v", all, err)
	}
	w.exec(t, now.Database, "INSERT INTO candidate VALUES (50, 'written by the instance')", "ALTER TABLE candidate ADD COLUMN more text")
	if err := database.Remove(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	_, err = k.Verify(t.Context(), backup, false)
	wantKind(t, "a removed backup", err, bosman.KindNotFound)
}

func (s *suite) damage(t *testing.T) {
	w, _ := s.world(t)
	k, live, backup := w.backedUp(t, 3)
	root := filepath.Join(filepath.Dir(live.Files), "backups")
	objects := filesIn(t, root)
	if len(objects) < 5 {
		t.Errorf("the backup has only %d objects: %q", len(objects), objects)
	}
	bad := func(what string) {
		t.Helper()
		for verb, err := range map[string]error{
			"Verify":  second(k.Verify(t.Context(), backup, true)),
			"Restore": fourth(k.Restore(t.Context(), backup, "live", live)),
		} {
			// Without its first bytes nobody can say that it was sealed for us.
			if kind := bosman.KindOf(err); kind != bosman.KindFailed && kind != bosman.KindForbidden {
				t.Errorf("%s: %s says %v", what, verb, err)
			}
		}
	}
	for _, path := range objects {
		if strings.Contains(path, "/proof.") {
			continue // what it says is checked against the manifest
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		put := func(b []byte) {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, at := range []int{0, len(whole) / 3, len(whole) / 2, len(whole) - 1} {
			b := append([]byte(nil), whole...)
			b[at] ^= 0x20
			put(b)
			bad(fmt.Sprintf("byte %d of %s flipped", at, path))
		}
		put(whole[:len(whole)/2])
		bad(path + " cut short")
		put(whole)
	}
	if _, err := k.Verify(t.Context(), backup, true); err != nil {
		t.Errorf("whole again: %v", err)
	}
	stranger := backup
	stranger.Vault = vaultWith(t, root, "another key")
	if _, err := k.Verify(t.Context(), stranger, false); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("with another key: %v", err)
	}
	if w.rows(live.Database) != 3 || readFile(filepath.Join(live.Files, "media/cv.pdf")) != "old" {
		t.Error("live was touched")
	}
	for _, name := range append(listed(t, w.Engine), listed(t, w.Trial)...) {
		if name != "live" {
			t.Errorf("%s was left behind", name)
		}
	}
}

func second[A any](_ A, err error) error                 { return err }
func fourth[A, B, C any](_ A, _ B, _ C, err error) error { return err }

// wide has many tables, a large object and odd table names.
func (s *suite) wide(t *testing.T) {
	w, _ := s.world(t)
	live := w.create(t, w.Engine, "live", 1)
	var statements []string
	for i := range 200 {
		statements = append(statements, fmt.Sprintf(`CREATE TABLE "Tab le %d 'ż""" (id integer PRIMARY KEY, "odd ""column" text DEFAULT 'a|b')`, i),
			fmt.Sprintf(`INSERT INTO "Tab le %d 'ż""" (id) VALUES (1)`, i))
	}
	w.exec(t, live, append(statements, "CREATE TABLE attachment (id integer PRIMARY KEY, body "+w.Blob+")")...)
	large := w.Large
	if large == 0 {
		large = 20 << 20
	}
	big := make([]byte, large)
	for i := range big {
		big[i] = byte(i * i >> 7)
	}
	db, err := w.Open(live)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO attachment VALUES ("+w.mark(1)+", "+w.mark(2)+")", 1, big); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	k := w.keeper(t.TempDir())
	backup := Vault(t, t.TempDir()).place("live", 1)
	m, err := k.Backup(t.Context(), database.Snapshot{Database: live}, backup, database.About{App: "rms", Instance: "live"})
	if err != nil {
		t.Fatal(err)
	}
	if tables, rows := m.Total(); tables != 202 || rows != 202 {
		t.Errorf("%d tables, %d rows", tables, rows)
	}
	if _, err := k.Verify(t.Context(), backup, false); err != nil {
		t.Fatal(err)
	}
	copied, _, err := k.VerifyInto(t.Context(), backup, w.Trial, "wide")
	if err != nil {
		t.Fatal(err)
	}
	if db, err = w.Open(copied); err != nil {
		t.Fatal(err)
	}
	var got []byte
	if err := db.QueryRow("SELECT body FROM attachment").Scan(&got); err != nil || string(got) != string(big) {
		t.Errorf("the large object came back with %d bytes, %v", len(got), err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func (s *suite) replace(t *testing.T) {
	w, _ := s.world(t)
	root := t.TempDir()
	staging := database.Snapshot{Database: w.create(t, w.Source, "staging", 4), Files: filepath.Join(root, "staging")}
	writeFile(t, filepath.Join(staging.Files, "media/a"), "staging")
	k := w.keeper(filepath.Join(root, "state"))
	into := database.Snapshot{Files: filepath.Join(root, "anna")}
	for round := range 2 { // into nothing, then over what the tester did
		now, kept, info, err := k.Replace(t.Context(), staging, "testing-anna", into, database.CopyOptions{From: "staging", Exact: true})
		if err != nil {
			t.Fatal(err)
		}
		if w.rows(now.Database) != 4 || readFile(filepath.Join(now.Files, "media/a")) != "staging" || info.From != "staging" {
			t.Errorf("round %d: %d rows, %q, %+v", round, w.rows(now.Database), readFile(filepath.Join(now.Files, "media/a")), info)
		}
		if (round == 0) != (kept.Database.Name == "") || (round == 0) != (kept.Files == "") {
			t.Errorf("round %d kept %+v", round, kept)
		}
		w.exec(t, now.Database, "DELETE FROM candidate")
		writeFile(t, filepath.Join(now.Files, "media/a"), "anna's")
		into = now
	}
	if w.rows(staging.Database) != 4 || readFile(filepath.Join(staging.Files, "media/a")) != "staging" {
		t.Error("staging was touched")
	}
}
