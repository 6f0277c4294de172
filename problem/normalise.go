package problem

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// exception is one link of a chain, innermost first.
type exception struct {
	Type, Value, Module string
	Unhandled           bool
	Synthetic           bool
	Frames              []bosman.Frame
}

// normal is an event in one shape, whatever client sent it.
type normal struct {
	event       bosman.ErrorEvent
	chain       []exception
	template    string // message before its parameters were put in
	logger      string
	culprit     string
	fingerprint []string
}

// Caps on what goes into a row; the body holds the rest.
const (
	maxText   = 1000
	maxFrames = 100
	maxTags   = 50
)

// normalise reads a scrubbed event. received is now; sentAt corrects a clock
// that is off.
func normalise(m map[string]any, app, instance string, received time.Time, sentAt string) normal {
	n := normal{logger: str(m["logger"]), culprit: str(m["culprit"])}
	e := &n.event
	e.App, e.Instance, e.ReceivedAt = app, instance, received.UTC()
	e.ID = eventIDOf(str(m["event_id"]))
	e.ReleaseName, e.Environment = clip(str(m["release"]), 200), clip(str(m["environment"]), 100)
	if owner, number, ok := ParseRelease(e.ReleaseName); ok && owner == app {
		e.Release = number
	}
	e.Level = level(m["level"])
	e.Platform, e.Transaction = clip(str(m["platform"]), 50), clip(str(m["transaction"]), 300)
	if sdk, ok := m["sdk"].(map[string]any); ok {
		e.SDK = clip(strings.TrimSpace(str(sdk["name"])+" "+str(sdk["version"])), 100)
	}
	e.At = moment(m["timestamp"], received, sentAt)
	n.message(m)
	n.exceptions(m)
	request(e, m["request"])
	e.User = user(app, m["user"])
	e.Tags = tags(m["tags"])
	for _, part := range list(m["fingerprint"]) {
		if len(n.fingerprint) < 20 {
			n.fingerprint = append(n.fingerprint, clip(str(part), 300))
		}
	}
	return n
}

// message takes message or logentry, and keeps the template apart.
func (n *normal) message(m map[string]any) {
	text := m["message"]
	entry, ok := m["logentry"].(map[string]any)
	if !ok {
		entry, ok = text.(map[string]any) // some clients send the entry as message
	}
	if ok {
		n.template = clip(str(entry["message"]), maxText)
		n.event.Message = str(entry["formatted"])
		if n.event.Message == "" {
			n.event.Message = fill(n.template, list(entry["params"]))
		}
	}
	if s := str(text); n.event.Message == "" && s != "" {
		n.event.Message = s
	}
	n.event.Message = clip(n.event.Message, maxText)
}

// fill puts parameters into a template of Python's %s or {} kind.
func fill(template string, params []any) string {
	for _, p := range params {
		loc := verb.FindStringIndex(template)
		if loc == nil {
			break
		}
		text := str(p)
		if b, ok := p.(bool); ok {
			text = strconv.FormatBool(b)
		}
		template = template[:loc[0]] + strings.ReplaceAll(text, "%", "\x00") + template[loc[1]:]
	}
	return strings.ReplaceAll(template, "\x00", "%")
}

var verb = regexp.MustCompile(`%(?:\([\w.]+\))?[-+ #0]*\d*(?:\.\d+)?[sdirfgxXeu]|\{\w*\}`)

// exceptions reads the chain: {values:[…]}, a bare list, or one object.
func (n *normal) exceptions(m map[string]any) {
	for _, v := range values(m["exception"], "type", "value") {
		x, ok := v.(map[string]any)
		if !ok || len(n.chain) >= 50 {
			continue
		}
		ex := exception{Type: clip(str(x["type"]), 200), Value: clip(str(x["value"]), maxText), Module: str(x["module"])}
		if mech, ok := x["mechanism"].(map[string]any); ok {
			if handled, ok := mech["handled"].(bool); ok && !handled {
				ex.Unhandled = true
			}
			ex.Synthetic, _ = mech["synthetic"].(bool) // false when it is anything else
		}
		ex.Frames = frames(x["stacktrace"])
		n.chain = append(n.chain, ex)
	}
	e := &n.event
	for _, ex := range n.chain {
		e.Unhandled = e.Unhandled || ex.Unhandled
	}
	if e.Level == "fatal" {
		e.Unhandled = true // a panic that Go's client reports carries no mechanism
	}
	if x := n.outermost(); x != nil {
		e.Type = x.Type
		e.Frames = x.Frames
		if e.Message == "" || x.Type != "" {
			e.Message = x.Value
		}
		if len(x.Frames) == 0 {
			for i := len(n.chain) - 1; i >= 0; i-- {
				if len(n.chain[i].Frames) > 0 {
					e.Frames = n.chain[i].Frames
					break
				}
			}
		}
		return
	}
	e.Frames = frames(m["stacktrace"])
	if len(e.Frames) > 0 {
		return
	}
	for _, v := range values(m["threads"], "stacktrace") { // messages of Go's client
		if t, ok := v.(map[string]any); ok {
			if f := frames(t["stacktrace"]); len(f) > 0 {
				e.Frames = f
				if current, ok := t["current"].(bool); ok && current {
					return
				}
			}
		}
	}
}

// outermost is the last exception of the chain; nil without one.
func (n *normal) outermost() *exception {
	if len(n.chain) == 0 {
		return nil
	}
	return &n.chain[len(n.chain)-1]
}

// values unwraps {values: […]}, a list, or a single object with one of keys.
func values(v any, keys ...string) []any {
	switch v := v.(type) {
	case []any:
		return v
	case map[string]any:
		if l, ok := v["values"].([]any); ok {
			return l
		}
		for _, k := range keys {
			if v[k] != nil {
				return []any{v}
			}
		}
	}
	return nil
}

