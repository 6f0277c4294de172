package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/need"
)

// A preview goes with its change. Killed at any point of that, the next start
// finishes it: nothing of the preview is left, and nothing else is touched.
func TestKillWhileAPreviewIsRemoved(t *testing.T) {
	need.Slow(t, "kills serve while a preview is removed")
	w := newWorld(t, "sqlite")
	ctx := t.Context()
	w.write("bosman.yaml", strings.NewReplacer("DATABASE", "sqlite", "instances:\n", "instances:\n  preview: {max: 9, idle: 24h}\n").Replace(tinyManifest))
	w.commit("previews")
	w.push("anna", "main")
	w.staging(1)
	points := []string{"helm.removal.noted", "serve.remove.stopped", "serve.remove.dropped", "serve.remove.gone"}
	for n := range points {
		branch := fmt.Sprintf("feature%d", n)
		w.git(w.work, "checkout", "-q", "-b", branch, "main")
		w.write("words.txt", "hello feature\n") // all the same: built once
		w.commit(branch)
		w.push("piotr", branch)
	}
	preview := func(n int) string { return fmt.Sprintf("preview-c%d", n+1) }
	for n := range points {
		w.until(preview(n)+" runs", 2*time.Minute, func() bool {
			i, err := w.s.store.Instance(ctx, "tiny", preview(n))
			return err == nil && i.Operation == 0 && i.State == bosman.InstanceRunning
		})
	}
	removed := func(n int, after string) {
		t.Helper()
		name := preview(n)
		if _, err := w.s.store.Instance(ctx, "tiny", name); bosman.KindOf(err) != bosman.KindNotFound {
			t.Errorf("%s: %s is there: %v", after, name, err)
		}
		if code, _ := w.get(name, "/"); code != http.StatusNotFound {
			t.Errorf("%s: %s answers %d", after, name, code)
		}
		all, err := w.s.instances.Running(ctx, bosman.Instance{App: "tiny", Name: name})
		if err != nil || len(all) != 0 {
			t.Errorf("%s: %q runs, %v", after, all, err)
		}
		for _, dir := range []string{instanceDir(w.data, "tiny", name), filepath.Join(w.data, "sqlite", "tiny", name)} {
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s is left: %v", after, dir, err)
			}
		}
	}
	for n, point := range points {
		w.stop()
		if !w.child(point+"=kill", "close", fmt.Sprintf("c%d", n+1), preview(n)) {
			t.Errorf("not killed at %s", point)
		}
		w.start()
		removed(n, "killed at "+point)
		for m := n + 1; m < len(points); m++ {
			i, err := w.s.store.Instance(ctx, "tiny", preview(m))
			if err == nil {
				_, err = w.s.databases.own(ctx, i)
			}
			if err != nil {
				t.Errorf("killed at %s: the data of %s: %v", point, preview(m), err)
			}
		}
	}
	for n := range points { // nothing came up again meanwhile
		removed(n, "in the end")
	}
	if a, err := w.s.store.Activity(ctx, "tiny", 0, 1000); err != nil {
		t.Fatal(err)
	} else if said := slices.DeleteFunc(a, func(x bosman.Activity) bool { return !strings.HasPrefix(x.What, "removed the instance ") }); len(said) != len(points) {
		t.Errorf("the activity log says %+v", said)
	}
}

func TestWhoSleepsThere(t *testing.T) {
	s := pruned(t)
	for n, i := range []bosman.Instance{
		{Name: "staging", Kind: bosman.KindStaging}, {Name: "preview-c1", Kind: bosman.KindPreview}, {Name: "preview-c2", Kind: bosman.KindPreview},
	} {
		i.App, i.UID, i.ErrorKey = "rms", helm.FirstUID+n+1, i.Name
		if err := s.store.SaveInstance(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(base string, ports int, asked map[string]string) {
		t.Helper()
		var err error
		if s.addresses, err = newAddresses(":8080", base, ""); err != nil {
			t.Fatal(err)
		}
		s.addresses.ports = ports
		s.routes = &routes{instances: &instances{addresses: s.addresses}}
		for host, want := range asked {
			i, err := s.sleeper(t.Context(), host)
			if i.Name != want || (want == "") != (bosman.KindOf(err) == bosman.KindNotFound) {
				t.Errorf("%s: %s, %v; want %q", host, i.Name, err, want)
			}
		}
	}
	ask("", 0, map[string]string{
		"preview-c1.rms.localhost:8080": "preview-c1", "Preview-C2.rms.localhost": "preview-c2",
		"staging.rms.localhost:8080": "", "preview-c3.rms.localhost": "", "": "", "localhost:8080": "",
	})
	ask("example.org", 0, map[string]string{"preview-c1-rms.example.org": "preview-c1", "preview-c1.rms.localhost": ""})
	ask("", 9000, map[string]string{"any.host:9001": "preview-c1", "[::1]:9002": "preview-c2", "any.host:9000": "", "any.host:8080": ""})
}
