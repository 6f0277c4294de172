package web

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/logfile"
	"github.com/bosman-cd/bosman/web/kit"
	"github.com/bosman-cd/bosman/web/ui"
)

const (
	// streamFor is how long one stream lasts: the browser then asks again, and
	// who asks is looked at again.
	streamFor = 5 * time.Minute
	// pingEvery keeps proxies from closing a silent stream.
	pingEvery = 20 * time.Second
	logEvery  = 250 * time.Millisecond
	logBatch  = 400
)

// from is where a stream goes on: after the browser's last event, or where
// the page says.
func from(r *http.Request) int64 {
	for _, s := range []string{r.Header.Get("Last-Event-ID"), r.URL.Query().Get("from")} {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
			return n
		}
	}
	return 0
}

type stream struct {
	w  *bufio.Writer
	rc *http.ResponseController
}

func open(rw http.ResponseWriter) *stream {
	h := rw.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	rw.WriteHeader(http.StatusOK)
	return &stream{w: bufio.NewWriter(rw), rc: http.NewResponseController(rw)}
}

// send writes one event; the data must hold no line breaks.
func (s *stream) send(id int64, name, data string) error {
	if name != "" {
		name = "event: " + name + "\n"
	}
	_, err := fmt.Fprintf(s.w, "id: %d\n%sdata: %s\n\n", id, name, data)
	return err
}

func (s *stream) flush() error {
	if err := s.w.Flush(); err != nil {
		return err
	}
	return s.rc.Flush()
}