func list(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case map[string]any:
		var l []any
		for _, x := range v {
			l = append(l, x)
		}
		return l
	}
	return nil
}

func frames(v any) []bosman.Frame {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	var out []bosman.Frame
	raw := list(m["frames"])
	if len(raw) > maxFrames { // the ends are worth more than the middle
		raw = append(append([]any{}, raw[:maxFrames/4]...), raw[len(raw)-maxFrames*3/4:]...)
	}
	for _, x := range raw {
		f, ok := x.(map[string]any)
		if !ok {
			continue
		}
		fr := bosman.Frame{
			File: clip(str(f["filename"]), 300), Module: clip(str(f["module"]), 200), Function: clip(str(f["function"]), 200),
			Line: number(f["lineno"]), Column: number(f["colno"]), Context: clip(str(f["context_line"]), 300),
			Pre: lines(f["pre_context"]), Post: lines(f["post_context"]),
		}
		abs := str(f["abs_path"])
		if fr.File == "" {
			fr.File = clip(abs, 300)
		}
		inApp, said := f["in_app"].(bool)
		fr.InApp = (inApp || !said) && !foreign(abs) && !foreign(fr.File)
		out = append(out, fr)
	}
	return out
}

func lines(v any) []string {
	var out []string
	for _, x := range list(v) {
		if len(out) < 10 {
			out = append(out, clip(str(x), 300))
		}
	}
	return out
}

// foreignPath are files that are not the app\'s own, whatever the client says.
var foreignPath = regexp.MustCompile(`(?:^|[/\\])(?:site-packages|dist-packages|node_modules|bower_components|vendor|\.venv|gems)[/\\]|^node:|^internal/|^<|^\[native|[/\\]pkg[/\\]mod[/\\]|^/usr/(?:local/)?lib/(?:python|go|node|ruby)|^/usr/local/go/|/go/src/runtime/|^(?:chrome|moz|safari-web)-extension://|^webpack/|^\(webpack\)`)

func foreign(p string) bool { return p != "" && p != "<stdin>" && foreignPath.MatchString(p) }

func request(e *bosman.ErrorEvent, v any) {
	if m, ok := v.(map[string]any); ok {
		e.URL, e.Method = clip(str(m["url"]), 500), clip(str(m["method"]), 20)
		if i := strings.IndexAny(e.URL, "?#"); i >= 0 {
			e.URL = e.URL[:i]
		}
	}
}

// user gives a short hash that counts people without naming them.
func user(app string, v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	for _, k := range []string{"id", "email", "username", "ip_address"} {
		if s := str(m[k]); s != "" && s != "{{auto}}" {
			sum := sha256.Sum256([]byte(app + "\x00" + k + "\x00" + s))
			return hex.EncodeToString(sum[:8])
		}
	}
	return ""
}

func tags(v any) map[string]string {
	out := map[string]string{}
	put := func(k, s string) {
		if k != "" && len(out) < maxTags {
			out[clip(k, 100)] = clip(s, 200)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if b, ok := x.(bool); ok {
				put(k, strconv.FormatBool(b))
				continue
			}
			put(k, str(x))
		}
	case []any:
		for _, x := range v {
			if pair, ok := x.([]any); ok && len(pair) == 2 {
				put(str(pair[0]), str(pair[1]))
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func level(v any) string {
	switch s := strings.ToLower(str(v)); s {
	case "debug", "info", "warning", "error", "fatal":
		return s
	case "log", "20":
		return "info"
	case "warn", "30":
		return "warning"
	case "critical", "panic", "50":
		return "fatal"
	case "10":
		return "debug"
	}
	return "error"
}

// eventIDOf gives 32 hex digits; a fresh ID for anything else.
func eventIDOf(s string) string {
	s = strings.ToLower(strings.ReplaceAll(s, "-", ""))
	if eventID.MatchString(s) {
		return s
	}
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return strings.Repeat("0", 32) // crypto/rand does not fail on the systems we run on
	}
	return hex.EncodeToString(b[:])
}

// moment reads a timestamp and corrects it by how far the client's clock is off.
func moment(v any, received time.Time, sentAt string) time.Time {
	t, ok := parseTime(v)
	if !ok {
		return received.UTC()
	}
	if sent, ok := parseTime(sentAt); ok {
		if drift := received.Sub(sent); drift > time.Minute || drift < -time.Minute {
			t = t.Add(drift)
		}
	}
	if t.After(received) || received.Sub(t) > 30*24*time.Hour {
		return received.UTC()
	}
	return t.UTC()
}

func parseTime(v any) (time.Time, bool) {
	if n, ok := v.(json.Number); ok {
		f, err := n.Float64()
		if err != nil || math.IsNaN(f) || f < 0 || f > 1e11 {
			return time.Time{}, false
		}
		return time.UnixMicro(int64(f * 1e6)), true
	}
	s, ok := v.(string)
	if !ok || s == "" {
		return time.Time{}, false
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999-0700"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func number(v any) int {
	n, err := strconv.Atoi(str(v))
	if err != nil || n < 0 || n > 1<<30 {
		return 0
	}
	return n
}

// clip cuts s to at most n bytes, between characters, and drops NULs, which
// databases refuse.
func clip(s string, n int) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// base is the last part of a path or URL without its query.
func base(p string) string {
	if i := strings.IndexAny(p, "?#"); i >= 0 {
		p = p[:i]
	}
	return path.Base(strings.ReplaceAll(p, `\`, "/"))
}
