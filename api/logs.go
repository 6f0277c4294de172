package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
	"github.com/bosman-cd/bosman/internal/logfile"
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// LogInput says what of a log is wanted.
type LogInput struct {
	From   int64 `query:"from" minimum:"0" doc:"byte offset to begin at"`
	Tail   int   `query:"tail" minimum:"0" maximum:"100000" doc:"begin so many lines before the end instead"`
	Follow bool  `query:"follow" doc:"go on while it grows: a build's or operation's until it ends"`
}

// look is how often a followed log is looked at.
const look = 200 * time.Millisecond

func (s *server) logs() {
	type build struct {
		Numbered
		LogInput
	}
	stream[build, wire.LogLine](s, route{"GET", "/apps/{app}/builds/{n}/log", "build-log", "builds", "A build's log, as JSON lines"}, ndjson,
		func(ctx context.Context, in *build, r *http.Request, w http.ResponseWriter) {
			ended := func() (bool, error) {
				b, err := s.Helm.BuildOf(ctx, actor(ctx), in.App, in.N)
				return b.State.Final(), err
			}
			s.sendLog(ctx, r, w, s.Logs.Build(in.App, in.N), in.LogInput, ended, span{})
		})
	type op struct {
		Numbered
		LogInput
	}
	stream[op, wire.LogLine](s, route{"GET", "/apps/{app}/operations/{n}/log", "operation-log", "operations", "What the instance logged while an operation was at work on it, as JSON lines"}, ndjson,
		func(ctx context.Context, in *op, r *http.Request, w http.ResponseWriter) {
			o, err := s.Helm.Operation(ctx, actor(ctx), in.App, in.N)
			if err != nil {
				s.refuse(w, r, err)
				return
			}
			ended := func() (bool, error) {
				o, err := s.Helm.Operation(ctx, actor(ctx), in.App, in.N)
				return o.State.Final(), err
			}
			path, during := s.Logs.Operation(in.App, in.N), span{}
			if whole := s.Logs.Instance(in.App, o.Instance); path == "" || path == whole {
				path, during = whole, span{from: o.StartedAt, to: o.EndedAt}
				if o.StartedAt.IsZero() {
					during.from = time.Now()
				}
			}
			s.sendLog(ctx, r, w, path, in.LogInput, ended, during)
		})
	type inst struct {
		InInstance
		LogInput
	}
	stream[inst, wire.LogLine](s, route{"GET", "/apps/{app}/instances/{instance}/log", "instance-log", "instances", "An instance's log, as JSON lines"}, ndjson,
		func(ctx context.Context, in *inst, r *http.Request, w http.ResponseWriter) {
			never := func() (bool, error) {
				_, err := s.Helm.Instance(ctx, actor(ctx), in.App, in.Instance)
				return false, err
			}
			s.sendLog(ctx, r, w, s.Logs.Instance(in.App, in.Instance), in.LogInput, never, span{})
		})
}

// span is a stretch of time; a zero end is open.
type span struct{ from, to time.Time }

func (s span) holds(t time.Time) bool {
	return !t.Before(s.from.Truncate(time.Millisecond)) && (s.to.IsZero() || !t.After(s.to))
}

// sendLog sends a log's lines; ended also judges whether the actor may see it.
func (s *server) sendLog(ctx context.Context, r *http.Request, w http.ResponseWriter, path string, in LogInput, ended func() (bool, error), during span) {
	over, err := ended()
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	from := in.From
	if in.Tail > 0 {
		last, err := logfile.Tail(path, in.Tail)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		if len(last) > 0 {
			from = last[0].Offset
		}
	}
	reader, out := logfile.NewReader(path, from), newLines(w)
	defer func() {
		if err := reader.Close(); err != nil {
			s.Log.Warn("a log could not be closed", "path", path, "err", err)
		}
	}()
	if out.raw(ndjson, nil) != nil {
		return
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	alive := time.Now()
	for {
		sent, err := sendLines(reader, out, during)
		if err != nil || over || !in.Follow {
			if err != nil {
				s.Log.Debug("a log's reader is gone", "path", path, "err", err)
			}
			return
		}
		if sent {
			alive = time.Now()
		} else if time.Since(alive) > streamIdle {
			alive = time.Now()
			if out.raw(ndjson, []byte("\n")) != nil {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if over, err = ended(); err != nil && bosman.KindOf(err) != bosman.KindUnavailable {
			return
		}
	}
}

// sendLines sends what there is now.
func sendLines(reader *logfile.Reader, out *lines, during span) (sent bool, err error) {
	for {
		l, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return sent, nil
		}
		if err != nil {
			return sent, err
		}
		if !during.holds(l.At) {
			continue
		}
		if err := out.send(wire.LogLine{Offset: l.Offset, Next: l.Next, At: l.At, Source: l.Source, Text: l.Text}); err != nil {
			return sent, err
		}
		sent = true
	}
}