// events is GET /events: it says that something changed, and what, in the
// apps the reader may see.
func (w *Web) events(rw http.ResponseWriter, r *http.Request) error {
	if !w.begin() {
		return bosman.Unavailable("Bosman is being stopped.").WithNext("try again in a moment")
	}
	defer w.streams.Done()
	ctx := r.Context()
	a, only, at := kit.Actor(ctx), r.URL.Query().Get("app"), from(r)
	s := open(rw)
	if _, err := s.w.WriteString("retry: 2000\n\n"); err != nil {
		return nil // the reader left
	}
	end, ping := time.NewTimer(streamFor), time.NewTicker(pingEvery)
	defer end.Stop()
	defer ping.Stop()
	for {
		wake := w.cfg.Events.Wake()
		list, err := w.cfg.Events.EventsAfter(ctx, at, 500)
		if err != nil {
			if ctx.Err() == nil {
				w.cfg.Log.Error("events were not read", "err", err)
			}
			return nil
		}
		for _, e := range list {
			at = e.ID
			if only != "" && e.App != only || !w.cfg.Helm.May(ctx, a, bosman.MaySee, e.App, "") {
				continue
			}
			data, err := json.Marshal(map[string]string{"app": e.App, "kind": string(e.Kind), "subject": e.Subject})
			if err != nil {
				return nil //nolint:nilerr // strings always marshal
			}
			if err := s.send(e.ID, "changed", string(data)); err != nil {
				return nil
			}
		}
		if err := s.flush(); err != nil {
			return nil
		}
		if len(list) > 0 {
			continue
		}
		select {
		case <-wake:
		case <-ping.C:
			if _, err := s.w.WriteString(": \n\n"); err != nil {
				return nil
			}
		case <-end.C:
			return nil
		case <-w.closed:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *Web) buildLog(rw http.ResponseWriter, r *http.Request) error {
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	ctx, app := r.Context(), r.PathValue("app")
	read := func() (bool, error) {
		b, err := w.cfg.Helm.BuildOf(ctx, kit.Actor(ctx), app, n)
		return b.State.Final(), err
	}
	return w.log(rw, r, w.cfg.Logs.Build(app, n), read)
}

func (w *Web) operationLog(rw http.ResponseWriter, r *http.Request) error {
	n, err := kit.Number(r)
	if err != nil {
		return err
	}
	ctx, app := r.Context(), r.PathValue("app")
	read := func() (bool, error) {
		o, err := w.cfg.Helm.Operation(ctx, kit.Actor(ctx), app, n)
		return o.State.Final(), err
	}
	return w.log(rw, r, w.cfg.Logs.Operation(app, n), read)
}

func (w *Web) instanceLog(rw http.ResponseWriter, r *http.Request) error {
	ctx, app, name := r.Context(), r.PathValue("app"), r.PathValue("name")
	read := func() (bool, error) {
		_, err := w.cfg.Helm.Instance(ctx, kit.Actor(ctx), app, name)
		return false, err
	}
	return w.log(rw, r, w.cfg.Logs.Instance(app, name), read)
}

// log answers with a log as text, or as a stream that goes on from a byte
// offset until ended says so.
func (w *Web) log(rw http.ResponseWriter, r *http.Request, path string, ended func() (bool, error)) error {
	if _, err := ended(); err != nil { // may it be seen at all?
		return err
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		return w.logText(rw, path)
	}
	if !w.begin() {
		return bosman.Unavailable("Bosman is being stopped.").WithNext("try again in a moment")
	}
	defer w.streams.Done()
	ctx, at, s := r.Context(), from(r), open(rw)
	zone := world{w}.Zone(ctx, r.PathValue("app"))
	end, tick, ping := time.NewTimer(streamFor), time.NewTicker(logEvery), time.NewTicker(pingEvery)
	defer end.Stop()
	defer tick.Stop()
	defer ping.Stop()
	if s.flush() != nil { // the browser hears at once that it is heard
		return nil
	}
	for {
		over, err := ended() // before reading: what was written until then is read
		if err != nil {
			return nil
		}
		lines, next, err := read(path, at)
		if err != nil {
			w.cfg.Log.Warn("a log was not read", "err", err)
			return nil
		}
		for _, l := range lines {
			if err := s.send(l.Next, "", ui.Line{At: l.At.In(zone), Source: l.Source, Text: l.Text}.HTML()); err != nil {
				return nil
			}
		}
		at = next
		if over && len(lines) == 0 {
			if err := s.send(at, "end", "{}"); err != nil {
				return nil
			}
			return ignore(s.flush())
		}
		if len(lines) > 0 {
			if err := s.flush(); err != nil {
				return nil
			}
			if len(lines) == logBatch {
				continue
			}
		}
		select {
		case <-tick.C:
		case <-ping.C:
			if _, err := s.w.WriteString(": \n\n"); err != nil || s.flush() != nil {
				return nil
			}
		case <-end.C:
			return nil
		case <-w.closed:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// ignore drops an error of a reader who left: a stream has no other way to end.
func ignore(error) error { return nil }

// read gives some lines of a log from an offset on; none where there is no log.
func read(path string, at int64) ([]logfile.Line, int64, error) {
	if path == "" {
		return nil, at, nil
	}
	lines, next, err := logfile.Read(path, at, logBatch)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, at, nil
	}
	return lines, next, err
}

// logText writes a whole log as plain text.
func (w *Web) logText(rw http.ResponseWriter, path string) error {
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-store")
	out := bufio.NewWriter(rw)
	for at := int64(0); ; {
		lines, next, err := read(path, at)
		if err != nil {
			return err
		}
		for _, l := range lines {
			if _, err := fmt.Fprintf(out, "%s %s %s\n", l.At.UTC().Format("2006-01-02T15:04:05.000Z"), l.Source, l.Text); err != nil {
				return nil // the reader left
			}
		}
		if len(lines) < logBatch {
			return ignore(out.Flush())
		}
		at = next
	}
}

// tail gives the last lines of a log and where it goes on.
func tail(path string, n int, zone *time.Location) ([]ui.Line, int64, error) {
	if path == "" {
		return nil, 0, nil
	}
	lines, err := logfile.Tail(path, n)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	at := int64(0)
	if len(lines) > 0 {
		at = lines[len(lines)-1].Next
	}
	return shown(lines, zone), at, nil
}

func shown(lines []logfile.Line, zone *time.Location) []ui.Line {
	out := make([]ui.Line, len(lines))
	for n, l := range lines {
		out[n] = ui.Line{At: l.At.In(zone), Source: l.Source, Text: l.Text}
	}
	return out
}
