package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bosman-cd/bosman/api/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type rig struct {
	*apitest.Rig
	t *testing.T
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return &rig{apitest.New(t), t}
}

// ask makes a request and gives status and body.
func (r *rig) ask(who, method, path, body string, header ...string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.Server.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if who != "" {
		req.Header.Set("Authorization", "Bearer "+who)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for n := 0; n+1 < len(header); n += 2 {
		req.Header.Set(header[n], header[n+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		r.t.Fatal(err)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		r.t.Errorf("%s %s: Cache-Control %q", method, path, got)
	}
	return resp.StatusCode, string(data)
}

func (r *rig) want(status int, who, method, path, body string, words ...string) string {
	r.t.Helper()
	got, text := r.ask(who, method, path, body)
	if got != status {
		r.t.Errorf("%s: %s %s = %d, want %d: %s", who, method, path, got, status, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			r.t.Errorf("%s %s: %s does not say %q", method, path, text, w)
		}
	}
	return text
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	d := json.NewDecoder(bytes.NewBufferString(text))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}
