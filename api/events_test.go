package api_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// listen opens the stream of events and gives a function for the next one.
func (r *rig) listen(who, query, last string) (next func() (id, kind, data string)) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", r.Server.URL+"/api/v1/events"+query, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+who)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := resp.Body.Close(); err != nil {
			r.t.Error(err)
		}
	})
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		r.t.Fatalf("events are %q (%s)", got, resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	return func() (id, kind, data string) {
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				id = value
			case "event":
				kind = value
			case "data":
				return id, kind, value
			}
		}
		return "", "", "END"
	}
}

func (r *rig) happens(app string, kind bosman.EventKind, subject string) {
	r.t.Helper()
	if err := r.Helm.Store.AppendEvent(r.t.Context(), bosman.Event{App: app, Kind: kind, Subject: subject}); err != nil {
		r.t.Fatal(err)
	}
}

func TestEventsAreHeardAsTheyHappen(t *testing.T) {
	r := newRig(t)
	if _, err := r.Helm.AddApp(t.Context(), bosman.Actor{Person: "ola"}, "other"); err != nil {
		t.Fatal(err)
	}
	all, ewa, one := r.listen("ola", "", ""), r.listen("ewa", "", ""), r.listen("ola", "?app=rms", "")
	for _, next := range []func() (string, string, string){all, ewa, one} {
		if _, kind, _ := next(); kind != "open" {
			t.Fatalf("a stream opens with %q", kind)
		}
	}
	r.happens("other", bosman.EventBuildQueued, "b8")
	r.happens("rms", bosman.EventBuildQueued, "b9")
	if _, _, data := all(); !strings.Contains(data, `"b8"`) {
		t.Errorf("an administrator hears all: %s", data)
	}
	for who, next := range map[string]func() (string, string, string){"ewa, who may see rms only": ewa, "who asked for rms": one} {
		if _, kind, data := next(); kind != "build.queued" || !strings.Contains(data, `"b9"`) {
			t.Errorf("%s hears %s %s", who, kind, data)
		}
	}
}

func TestEventsGoOnWhereTheyBrokeOff(t *testing.T) {
	r := newRig(t)
	r.happens("rms", bosman.EventBuildQueued, "b1")
	r.happens("rms", bosman.EventBuildQueued, "b2")
	first := r.listen("jan", "", "0")
	var seen []string
	var id string
	for len(seen) < 4 {
		i, kind, data := first()
		if data == "END" {
			t.Fatalf("ended after %v", seen)
		}
		if kind != "open" {
			id = i
		}
		seen = append(seen, kind)
		if strings.Contains(data, `"b1"`) {
			break
		}
	}
	again := r.listen("jan", "", id)
	if _, kind, _ := again(); kind != "open" {
		t.Fatalf("opens with %q", kind)
	}
	if _, _, data := again(); !strings.Contains(data, `"b2"`) {
		t.Errorf("after %s comes %s, want b2 (seen %v)", id, data, seen)
	}
	r.want(404, "ola", "GET", "/api/v1/events?app=none", "", "not-found")
	r.want(403, "stranger", "GET", "/api/v1/events?app=rms", "", "forbidden")
}
