package problem

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// encoders compress for the tests.
var encoders = map[string]func(testing.TB, []byte) []byte{
	"gzip":        encoder(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }),
	"deflate":     encoder(func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriter(w), nil }),
	"deflate-raw": encoder(func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, 6) }),
	"br":          encoder(func(w io.Writer) (io.WriteCloser, error) { return brotli.NewWriter(w), nil }),
	"zstd":        encoder(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }),
}

func encoder(open func(io.Writer) (io.WriteCloser, error)) func(testing.TB, []byte) []byte {
	return func(t testing.TB, data []byte) []byte {
		t.Helper()
		var b bytes.Buffer
		w, err := open(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
}

func normalOf(t testing.TB, text string) normal {
	t.Helper()
	m, err := object([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return normalise(m, "rms", "live", time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC), "")
}

func TestGroupingKeys(t *testing.T) {
	for name, c := range map[string]struct{ event, key string }{
		"exception":      {`{"exception":{"values":[{"type":"KeyError","value":"'x'"},{"type":"ValueError","value":"v","stacktrace":{"frames":[{"module":"django.core.base","abs_path":"/usr/lib/python3/dist-packages/django/core/base.py","function":"f","in_app":true},{"module":"app.views","function":"show","lineno":3},{"module":"app.views","function":"show"},{"module":"app.models","function":"save"}]}}]}}`, "KeyError > ValueError in app.views.show > app.models.save"},
		"foreign only":   {`{"exception":[{"type":"E","value":"order 17 of \"anna\"","stacktrace":{"frames":[{"filename":"/x/site-packages/a.py","function":"f","in_app":true}]}}]}`, "E: order <n> of <value>"},
		"single object":  {`{"exception":{"type":"E","value":"x","stacktrace":{"frames":[null,{"filename":"a/b.js","function":"g"}]}}}`, "E in b.js.g"},
		"ids":            {`{"message":"user 7f9c24e5-2f3a-4d35-b8a1-0d1f6f3b2a11 at 10.0.0.3:80 0xdeadbeef on 2026-11-23T01:02:03Z mailed a@b.pl"}`, "message: user <id> at <address> <id> on <time> mailed <address>"},
		"template":       {`{"logentry":{"message":"stock for %s is %d","params":["a",3]}}`, "message: stock for %s is %d"},
		"fingerprint":    {`{"message":"x","fingerprint":["pay","eu"]}`, "fingerprint: pay | eu"},
		"with default":   {`{"message":"x 5","fingerprint":["{{ default }}","eu"]}`, "fingerprint: message: x <n> | eu"},
		"default alone":  {`{"message":"x 5","fingerprint":["{{default}}"]}`, "message: x <n>"},
		"hashed bundle":  {`{"platform":"javascript","exception":{"values":[{"type":"E","value":"x","stacktrace":{"frames":[{"filename":"https://x.pl/static/main.0123abcd4567.js","function":"checkout","lineno":20}]}}]}}`, "E in main.js.checkout"},
		"nothing at all": {`{}`, "event of  "},
	} {
		if g := group(normalOf(t, c.event)); g.Key != c.key {
			t.Errorf("%s: key %q, want %q", name, g.Key, c.key)
		}
	}
}

func TestGroupingIsStable(t *testing.T) {
	at := func(line int, value string) Group {
		return group(normalOf(t, strings.NewReplacer("LINE", json.Number(string(rune('0'+line))).String(), "VALUE", value).Replace(
			`{"exception":{"values":[{"type":"E","value":"VALUE","stacktrace":{"frames":[{"module":"a","function":"f","lineno":LINE,"context_line":"VALUE"}]}}]}}`)))
	}
	a, b, c := at(1, "id 5"), at(2, "id 77"), at(2, "something else")
	if a.Fine == "" || a != b {
		t.Errorf("a line moved and it is another problem: %+v %+v", a, b)
	}
	if b.Fine != c.Fine || b.Coarse == c.Coarse {
		t.Errorf("fine should hold and coarse differ: %+v %+v", b, c)
	}
}

func TestShapes(t *testing.T) {
	n := normalOf(t, `{"level":40,"timestamp":"2026-11-23T02:59:00.5","tags":[["a","b"],["c",1]],"user":{"id":7},"request":{"url":"https://x/y?z=1","method":"POST"},"exception":{"values":null},"threads":{"values":[{"stacktrace":null},{"stacktrace":{"frames":[{"function":"f","lineno":"9"}]}}]},"message":{"message":"a %s","params":["b"]},"breadcrumbs":[null]}`)
	e := n.event
	if e.Level != "error" || e.At.Format("15:04:05.0") != "02:59:00.5" || e.Tags["a"] != "b" || e.Tags["c"] != "1" || e.URL != "https://x/y" || e.Method != "POST" || e.Message != "a b" || len(e.Frames) != 1 || e.Frames[0].Line != 9 {
		t.Errorf("%+v", e)
	}
	if len(e.User) != 16 || strings.Contains(e.User, "7\x00") {
		t.Errorf("user %q", e.User)
	}
	if e.ID == "" || e.ID == normalOf(t, `{}`).event.ID {
		t.Error("an event without an ID needs one of its own")
	}
}

func TestClockDrift(t *testing.T) {
	received := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ ts, sent, want string }{
		{"2026-11-23T11:59:00Z", "2026-11-23T12:00:00Z", "11:59:00"},
		{"2026-11-23T08:59:00Z", "2026-11-23T09:00:00Z", "11:59:00"}, // three hours slow
		{"2026-11-23T15:59:00Z", "", "12:00:00"},                     // the future
		{"2020-01-01T00:00:00Z", "", "12:00:00"},                     // too long ago
	} {
		m := map[string]any{"timestamp": c.ts}
		if got := normalise(m, "a", "b", received, c.sent).event.At.Format("15:04:05"); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestReleaseNames(t *testing.T) {
	name := FormatRelease("rms", 136, "abcdef1234567890")
	if name != "rms@r136+abcdef12" {
		t.Errorf("name %q", name)
	}
	if app, n, ok := ParseRelease(name); !ok || app != "rms" || n != 136 {
		t.Errorf("%q %d %v", app, n, ok)
	}
	for _, s := range []string{"", "shop@2026.11.23-4f1c2ab", "rms@136", "rms@r0", "rms@r-1", "rms@r01", "@r1", "RMS@r1", "rms@r99999999999999999999"} {
		if _, _, ok := ParseRelease(s); ok {
			t.Errorf("%q is no release of ours", s)
		}
	}
	n := normalOf(t, `{"release":"rms@r7+abc"}`)
	if n.event.Release != 7 || normalOf(t, `{"release":"other@r7"}`).event.Release != 0 {
		t.Errorf("release %d", n.event.Release)
	}
}

func TestDSN(t *testing.T) {
	for _, c := range []struct{ key, base, project, want string }{
		{"abc", "http://127.0.0.1:8080/", "4", "http://abc@127.0.0.1:8080/4"},
		{"abc", "https://x.pl/bosman?a=b", "rms", "https://abc@x.pl/bosman/600129"},
		{"abc", "nonsense", "rms", ""},
		{"", "http://x.pl", "rms", ""},
	} {
		if got := DSN(c.key, c.base, c.project); got != c.want {
			t.Errorf("DSN(%q, %q, %q) = %q, want %q", c.key, c.base, c.project, got, c.want)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte("{}\n{\"type\":\"event\",\"length\":2}\n{}\n"))
	f.Add([]byte("{\"sent_at\":5}\n{\"type\":\"event\"}\n{\"exception\":[null,{\"stacktrace\":{\"frames\":[null]}}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseEnvelope(data)
		if err != nil {
			return
		}
		s := newScrubber(nil)
		for _, it := range e.Items {
			if m, err := object(it.Payload); err == nil {
				s.value(m, 0)
				n := normalise(m, "a", "b", time.Now(), e.SentAt)
				if g := group(n); g.Coarse == "" || !eventID.MatchString(n.event.ID) {
					t.Fatalf("%+v", g)
				}
				title(n)
				culprit(n)
			}
		}
	})
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
