package serve

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// moodyApp answers 500 where its release or a file of its data says so.
const moodyApp = `import http.server, os, socketserver
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthz":
            body = '{"commit": "%s"}' % os.environ["BOSMAN_COMMIT"]; code = 200
        elif self.path != "/page":
            body = open("/app/page.txt").read(); code = 200
        else:
            body = open("/app/page.txt").read()
            if "third" in body and os.environ["BOSMAN_KIND"] == "live": open("/app/media/broken", "w").close()
            code = 500 if os.path.exists("/app/media/broken") or "bad" in body and os.environ["BOSMAN_KIND"] == "live" else 200
        self.send_response(code); self.end_headers(); self.wfile.write(body.encode())
    def address_string(self): return "edge"
class S(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
S(os.environ["BOSMAN_SOCKET"], H).serve_forever()
`

// askOften asks live for a page until it is stopped.
func (w *world) askOften() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				w.get("live", "/page")
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// reverted deploys what the watch takes back.
func (w *world) reverted(release string) bosman.Operation {
	w.t.Helper()
	op := w.op(ask(w.t.Context(), w.s, "deploy", "live", release))
	w.until(opRef(op.Number)+" is reverted", 60*time.Second, func() bool {
		now, err := w.s.store.Operation(w.t.Context(), "tiny", op.Number)
		return err == nil && now.State == bosman.OpReverted
	})
	return op
}

// watchedAfter waits for what a revert by the watch leads to.
func (w *world) watchedAfter(of bosman.Operation) bosman.Operation {
	w.t.Helper()
	var back bosman.Operation
	w.until("it is known what followed the revert", 90*time.Second, func() bool {
		ops, err := w.s.store.Operations(w.t.Context(), "tiny", "live", 10)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, o := range ops {
			if o.Plan == bosman.PlanRevert && o.Reverts == of.Number {
				back = o
				return bosman.WasWatchedAfter(o)
			}
		}
		return false
	})
	return back
}

// After a revert by itself the release before is watched on: was its
// successor the cause?
func TestWatchedAfterARevert(t *testing.T) {
	need.Slow(t, "plays a whole road and two watches")
	t.Parallel()
	w := newWorld(t, "none")
	w.write("server.py", moodyApp)
	w.write("bosman.yaml", strings.Replace(tinyManifest, "DATABASE", "none", 1))
	release := func(n int, words string) {
		w.write("words.txt", "hello "+words+"\n")
		w.commit(words)
		w.push("anna", "main")
		w.staging(n)
	}
	release(1, "good")
	w.must("deploy", "live", "1")
	defer w.askOften()()
	// The traffic before is what the watch compares with.
	w.until("live was asked often enough", time.Minute, func() bool {
		stats, err := w.s.edge.Stats(t.Context(), "tiny", "live")
		return err == nil && len(stats.Instances) == 1 && len(stats.Instances[0].Releases) > 0 && stats.Instances[0].Releases[0].Requests >= 60
	})

	release(2, "bad")
	bad := w.reverted("2")
	back := w.watchedAfter(bad)
	if note := stepNote(back, bosman.StepAfter); back.Error != nil || !strings.Contains(note, "errors fell from ") || !strings.HasSuffix(note, " to 0 per minute after the revert") {
		t.Errorf("after r2: %q, %v", note, back.Error)
	}

	// Now something breaks that going back does not mend.
	release(3, "third")
	op := w.reverted("3")
	w.stop() // in the middle, most likely; the next start goes on
	w.start()
	back = w.watchedAfter(op)
	if back.Error == nil || !strings.Contains(back.Error.Message, "the errors went on after the revert: r3 was not the cause") || back.State != bosman.OpDone {
		t.Fatalf("after r3: %s %v, %q", back.State, back.Error, stepNote(back, bosman.StepAfter))
	}
	events, err := w.s.store.EventsAfter(t.Context(), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range events {
		if m, ok, err := w.s.helm.MessageOf(t.Context(), e); err == nil && ok && e.Kind == bosman.EventWatchedAfter {
			told = append(told, m.Kind+": "+m.Title)
		}
	}
	if len(told) != 2 || !strings.HasPrefix(told[0], "reverted: tiny: live is well after") || !strings.Contains(told[1], "deployment.failed: tiny: live does badly still") {
		t.Errorf("told %q", told)
	}
	w.until("nothing is watched any more", 20*time.Second, func() bool {
		text, err := w.s.store.Setting(t.Context(), aftermathSetting)
		return err == nil && text == "{}"
	})
}
