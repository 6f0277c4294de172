package serve

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bosman-cd/bosman"
	apiclient "github.com/bosman-cd/bosman/api/client"
)

// fetched takes the files of a backup of live out, over the socket alone and
// only for who may restore; the log of activity knows it.
func (w *world) fetched(b bosman.Backup) {
	w.t.Helper()
	ctx := w.t.Context()
	if _, _, err := w.s.helm.FetchBackup(ctx, bosman.Actor{Person: firstAdmin, From: "api"}, "tiny", b.Number); bosman.KindOf(err) != bosman.KindForbidden {
		w.t.Errorf("over a network: %v", err)
	}
	dir := w.t.TempDir()
	put := func(name string, size int64, r io.Reader) error {
		text, err := io.ReadAll(r)
		if err == nil && int64(len(text)) != size {
			w.t.Errorf("%s has %d bytes, not %d", name, len(text), size)
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), text, 0o600)
	}
	socket := filepath.Join(w.data, "bosman.sock")
	if _, err := apiclient.New(apiclient.Config{Socket: socket, As: "anna"}).FetchBackup(ctx, "tiny", b.Number, put); bosman.KindOf(err) != bosman.KindForbidden {
		w.t.Errorf("by a tester: %v", err)
	}
	sums, err := apiclient.New(apiclient.Config{Socket: socket}).FetchBackup(ctx, "tiny", b.Number, put)
	if err != nil || sums["database.dump"] == "" {
		w.t.Errorf("%v, %v", sums, err)
		return
	}
	out, err := exec.CommandContext(ctx, "pg_restore", "-f", "-", filepath.Join(dir, "database.dump")).CombinedOutput() //nolint:gosec // of this test
	if err != nil || !strings.Contains(string(out), "verysecretnote") {
		w.t.Errorf("pg_restore: %v\n%s", err, out)
	}
	all, err := w.s.store.Activity(ctx, "tiny", 0, 20)
	if err != nil {
		w.t.Error(err)
	}
	told := 0
	for _, a := range all {
		if strings.Contains(a.What, "take the files of "+bosman.Ref(bosman.LetterBackup, b.Number)+" of live out") {
			told++
		}
	}
	if told != 1 {
		w.t.Errorf("%d activities tell of it", told)
	}
	left, err := filepath.Glob(filepath.Join(w.data, "databases", "tiny", "*", "tmp", "*"))
	if err != nil || len(left) > 0 {
		w.t.Errorf("left behind: %v, %v", left, err)
	}
}
