package story

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the sessions of a story

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/internal/logfile"
)

// Events is a list of events that may grow.
type Events struct {
	mu   sync.Mutex
	list []bosman.Event
	wake chan struct{}
}

// NewEvents has no events yet.
func NewEvents() *Events { return &Events{wake: make(chan struct{})} }

// Add adds one and wakes who waits.
func (e *Events) Add(app string, kind bosman.EventKind, subject string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, bosman.Event{ID: int64(len(e.list) + 1), App: app, Kind: kind, Subject: subject, At: time.Now()})
	close(e.wake)
	e.wake = make(chan struct{})
}

// EventsAfter gives those after an id.
func (e *Events) EventsAfter(_ context.Context, id int64, max int) ([]bosman.Event, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if id >= int64(len(e.list)) {
		return nil, nil
	}
	out := e.list[id:]
	return append([]bosman.Event(nil), out[:min(len(out), max)]...), nil
}

// LastEvent is the id of the newest.
func (e *Events) LastEvent(context.Context) (int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return int64(len(e.list)), nil
}

// Wake is closed at the next event.
func (e *Events) Wake() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.wake
}

// Logs are log files in a folder.
type Logs struct{ Dir string }

// Build gives the path of a build's log.
func (l Logs) Build(app string, n int) string {
	return filepath.Join(l.Dir, fmt.Sprintf("%s-b%d.log", app, n))
}

// Instance gives the path of an instance's log.
func (l Logs) Instance(app, name string) string { return filepath.Join(l.Dir, app+"-"+name+".log") }

// Operation says that operations have no log of their own.
func (Logs) Operation(string, int) string { return "" }

// Sessions opens a database with the table of sessions in a folder.
func Sessions(dir string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "sessions.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry INTEGER NOT NULL)`)
	return db, err
}

// WriteLogs writes what builds and instances of the story said, and sets
// where in the log each step of a build begins and ends.
func (s *Story) WriteLogs(dir string) error {
	logs := Logs{dir}
	said := map[string][]string{
		"environment": {"inputs unchanged since b402: taken from the cache"},
		"assets":      {"$ npm ci", "added 214 packages in 9s", "$ npx webpack --mode $ASSETS_MODE", "asset \x1b[1m\x1b[32mapp.js\x1b[39m\x1b[22m 214 KiB [emitted] (name: app)", "webpack 5.105.1 compiled \x1b[1m\x1b[32msuccessfully\x1b[39m\x1b[22m in 8412 ms"},
		"unit":        {"$ coverage run manage.py test && coverage xml", "Found 214 test(s).", "System check identified no issues (0 silenced).", "......................................................................", "Ran 214 tests in 31.204s", "\x1b[31mFAILED\x1b[0m (failures=1, errors=1)", "<script>alert('log')</script>"},
		"lint":        {"candidates/views.py:88:80: E501 line too long (94 > 79 characters)", "candidates/forms.py:12:1: F401 'django.conf.settings' imported but unused"},
	}
	for n := range s.BuildList {
		b := &s.BuildList[n]
		if len(b.Steps) == 0 {
			continue
		}
		w := logfile.New(logs.Build(b.App, b.Number), logfile.Options{})
		for i := range b.Steps {
			st := &b.Steps[i]
			if st.State == bosman.StepWaiting {
				continue
			}
			var err error
			if st.LogFrom, err = w.Offset(); err != nil {
				return err
			}
			for _, line := range said[st.Name] {
				if err := w.Line(st.Name, line); err != nil {
					return err
				}
			}
			if st.LogTo, err = w.Offset(); err != nil {
				return err
			}
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	w := logfile.New(logs.Instance(rms, "live"), logfile.Options{})
	for n := range 40 {
		if err := w.Line("web.1", fmt.Sprintf("10.0.0.%d - - \"GET /candidates/?page=%d HTTP/1.1\" 200 %d", n%9+1, n%17+1, 18211+n*37)); err != nil {
			return err
		}
	}
	return w.Close()
}

// Stats is the traffic of live: a release that did badly and was reverted.
type Stats struct{ Now time.Time }

// Stats gives the numbers.
func (s Stats) Stats(_ context.Context, app, instance string) (control.Stats, error) {
	out := control.Stats{Now: s.Now, StartedAt: s.Now.Add(-time.Hour)}
	if instance != "live" {
		return out, nil
	}
	i := control.InstanceStats{App: app, Instance: instance}
	for n := int64(900); n > 0; n-- {
		sec := control.Second{At: s.Now.Unix() - n, Release: 134, Requests: 6 + (n*7919)%5 + (n/60)%4}
		if n < 480 {
			sec.Release = 136
		}
		if n%97 == 0 {
			sec.Errors = 1
		}
		i.Seconds = append(i.Seconds, sec)
	}
	out.Instances = []control.InstanceStats{i}
	return out, nil
}

// Dir makes a folder for what a story keeps.
func Dir() (string, error) { return os.MkdirTemp("", "bosman-story-") }
