package problem

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman"
)

var route = regexp.MustCompile(`^(?:/[^/]+)*?/api(?:/([^/]+))?/(envelope|store|security|csp-report|cron/[^/]+(?:/[^/]+)?)/?$`)

// Matches says whether the intake answers a path: /api/PROJECT/envelope,
// store, security, csp-report or cron/SLUG, with and without a final slash,
// and /api/store/.
func Matches(path string) bool {
	m := route.FindStringSubmatch(path)
	return m != nil && (m[1] != "" || m[2] == "store")
}

// caller is who sends.
type caller struct{ key, app, instance string }

// ServeHTTP takes a report. It answers after the event is durable: 200 with
// its id, 400 for what is malformed, 401 for an unknown key, 413 for what is
// too large, 429 when the key sends too much, 503 when too much waits.
func (in *Intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "x-sentry-rate-limits, retry-after, x-sentry-error")
	m := route.FindStringSubmatch(r.URL.Path)
	if m == nil {
		in.refuse(w, http.StatusNotFound, "there is nothing here")
		return
	}
	kind := m[2]
	switch {
	case r.Method == http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "content-type, x-sentry-auth, content-encoding, authorization, sentry-trace, baggage, x-requested-with")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusOK)
		return
	case kind == "security" || kind == "csp-report":
		w.WriteHeader(http.StatusOK) // taken and forgotten: no error of the app
		return
	case strings.HasPrefix(kind, "cron/"):
		in.cron(w, r, strings.Split(kind, "/")[1:])
		return
	case r.Method == http.MethodGet && kind == "store" && r.URL.Query().Get("sentry_data") != "":
	case r.Method != http.MethodPost:
		h.Set("Allow", "POST, OPTIONS")
		in.refuse(w, http.StatusMethodNotAllowed, "send it with POST")
		return
	}
	select {
	case in.slots <- struct{}{}:
		defer func() { <-in.slots }()
	default:
		in.busy(w)
		return
	}
	var id string
	var err error
	if kind == "envelope" {
		id, err = in.takeEnvelope(r)
	} else {
		id, err = in.takeStore(r)
	}
	if err != nil {
		in.fail(w, r, err)
		return
	}
	if r.Method == http.MethodGet {
		h.Set("Content-Type", "image/gif")
		_, _ = io.WriteString(w, pixel) // nobody to tell when the client is gone
		return
	}
	in.answer(w, http.StatusOK, map[string]string{"id": id})
}

// pixel is a transparent GIF of one pixel.
const pixel = "GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

// limited is answered 429.
type limited struct{ wait int }

func (l limited) Error() string { return "this key sends too many events" }

func (in *Intake) fail(w http.ResponseWriter, r *http.Request, err error) {
	var l limited
	switch {
	case errors.As(err, &l):
		s := strconv.Itoa(l.wait)
		w.Header().Set("Retry-After", s)
		w.Header().Set("X-Sentry-Rate-Limits", s+":error;default:key:too_many")
		in.refuse(w, http.StatusTooManyRequests, l.Error())
	case errors.Is(err, errTooLarge):
		in.refuse(w, http.StatusRequestEntityTooLarge, "this is too large")
	case r.Context().Err() != nil:
		in.refuse(w, http.StatusServiceUnavailable, "the request ended before the report was kept")
	default:
		switch bosman.KindOf(err) {
		case bosman.KindInvalid:
			in.refuse(w, http.StatusBadRequest, err.Error())
		case bosman.KindNotFound, bosman.KindForbidden:
			in.refuse(w, http.StatusUnauthorized, "this key is not known")
		case bosman.KindBusy, bosman.KindUnavailable:
			in.busy(w)
		default:
			in.cfg.Log.Error("an error report failed", slog.Any("error", err))
			in.refuse(w, http.StatusInternalServerError, "something went wrong inside Bosman")
		}
	}
}

func (in *Intake) busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "30")
	in.refuse(w, http.StatusServiceUnavailable, "too many error reports wait")
}

func (in *Intake) refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("X-Sentry-Error", strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, clip(text, 200)))
	in.answer(w, status, map[string]string{"detail": text})
}

func (in *Intake) answer(w http.ResponseWriter, status int, v map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // nobody to tell when the client is gone
}

