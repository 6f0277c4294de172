package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// writeWait is how long a caller may take to accept a piece of a stream.
const writeWait = 30 * time.Second

const ndjson = "application/x-ndjson"

// stream registers an operation whose answer is lines of T as JSON.
func stream[I, T any](s *server, r route, contentType string, f func(context.Context, *I, *http.Request, http.ResponseWriter)) {
	schema := s.api.OpenAPI().Components.Schemas.Schema(typeOf[T](), true, "")
	huma.Register(s.api, huma.Operation{
		Method: r.method, Path: "/api/v1" + r.path, OperationID: r.id, Summary: r.summary, Tags: []string{r.tag},
		Responses: map[string]*huma.Response{"200": {Description: "A stream", Content: map[string]*huma.MediaType{contentType: {Schema: schema}}}},
	}, func(_ context.Context, in *I) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			req, w := humago.Unwrap(ctx)
			f(req.Context(), in, req, w)
		}}, nil
	})
}

// lines writes JSON lines to a caller, the header with the first of them.
type lines struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
}

func newLines(w http.ResponseWriter) *lines {
	return &lines{w: w, rc: http.NewResponseController(w)}
}

// begin sends the header.
func (l *lines) begin(contentType string) {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", contentType)
		l.w.Header().Set("X-Accel-Buffering", "no")
		l.w.WriteHeader(http.StatusOK)
	}
}

func (l *lines) raw(contentType string, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin(contentType)
	if err := l.rc.SetWriteDeadline(time.Now().Add(writeWait)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := l.w.Write(data); err != nil {
		return err
	}
	return l.rc.Flush()
}

func (l *lines) send(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return l.raw(ndjson, append(data, '\n'))
}

// wrote says whether the header is out.
func (l *lines) wrote() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begun
}

func (s *server) streams() {
	s.events()
	s.logs()
	s.runs()
	s.fetches()
}

// events is the stream of all that happens, as server-sent events.
func (s *server) events() {
	type input struct {
		App  string `query:"app" doc:"only of this app"`
		Last string `header:"Last-Event-ID" doc:"only what came after this event; without it, only what comes from now on"`
	}
	stream[input, bosman.Event](s, route{"GET", "/events", "events", "events", "All that happens on the apps you may see, as server-sent events"}, "text/event-stream",
		func(ctx context.Context, in *input, r *http.Request, w http.ResponseWriter) {
			if in.App != "" {
				if _, err := s.Helm.App(ctx, actor(ctx), in.App); err != nil {
					s.refuse(w, r, err)
					return
				}
			}
			after, err := strconv.ParseInt(in.Last, 10, 64)
			if err != nil {
				if after, err = s.Helm.Store.LastEvent(ctx); err != nil {
					s.refuse(w, r, err)
					return
				}
			}
			s.follow(ctx, in.App, after, newLines(w))
		})
}

