package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bosman-cd/bosman"
)

// Refusal is the JSON of every error.
type Refusal struct {
	status  int
	Kind    string `json:"kind" enum:"invalid,not-found,conflict,forbidden,busy,failed,unavailable,internal" doc:"what sort of failure it is; decide on this"`
	Message string `json:"message" doc:"what happened"`
	Kept    string `json:"kept,omitempty" doc:"what was left untouched"`
	Next    string `json:"next,omitempty" doc:"what to do next"`
	Request string `json:"request,omitempty" doc:"id to find an internal failure in the server's log"`
}

// Error gives the message.
func (p *Refusal) Error() string { return p.Message }

// GetStatus gives the HTTP status; huma asks for it.
func (p *Refusal) GetStatus() int { return p.status }

// ContentType is that of problem documents; huma asks for it.
func (p *Refusal) ContentType(string) string { return "application/problem+json" }

// statusOf is the HTTP status of a kind.
func statusOf(k bosman.ErrorKind) int {
	switch k {
	case bosman.KindInvalid:
		return http.StatusBadRequest
	case bosman.KindNotFound:
		return http.StatusNotFound
	case bosman.KindConflict:
		return http.StatusConflict
	case bosman.KindForbidden:
		return http.StatusForbidden
	case bosman.KindBusy:
		return http.StatusLocked
	case bosman.KindFailed:
		return http.StatusUnprocessableEntity
	case bosman.KindUnavailable:
		return http.StatusServiceUnavailable
	case bosman.KindInternal:
	}
	return http.StatusInternalServerError
}

// problemOf turns an error into what the caller sees. The cause of an internal
// one is logged under a request id and not shown.
func problemOf(ctx context.Context, log *slog.Logger, err error) *Refusal {
	e := bosman.AsError(err)
	p := &Refusal{status: statusOf(e.Kind), Kind: string(e.Kind), Message: e.Message, Kept: e.Kept, Next: e.Next}
	switch {
	case e.Kind == bosman.KindInternal:
		p.Request = rand.Text()[:12]
		if p.Next == "" {
			p.Next = "look for request " + p.Request + " in the server's log"
		}
		log.ErrorContext(ctx, "a request failed", "request", p.Request, "err", err)
	case e.Cause != nil:
		log.WarnContext(ctx, "a request was refused", "kind", e.Kind, "err", err)
		if e.Kind == bosman.KindInvalid || e.Kind == bosman.KindFailed {
			p.Message += ": " + e.Cause.Error() // about the caller's own input or command
		}
	}
	return p
}

// write sends the problem outside huma.
func (p *Refusal) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", p.ContentType(""))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.status)
	_ = json.NewEncoder(w).Encode(p) // the caller may have hung up
}

// huma makes its own errors (a body that is no JSON, a missing field) with
// this process-wide constructor; nothing else in the program uses huma.
func init() {
	huma.NewError = newError
}

func newError(status int, msg string, errs ...error) huma.StatusError {
	p := &Refusal{status: status, Kind: string(bosman.KindInvalid), Message: msg}
	switch {
	case status >= http.StatusInternalServerError:
		p.Kind = string(bosman.KindInternal)
		return p
	case status == http.StatusUnprocessableEntity:
		p.status = http.StatusBadRequest
	}
	for _, e := range errs {
		if e == nil {
			continue
		}
		text := e.Error()
		if d, ok := e.(huma.ErrorDetailer); ok {
			text = d.ErrorDetail().Message
			if at := d.ErrorDetail().Location; at != "" {
				text += " (" + at + ")"
			}
		}
		p.Message += ": " + text
	}
	p.Kept = "nothing was changed"
	return p
}