// who finds the caller: query, X-Sentry-Auth, or the DSN in an envelope.
func (in *Intake) who(r *http.Request, dsn string) (caller, error) {
	key, version := r.URL.Query().Get("sentry_key"), r.URL.Query().Get("sentry_version")
	for _, name := range []string{"X-Sentry-Auth", "Authorization"} {
		if key != "" {
			break
		}
		if text, ok := strings.CutPrefix(strings.TrimSpace(r.Header.Get(name)), "Sentry "); ok {
			for _, part := range strings.Split(text, ",") {
				k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
				switch strings.TrimSpace(k) {
				case "sentry_key":
					key = strings.TrimSpace(v)
				case "sentry_version":
					version = strings.TrimSpace(v)
				}
			}
		}
	}
	if key == "" && dsn != "" {
		if u, err := url.Parse(dsn); err == nil && u.User != nil {
			key = u.User.Username()
		}
	}
	if version != "" && version != "4" && version != "5" && version != "6" && version != "7" {
		return caller{}, bosman.Invalid("version %.20q of the protocol is not spoken here; 4 to 7 are", version)
	}
	if key == "" || len(key) > 200 {
		return caller{}, bosman.NotFound("no key was given")
	}
	app, instance, err := in.cfg.Keys.Lookup(r.Context(), key)
	if err != nil {
		return caller{}, err
	}
	return caller{key: key, app: app, instance: instance}, nil
}

func (in *Intake) takeStore(r *http.Request) (string, error) {
	c, err := in.who(r, "")
	if err != nil {
		return "", err
	}
	var data []byte
	if r.Method == http.MethodGet {
		text := r.URL.Query().Get("sentry_data")
		if data, err = base64.StdEncoding.DecodeString(text); err != nil {
			data = []byte(text)
		}
	} else if data, err = in.body(r); err != nil {
		return "", err
	}
	if data, err = in.storeBody(data); err != nil {
		return "", err
	}
	m, err := in.event(data)
	if err != nil {
		return "", err
	}
	if str(m["type"]) == "transaction" {
		return eventIDOf(str(m["event_id"])), nil
	}
	return in.keep(r.Context(), c, m, "", nil)
}

func (in *Intake) event(data []byte) (map[string]any, error) {
	if int64(len(data)) > in.cfg.MaxEvent {
		return nil, errTooLarge
	}
	return object(data)
}

func (in *Intake) takeEnvelope(r *http.Request) (string, error) {
	// With a key outside the body an unknown caller is refused unread.
	var c caller
	var err error
	outside := r.URL.Query().Get("sentry_key") != "" || r.Header.Get("X-Sentry-Auth") != "" || strings.HasPrefix(r.Header.Get("Authorization"), "Sentry ")
	if outside {
		if c, err = in.who(r, ""); err != nil {
			return "", err
		}
	}
	data, err := in.body(r)
	if err != nil {
		return "", err
	}
	env, err := parseEnvelope(data)
	if err != nil {
		return "", err
	}
	if !outside {
		if c, err = in.who(r, env.DSN); err != nil {
			return "", err
		}
	}
	id := env.EventID
	var attached []any
	for _, it := range env.Items {
		if it.Type == "attachment" && len(attached) < 20 {
			attached = append(attached, map[string]any{"filename": clip(it.Filename, 200), "content_type": clip(it.ContentType, 100), "bytes": len(it.Payload)})
		}
	}
	for _, it := range env.Items {
		switch it.Type {
		case "event", "feedback":
			m, err := in.event(it.Payload)
			if err != nil {
				return "", err
			}
			if id != "" {
				m["event_id"] = id
			}
			if it.Type == "feedback" {
				feedback(m)
			}
			if id, err = in.keep(r.Context(), c, m, env.SentAt, attached); err != nil {
				return "", err
			}
		case "session", "sessions", "client_report", "check_in":
			m, err := object(it.Payload)
			if err != nil {
				return "", err
			}
			in.counted(c, it.Type, m)
		}
	}
	return strings.ReplaceAll(id, "-", ""), nil
}