// follow sends events until the caller is gone.
func (s *server) follow(ctx context.Context, app string, after int64, out *lines) {
	const sse = "text/event-stream"
	alive := time.NewTicker(streamIdle)
	defer alive.Stop()
	if out.raw(sse, []byte(": from "+strconv.FormatInt(after, 10)+"\nid: "+strconv.FormatInt(after, 10)+"\nevent: open\ndata: {}\n\n")) != nil {
		return
	}
	for {
		wake := s.Helm.Store.Wake()
		events, err := s.Helm.Store.EventsAfter(ctx, after, 200)
		if err != nil {
			return // the caller comes back with the last id
		}
		for _, e := range events {
			after = e.ID
			if app != "" && e.App != app || !s.Helm.May(ctx, actor(ctx), bosman.MaySee, e.App, "") {
				continue
			}
			data, err := json.Marshal(e)
			if err != nil {
				return
			}
			if out.raw(sse, []byte("id: "+strconv.FormatInt(e.ID, 10)+"\nevent: "+string(e.Kind)+"\ndata: "+string(data)+"\n\n")) != nil {
				return
			}
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-wake:
		case <-alive.C:
			if out.raw(sse, []byte(":\n\n")) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// runs runs commands and tasks in instances.
func (s *server) runs() {
	const at = "/apps/{app}/instances/{instance}"
	stream[InInstance, wire.RunOutput](s, route{"POST", at + "/run", "run", "instances", "Run a command; send {command}, then its input as lines of {data}; the answer is lines of output and at last {exit}"}, ndjson,
		func(_ context.Context, in *InInstance, r *http.Request, w http.ResponseWriter) {
			body := json.NewDecoder(r.Body)
			var first wire.RunInput
			if err := body.Decode(&first); err != nil {
				s.refuse(w, r, bosman.Invalid("the first line must be {\"command\": …}").Because(err))
				return
			}
			s.run(r, w, in.App, in.Instance, first, body)
		})
	type task struct {
		InInstance
		Task string `path:"task"`
	}
	stream[task, wire.RunOutput](s, route{"POST", at + "/tasks/{task}", "run-task", "instances", "Run a task of the manifest, as run does"}, ndjson,
		func(ctx context.Context, in *task, r *http.Request, w http.ResponseWriter) {
			if _, err := s.Helm.App(ctx, actor(ctx), in.App); err != nil {
				s.refuse(w, r, err)
				return
			}
			m, err := s.Helm.Manifest(ctx, in.App)
			if err != nil {
				s.refuse(w, r, err)
				return
			}
			command, ok := m.Tasks[in.Task]
			if !ok {
				s.refuse(w, r, bosman.NotFound("main's %s names no task %q", bosman.ManifestFile, in.Task).WithNext("bosman tasks lists them"))
				return
			}
			s.run(r, w, in.App, in.Instance, wire.RunInput{Command: command}, json.NewDecoder(r.Body))
		})
}

// run carries input and output between the caller and a command.
func (s *server) run(r *http.Request, w http.ResponseWriter, app, instance string, first wire.RunInput, body *json.Decoder) {
	out := newLines(w)
	if err := out.rc.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.refuse(w, r, err)
		return
	}
	open := r.ContentLength < 0 // input may come as long as the command runs
	if open {
		w.Header().Set("Connection", "close")
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stdin, feed := io.Pipe()
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		err := pour(feed, first.Data, body)
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
			cancel() // the caller is gone
		}
		_ = feed.CloseWithError(io.EOF) // never fails
	}()
	exit, err := s.Helm.RunCommand(ctx, actor(ctx), app, instance, first.Command, stdin, part{out, "stdout"}, part{out, "stderr"})
	_ = stdin.Close() // never fails; whoever pours gets io.ErrClosedPipe
	if err := out.endInput(fed, open); err != nil {
		s.Log.Warn("a caller's input cannot be ended", "err", err)
	}
	switch {
	case err != nil && !out.wrote():
		s.refuse(w, r, err)
	case err != nil:
		p := problemOf(ctx, s.Log, err)
		_ = out.send(wire.RunOutput{Error: &bosman.Error{Kind: bosman.ErrorKind(p.Kind), Message: p.Message, Kept: p.Kept, Next: p.Next}})
	default:
		_ = out.send(wire.RunOutput{Exit: &exit}) // the caller may have hung up
	}
}

// endInput waits until fed is closed: what the caller still sends is for
// nobody. A connection whose reading was broken off carries no other request.
func (l *lines) endInput(fed <-chan struct{}, open bool) error {
	grace := time.Now()
	if !open {
		grace = grace.Add(writeWait) // it is little and on its way
	}
	err := l.rc.SetReadDeadline(grace)
	<-fed
	if err == nil && !open {
		err = l.rc.SetReadDeadline(time.Time{})
	}
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// pour passes the caller's input on until it ends.
func pour(to io.Writer, data []byte, body *json.Decoder) error {
	for {
		if len(data) > 0 {
			if _, err := to.Write(data); err != nil {
				return err
			}
		}
		var line wire.RunInput
		if err := body.Decode(&line); err != nil {
			return err
		}
		data = line.Data
	}
}

// part is one of a command's two outputs.
type part struct {
	out  *lines
	name string
}

func (p part) Write(data []byte) (int, error) {
	if err := p.out.send(wire.RunOutput{Stream: p.name, Data: data}); err != nil {
		return 0, err
	}
	return len(data), nil
}
