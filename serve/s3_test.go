package serve

import (
	"bytes"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

const s3Target = "s3://bosman/backups/site"

// bucket is an S3 server with a way past Bosman.
type bucket struct {
	t  *testing.T
	b  gofakes3.Backend
	at string
}

func newBucket(t *testing.T) *bucket {
	t.Helper()
	b := &bucket{t: t, b: s3mem.New()}
	if err := b.b.CreateBucket("bosman"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(b.b, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(srv.Close)
	b.at = srv.URL
	t.Setenv("BOSMAN_S3_ENDPOINT", srv.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return b
}

// of lists the objects of a backup.
func (b *bucket) of(k bosman.Backup) (out []string) {
	b.t.Helper()
	prefix := gofakes3.NewPrefix(new("backups/site/"+k.Name+"/"), nil)
	list, err := b.b.ListBucket("bosman", &prefix, gofakes3.ListBucketPage{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, o := range list.Contents {
		out = append(out, o.Key)
	}
	return out
}

// flip changes a byte in the middle of an object.
func (b *bucket) flip(key string) {
	b.t.Helper()
	o, err := b.b.GetObject("bosman", key, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	data, err := io.ReadAll(o.Contents)
	if cerr := o.Contents.Close(); err != nil || cerr != nil {
		b.t.Fatal(err, cerr)
	}
	data[len(data)/2] ^= 1
	if _, err := b.b.PutObject("bosman", key, o.Metadata, bytes.NewReader(data), int64(len(data)), nil); err != nil {
		b.t.Fatal(err)
	}
}

// A deployment backs up into S3 and proves it from there; retention removes
// objects; a flipped byte is found; and a Bosman with an empty data folder
// takes up and restores what lies there.
func TestBackupsInS3(t *testing.T) {
	need.Slow(t, "plays a whole road")
	s3 := newBucket(t)
	w := backedUpWith(t, "sqlite", func(o *Options) { o.BackupTarget = s3Target })
	ctx, admin := t.Context(), bosman.Actor{Person: firstAdmin, From: "test"}
	w.run("live", `python3 -c 'import os, sqlite3
c = sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///")); c.execute("CREATE TABLE word (w TEXT)"); c.execute("INSERT INTO word VALUES (\"kept\")"); c.commit()'`)
	w.write("words.txt", "hello two\n")
	w.commit("two")
	w.push("anna", "main")
	w.staging(2)
	w.must("deploy", "live", "2")
	first := w.backups()[0]
	if first.Where != s3Target || first.VerifiedAt.IsZero() || !first.Encrypted || first.Rows != 1 || first.Files != 1 || len(s3.of(first)) == 0 {
		t.Fatalf("before the deployment: %+v, objects %v", first, s3.of(first))
	}
	if left := glob(t, filepath.Join(w.data, "backups", "*")); len(left) > 0 {
		t.Errorf("beside S3 there is %v", left)
	}

	// Two stay, and the one that the way back of live needs.
	second, fourth, third := w.backup(), w.backup(), w.backup()
	if n, err := w.s.helm.PruneBackups(ctx, "tiny"); err != nil || n != 1 || len(s3.of(second)) > 0 {
		t.Fatalf("%d removed, %v; %v is left", n, err, s3.of(second))
	}
	stay := numbers(w.backups())
	for _, k := range []bosman.Backup{first, second, fourth, third} {
		if there, want := len(s3.of(k)) > 0, slices.Contains(stay, k.Number); there != want {
			t.Errorf("k%d: its objects are there: %v, its row: %v", k.Number, there, want)
		}
	}

	// What a damaged object holds is not believed.
	objects := s3.of(third)
	dump := slices.IndexFunc(objects, func(o string) bool { return strings.Contains(filepath.Base(o), "database") })
	if dump < 0 {
		t.Fatalf("no dump among %v", objects)
	}
	s3.flip(objects[dump])
	if _, err := w.s.helm.VerifyBackup(ctx, admin, "tiny", third.Number, true); err != nil {
		t.Fatal(err)
	}
	w.until("the flipped byte is found", time.Minute, func() bool { return w.backups()[0].Error != "" })
	s3.flip(objects[dump])

	// The server is lost; another begins with its key and nothing else.
	key, err := os.ReadFile(filepath.Join(w.data, "backup.key"))
	if err != nil {
		t.Fatal(err)
	}
	other := newWorldWith(t, "sqlite", func(o *Options) {
		if err := os.MkdirAll(o.Data, 0o755); err != nil { //nolint:gosec // as Bosman makes it
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(o.Data, "backup.key"), key, 0o600); err != nil {
			t.Error(err)
		}
	})
	found, err := other.s.helm.ImportBackups(ctx, admin, "tiny", s3Target)
	if err != nil || len(found) != len(stay) {
		t.Fatalf("%+v, %v; there were %v", found, err, stay)
	}
	newest := other.backups()[0]
	if newest.Number != third.Number || newest.Checksum != third.Checksum || newest.Where != s3Target {
		t.Errorf("%+v, want %+v", newest, third)
	}
	other.push("anna", "main")
	other.staging(1)
	other.must("deploy", "live", "1")
	op, err := other.s.helm.RestoreBackup(ctx, admin, "tiny", newest.Number, "")
	if op = other.op(op, err); op.State != bosman.OpDone {
		t.Fatalf("%s: %v", op.State, op.Error)
	}
	said := other.run("live", `python3 -c 'import os, sqlite3; print(sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///")).execute("SELECT w FROM word").fetchone()[0], open("media/cv.pdf").read())'`)
	if said != "kept cv\n" {
		t.Errorf("the restored live says %q", said)
	}
}
