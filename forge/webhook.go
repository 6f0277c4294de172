package forge

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/bosman-cd/bosman"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Inbox keeps deliveries until they are worked on.
type Inbox interface {
	// Put keeps a delivery durably before it returns. fresh is false if one
	// with the same ID or Digest is known; nothing is done then.
	Put(ctx context.Context, raw Raw) (fresh bool, err error)
}

// MaxBody is the most a delivery may weigh: 25 MiB, as GitHub caps them.
const MaxBody = 25 << 20

// Webhook takes a forge's deliveries. It answers 200 only once the delivery
// is kept: forges do not deliver again by themselves.
type Webhook struct {
	Host  Host
	Inbox Inbox
	Wake  func()       // called after a fresh delivery was kept; must not block
	Max   int64        // bytes; 0 is MaxBody
	Log   *slog.Logger // may be nil
}

// How long a delivery is tried to be kept: forges wait 10 seconds.
const (
	keepFor   = 8 * time.Second
	keepPause = 50 * time.Millisecond
)

// ServeHTTP answers 200 (kept, or known), 202 (of no use to us), 400, 401,
// 405, 413 or 503 (not kept; deliver again).
func (h *Webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		h.say(w, http.StatusMethodNotAllowed, "deliveries are posted")
		return
	}
	limit := h.Max
	if limit == 0 {
		limit = MaxBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			h.say(w, http.StatusRequestEntityTooLarge, "the delivery is above "+strconv.FormatInt(limit>>20, 10)+" MB")
			return
		}
		h.say(w, http.StatusBadRequest, "the delivery broke off")
		return
	}
	raw, err := h.Host.Receive(r.Header, body)
	switch kind := bosman.KindOf(err); {
	case kind == bosman.KindForbidden:
		h.say(w, http.StatusUnauthorized, bosman.AsError(err).Message)
		return
	case err != nil:
		h.say(w, http.StatusBadRequest, bosman.AsError(err).Message)
		return
	case raw.Event == "":
		h.say(w, http.StatusAccepted, "ignored: Bosman has no use for it")
		return
	}
	fresh, err := h.keep(r.Context(), raw)
	if err != nil {
		h.log().Error("a delivery could not be kept", "delivery", raw.ID, "event", raw.Event, "err", err)
		w.Header().Set("Retry-After", "10")
		h.say(w, http.StatusServiceUnavailable, "the delivery could not be kept; deliver it again")
		return
	}
	if !fresh {
		h.say(w, http.StatusOK, "known already")
		return
	}
	if h.Wake != nil {
		h.Wake()
	}
	h.say(w, http.StatusOK, "kept")
}

// keep tries again for a while: a busy database is no reason to lose a push.
// The sender hanging up does not stop it.
func (h *Webhook) keep(ctx context.Context, raw Raw) (fresh bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepFor)
	defer cancel()
	for pause := keepPause; ; pause *= 2 {
		if fresh, err = h.Inbox.Put(ctx, raw); err == nil {
			return fresh, nil
		}
		select {
		case <-ctx.Done():
			return false, err
		case <-time.After(pause):
		}
	}
}

func (h *Webhook) log() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

func (h *Webhook) say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // the forge may have hung up
}
