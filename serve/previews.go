package serve

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
)

// tidyEvery is how often previews are looked at when nothing happens: which
// were used, which sleep from now on.
const tidyEvery = time.Minute

// keepPreviews keeps the previews of changes as main's bosman.yaml wants them,
// until ctx ends.
func (s *server) keepPreviews(ctx context.Context) error {
	last, err := s.store.LastEvent(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(tidyEvery)
		defer t.Stop()
		for {
			if err := s.tidyPreviews(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("previews could not be looked after", "err", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
		}
	}()
	err = s.store.Follow(ctx, last, func(ctx context.Context, e bosman.Event) error {
		if !helm.PreviewsConcern(e.Kind) {
			return nil
		}
		if err := s.helm.SettlePreviews(ctx, e.App); err != nil && ctx.Err() == nil {
			s.log.Warn("the previews of an app could not be looked after; it is tried again", "app", e.App, "err", err)
		}
		return nil
	})
	cancel()
	<-done
	return err
}

// tidyPreviews notes when previews were last asked for something, as the edge
// saw it, and looks after all of them.
func (s *server) tidyPreviews(ctx context.Context) error {
	all, err := s.store.Instances(ctx, "")
	if err != nil {
		return err
	}
	previews := map[string]bool{}
	for _, i := range all {
		if i.Kind == bosman.KindPreview {
			previews[i.App+"/"+i.Name] = true
		}
	}
	if len(previews) > 0 {
		stats, err := s.edge.Stats(ctx, "", "")
		if err != nil {
			return err
		}
		for _, i := range stats.Instances {
			if n := len(i.Seconds); n > 0 && previews[i.App+"/"+i.Instance] {
				if err := s.store.MarkUsed(ctx, i.App, i.Instance, time.Unix(i.Seconds[n-1].At, 0)); err != nil {
					return err
				}
			}
		}
	}
	return s.helm.TidyPreviews(ctx)
}

// wakeSocket is where the edge sends requests for instances that sleep.
func wakeSocket(data string) string { return filepath.Join(data, "run", "wake.sock") }

// wakePatience is how long a request waits for the instance that it woke.
const wakePatience = 25 * time.Second

// listenToWake answers requests for instances that sleep: they wake.
func (s *server) listenToWake(ctx context.Context, task func(string, func(context.Context) error)) error {
	path := wakeSocket(s.opt.Data)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return bosman.Unavailable("the socket %s of an earlier start cannot be removed", path).Because(err)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return bosman.Unavailable("cannot listen on %s", path).WithNext("choose a data folder with a shorter path").Because(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, listener.Close())
	}
	task("waking", func(ctx context.Context) error {
		srv := &http.Server{
			Handler: http.HandlerFunc(s.wake), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
			BaseContext: func(net.Listener) context.Context { return ctx }, // who waits is answered at the end
		}
		done := make(chan struct{})
		stop, end := context.WithCancel(ctx)
		go func() {
			defer close(done)
			<-stop.Done()
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if srv.Shutdown(grace) != nil {
				_ = srv.Close() // whoever still waits asks again
			}
		}()
		err := srv.Serve(listener)
		end()
		<-done
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	return nil
}

// wake starts the instance that a request asks for and sends the client there
// once it answers.
func (s *server) wake(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	i, err := s.sleeper(r.Context(), r.Host)
	if err == nil && i.Asleep {
		if err = s.helm.Wake(r.Context(), i.App, i.Name); err == nil {
			err = s.awaitAwake(r.Context(), i)
		}
	}
	switch {
	case err == nil:
		http.Redirect(w, r, "/"+strings.TrimLeft(r.URL.RequestURI(), "/"), http.StatusTemporaryRedirect)
	case errors.Is(err, errStillAsleep):
		w.Header().Set("Retry-After", "3")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintf(w, "<!doctype html><meta http-equiv=refresh content=3><title>%[1]s wakes</title><p>%[1]s slept because nobody used it. It starts now.", html.EscapeString(i.Name)) // whoever asked may have gone
	default:
		e := bosman.AsError(err)
		s.log.Warn("a request for an instance that sleeps could not wake it", "host", r.Host, "err", err)
		http.Error(w, e.Error(), http.StatusServiceUnavailable)
	}
}

var errStillAsleep = errors.New("it is not awake yet")

// awaitAwake waits until the instance runs.
func (s *server) awaitAwake(ctx context.Context, i bosman.Instance) error {
	limit := time.NewTimer(wakePatience)
	defer limit.Stop()
	for {
		changed := s.store.Wake()
		now, err := s.store.Instance(ctx, i.App, i.Name)
		if err != nil {
			return err
		}
		if !now.Stopped {
			return nil // it is routed: the row follows the switch
		}
		select {
		case <-changed:
		case <-limit.C:
			return errStillAsleep
		case <-ctx.Done():
			return errStillAsleep
		}
	}
}

// sleeper finds the instance that a request asks for by its host name, or by
// its port where instances have one each.
func (s *server) sleeper(ctx context.Context, host string) (bosman.Instance, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, ""
	}
	all, err := s.store.Instances(ctx, "")
	if err != nil {
		return bosman.Instance{}, err
	}
	for _, i := range all {
		if i.Kind != bosman.KindPreview {
			continue
		}
		for _, p := range s.routes.ports(i) {
			if strconv.Itoa(p) == port {
				return i, nil
			}
		}
		if hosts, _ := s.addresses.names(i, nil); strings.EqualFold(hosts[0], name) {
			return i, nil
		}
	}
	return bosman.Instance{}, bosman.NotFound("no instance that sleeps answers to %q", host).WithNext("start it on its page, or with bosman start")
}
