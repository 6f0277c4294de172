package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// LogOptions say what of a log is wanted.
type LogOptions struct {
	From   int64
	Tail   int
	Follow bool
}

func (o LogOptions) params() string {
	return params([]string{"from", number(int(o.From)), "tail", number(o.Tail), "follow", yes(o.Follow)})
}

// BuildLog gives each line of a build's log.
func (c *Client) BuildLog(ctx context.Context, app string, n int, o LogOptions, each func(wire.LogLine) error) error {
	return c.log(ctx, at("apps", app, "builds", n, "log"), o, each)
}

// OperationLog gives each line that the instance logged during an operation.
func (c *Client) OperationLog(ctx context.Context, app string, n int, o LogOptions, each func(wire.LogLine) error) error {
	return c.log(ctx, at("apps", app, "operations", n, "log"), o, each)
}

// InstanceLog gives each line of an instance's log.
func (c *Client) InstanceLog(ctx context.Context, app, instance string, o LogOptions, each func(wire.LogLine) error) error {
	return c.log(ctx, at("apps", app, "instances", instance, "log"), o, each)
}

// log reads a log. A followed one is taken up where it broke off.
func (c *Client) log(ctx context.Context, path string, o LogOptions, each func(wire.LogLine) error) error {
	var refused error
	for try := 0; ; {
		resp, err := c.send(ctx, http.MethodGet, path+o.params(), "", nil, nil)
		if err == nil {
			err = decodeLines(resp.Body, func(l wire.LogLine) error {
				o.From, o.Tail, try = l.Next, 0, 0
				refused = each(l)
				return refused
			})
			err = errors.Join(err, resp.Body.Close())
		}
		switch {
		case err == nil || refused != nil:
			return refused
		case ctx.Err() != nil:
			return ctx.Err()
		case !o.Follow || !away(err) || try >= tries:
			return err
		}
		try++
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// tries is how often a server that went away is asked again, a second apart:
// it may restart.
const tries = 30

func pause(ctx context.Context) error {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// away says whether an error is about the way to the server.
func away(err error) bool { return errors.Is(err, ErrUnreachable) }

// decodeLines reads JSON lines; an answer that breaks off is ErrUnreachable.
func decodeLines[T any](r io.Reader, each func(T) error) error {
	d := json.NewDecoder(r)
	for {
		var v T
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return bosman.Unavailable("the server's answer broke off").Because(fmt.Errorf("%w: %w", ErrUnreachable, err))
		}
		if err := each(v); err != nil {
			return err
		}
	}
}

// Events gives each event of an app ("" for all) that comes after the one
// with the id after (negative: from now on), until each fails or ctx ends. opened is
// called once events are being heard.
func (c *Client) Events(ctx context.Context, app string, after int64, opened func(), each func(bosman.Event) error) error {
	for try := 0; ; {
		header := http.Header{}
		if after >= 0 {
			header.Set("Last-Event-Id", strconv.FormatInt(after, 10))
		}
		resp, err := c.send(ctx, http.MethodGet, "/events"+params([]string{"app", app}), "", nil, header)
		if err == nil {
			var stop error
			err = readEvents(resp.Body, func(id int64, data string) error {
				after, try = id, 0
				if data == "{}" {
					opened()
					return nil
				}
				var e bosman.Event
				if stop = json.Unmarshal([]byte(data), &e); stop == nil {
					stop = each(e)
				}
				return stop
			})
			if cerr := resp.Body.Close(); stop != nil {
				return stop
			} else if err == nil {
				err = cerr
			}
		} else if !away(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if try++; try > tries {
			return c.unreachable(errors.Join(err, errors.New("it went away")))
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// readEvents reads server-sent events until they end.
func readEvents(r io.Reader, each func(id int64, data string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	var id int64
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return err
			}
			id = n
		case "data":
			if err := each(id, value); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

var errEnough = errors.New("enough")

// WaitOperation calls show with each new look of an operation until it ends,
// or (unless all) until it has switched and is only watched.
func (c *Client) WaitOperation(ctx context.Context, app string, n int, all bool, show func(bosman.Operation)) (bosman.Operation, error) {
	return wait(ctx, c, app, bosman.Ref(bosman.LetterOperation, n), func() (bosman.Operation, bool, error) {
		o, err := c.Operation(ctx, app, n)
		if err == nil {
			show(o)
		}
		return o, o.State.Final() || !all && o.State == bosman.OpWatching, err
	})
}

// WaitBuild calls show with each new look of a build until it ends.
func (c *Client) WaitBuild(ctx context.Context, app string, n int, show func(bosman.Build)) (bosman.Build, error) {
	return wait(ctx, c, app, bosman.Ref(bosman.LetterBuild, n), func() (bosman.Build, bool, error) {
		b, err := c.BuildOf(ctx, app, n)
		if err == nil {
			show(b)
		}
		return b, b.State.Final(), err
	})
}

// wait looks at something again with each event about it, until it is over.
func wait[T any](ctx context.Context, c *Client, app, subject string, look func() (T, bool, error)) (T, error) {
	var last T
	again := func() error {
		v, over, err := look()
		switch {
		case away(err):
			return nil // it comes back; the events are heard again then
		case err != nil:
			return err
		}
		last = v
		if over {
			return errEnough
		}
		return nil
	}
	var failed error
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	opened := func() {
		if failed = again(); failed != nil {
			cancel()
		}
	}
	err := c.Events(inner, app, -1, opened, func(e bosman.Event) error {
		if e.Subject != subject {
			return nil
		}
		return again()
	})
	if failed != nil {
		err = failed
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return last, err
}

// Run runs a command in an instance (or, with task, a task of the manifest)
// and gives its exit code. stdin may be nil.
func (c *Client) Run(ctx context.Context, app, instance, command, task string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	path := at("apps", app, "instances", instance, "run")
	if task != "" {
		path = at("apps", app, "instances", instance, "tasks", task)
	}
	var first bytes.Buffer
	if task == "" {
		if err := json.NewEncoder(&first).Encode(wire.RunInput{Command: command}); err != nil {
			return 0, err
		}
	}
	var body io.Reader = &first
	if stdin != nil {
		pipe, feed := io.Pipe()
		// A terminal's Read cannot be broken off, so nobody waits for who
		// reads it; it ends with its next read.
		go func() { _ = feed.CloseWithError(feedInput(feed, &first, stdin)) }() // never fails
		defer func() { _ = pipe.Close() }()                                     // never fails
		body = pipe
	}
	resp, err := c.send(ctx, http.MethodPost, path, "application/x-ndjson", body, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }() // the answer is over, or broke off and was said so
	exit := -1
	err = decodeLines(resp.Body, func(o wire.RunOutput) error {
		switch {
		case o.Error != nil:
			return o.Error
		case o.Exit != nil:
			exit = *o.Exit
			return nil
		case o.Stream == "stderr":
			_, err := stderr.Write(o.Data)
			return err
		}
		_, err := stdout.Write(o.Data)
		return err
	})
	if err == nil && exit < 0 {
		err = bosman.Unavailable("the connection broke off before the command ended").Because(ErrUnreachable)
	}
	return exit, err
}

func feedInput(w io.Writer, first io.Reader, stdin io.Reader) error {
	if _, err := io.Copy(w, first); err != nil {
		return err
	}
	out := json.NewEncoder(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := stdin.Read(buf)
		if n > 0 {
			if err := out.Encode(wire.RunInput{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// WaitChange waits until nobody wants a change merged any more: it is merged,
// or it is not going to be by itself.
func (c *Client) WaitChange(ctx context.Context, app, ref string) (wire.ChangeView, error) {
	first, err := c.Change(ctx, app, ref)
	if err != nil {
		return first, err
	}
	return wait(ctx, c, app, bosman.Ref(bosman.LetterChange, first.Number), func() (wire.ChangeView, bool, error) {
		v, err := c.Change(ctx, app, ref)
		return v, v.State != bosman.ChangeOpen || v.MergeWanted == "", err
	})
}