// feedback makes a message of what a visitor wrote.
func feedback(m map[string]any) {
	m["level"] = "info"
	if contexts, ok := m["contexts"].(map[string]any); ok {
		if f, ok := contexts["feedback"].(map[string]any); ok && m["message"] == nil {
			m["message"] = "Feedback: " + str(f["message"])
		}
	}
}

// keep scrubs, normalises, groups and stores one event and returns when it is
// durable.
func (in *Intake) keep(ctx context.Context, c caller, m map[string]any, sentAt string, attached []any) (string, error) {
	now := in.cfg.Now()
	if ok, wait := in.limits.take(c.key, now); !ok {
		in.queue.count(Count{App: c.app, Instance: c.instance, Name: "limited", N: 1, At: now})
		return "", limited{wait}
	}
	in.scrubber.value(m, 0)
	n := normalise(m, c.app, c.instance, now, sentAt)
	m["event_id"] = n.event.ID
	if attached != nil {
		m["attachments"] = attached
	}
	body, err := json.Marshal(m)
	if err != nil {
		return "", bosman.Invalid("the event cannot be written back").Because(err)
	}
	if n.event.Body, err = in.cfg.Bodies.put(c.app, n.event.ID, in.cfg.Bodies.pack(body)); err != nil {
		return "", bosman.Unavailable("an error report cannot be kept").Because(err)
	}
	r := Report{Event: n.event, Group: group(n), Title: title(n), Culprit: culprit(n)}
	return n.event.ID, in.queue.submit(ctx, r)
}

// counted takes items that are only numbers.
func (in *Intake) counted(c caller, kind string, m map[string]any) {
	now := in.cfg.Now()
	add := func(release, name string, n int64) {
		if n <= 0 || n > 1e9 {
			return
		}
		count := Count{App: c.app, Instance: c.instance, Name: name, N: n, At: now}
		if owner, number, ok := ParseRelease(release); ok && owner == c.app {
			count.Release = number
		}
		in.queue.count(count)
	}
	attrs, _ := m["attrs"].(map[string]any) // nil reads as empty
	release := str(attrs["release"])
	switch kind {
	case "sessions":
		for i, v := range list(m["aggregates"]) {
			a, ok := v.(map[string]any)
			if !ok || i >= 100 {
				continue
			}
			var total int64
			for _, status := range []string{"exited", "errored", "crashed", "abnormal"} {
				n := int64(number(a[status]))
				total += n
				if status != "exited" {
					add(release, "sessions."+status, n)
				}
			}
			add(release, "sessions", total)
		}
	case "session":
		if first, ok := m["init"].(bool); ok && first {
			add(release, "sessions", 1)
		}
		switch status := str(m["status"]); {
		case status == "crashed" || status == "abnormal":
			add(release, "sessions."+status, 1)
		case number(m["errors"]) > 0 && status != "ok":
			add(release, "sessions.errored", 1)
		}
	case "client_report":
		for i, v := range list(m["discarded_events"]) {
			d, ok := v.(map[string]any)
			if ok && i < 100 {
				add("", "discarded."+plainWord(str(d["reason"]))+"."+plainWord(str(d["category"])), int64(number(d["quantity"])))
			}
		}
	case "check_in":
		add("", "checkin."+plainWord(str(m["monitor_slug"]))+"."+plainWord(str(m["status"])), 1)
	}
}

var notPlain = regexp.MustCompile(`[^a-z0-9_-]+`)

func plainWord(s string) string { return clip(notPlain.ReplaceAllString(strings.ToLower(s), "_"), 60) }

// cron takes a check-in by plain GET or POST: /api/P/cron/SLUG[/KEY]?status=ok.
func (in *Intake) cron(w http.ResponseWriter, r *http.Request, parts []string) {
	if len(parts) > 1 {
		q := r.URL.Query()
		q.Set("sentry_key", parts[1])
		r = r.Clone(r.Context())
		r.URL.RawQuery = q.Encode()
	}
	c, err := in.who(r, "")
	if err != nil {
		in.fail(w, r, err)
		return
	}
	status := r.URL.Query().Get("status")
	if status == "" {
		status = "ok"
	}
	in.counted(c, "check_in", map[string]any{"monitor_slug": parts[0], "status": status})
	in.answer(w, http.StatusOK, map[string]string{"id": eventIDOf("")})
}
