package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/apitest"
	"github.com/bosman-cd/bosman/api/client"
	"github.com/bosman-cd/bosman/api/wire"
	"github.com/bosman-cd/bosman/internal/need"
	"github.com/bosman-cd/bosman/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socket serves the API at a unix socket, as ola, until stop is called.
func socket(t *testing.T, rig *apitest.Rig, path string) (stop func()) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer ola")
		rig.Handler.ServeHTTP(w, r)
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	return func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-done
	}
}

func connect(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c := client.New(cfg)
	t.Cleanup(c.Close)
	return c
}

func TestErrorsArriveWhole(t *testing.T) {
	rig, ctx := apitest.New(t), t.Context()
	c := connect(t, client.Config{URL: rig.Server.URL + "/", Token: "ola"})
	_, err := c.AddApp(ctx, "rms")
	var e *bosman.Error
	if !errors.As(err, &e) || e.Kind != bosman.KindConflict || e.Kept == "" || e.Next == "" || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("a second rms: %#v", err)
	}
	_, err = connect(t, client.Config{URL: rig.Server.URL, Token: ""}).Apps(ctx)
	if bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("without a token: %v", err)
	}
	_, err = connect(t, client.Config{Socket: filepath.Join(t.TempDir(), "none")}).Apps(ctx)
	if bosman.KindOf(err) != bosman.KindUnavailable || !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("without a server: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Apps(ended); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestOddReferences(t *testing.T) {
	rig, ctx := apitest.New(t), t.Context()
	c := connect(t, client.Config{URL: rig.Server.URL, Token: "ola"})
	for n, ref := range []string{"feature/a b", "https://forge.example/team/rms/pull/7?x=1#y", "zażółć%2F"} {
		change := bosman.Change{App: "rms", Number: n + 1, Branch: ref, State: bosman.ChangeOpen, Trust: bosman.TrustTeam}
		if strings.Contains(ref, "://") {
			change.Branch, change.URL = "other", ref
		}
		if err := rig.Helm.Store.SaveChange(ctx, change); err != nil {
			t.Fatal(err)
		}
		v, err := c.Change(ctx, "rms", ref)
		if err != nil || v.Number != n+1 {
			t.Errorf("%q: %v, %v", ref, v.Number, err)
		}
	}
}

// end ends a build and tells of it.
func end(t *testing.T, st *store.Store, b bosman.Build) {
	t.Helper()
	if err := st.InTx(t.Context(), func(s *store.Store) error {
		return errors.Join(s.SaveBuild(t.Context(), b), s.AppendEvent(t.Context(), bosman.Event{App: b.App, Kind: bosman.EventBuildEnded, Subject: bosman.Ref('b', b.Number)}))
	}); err != nil {
		t.Error(err)
	}
}

func TestWaitingSurvivesARestart(t *testing.T) {
	need.Slow(t, "the server is away for a second")
	rig, path := apitest.New(t), filepath.Join(t.TempDir(), "s")
	b := bosman.Build{App: "rms", Number: 1, State: bosman.BuildRunning}
	end(t, rig.Helm.Store, b)
	stop := socket(t, rig, path)
	c := connect(t, client.Config{Socket: path})
	looked := make(chan bosman.BuildState, 10)
	type result struct {
		b   bosman.Build
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := c.WaitBuild(t.Context(), "rms", 1, func(b bosman.Build) { looked <- b.State })
		done <- result{b, err}
	}()
	<-looked
	stop()
	b.State = bosman.BuildGreen
	end(t, rig.Helm.Store, b) // nobody hears it
	stop = socket(t, rig, path)
	defer stop()
	select {
	case r := <-done:
		if r.err != nil || r.b.State != bosman.BuildGreen {
			t.Errorf("waited: %+v, %v", r.b, r.err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still waiting")
	}
}

func TestWaitingForNothing(t *testing.T) {
	rig := apitest.New(t)
	c := connect(t, client.Config{URL: rig.Server.URL, Token: "ola"})
	if _, err := c.WaitBuild(t.Context(), "rms", 9, func(bosman.Build) {}); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("a build that is not: %v", err)
	}
	if _, err := connect(t, client.Config{URL: rig.Server.URL, Token: "stranger"}).WaitOperation(t.Context(), "rms", 1, true, func(bosman.Operation) {}); bosman.KindOf(err) != bosman.KindForbidden {
		t.Errorf("a stranger: %v", err)
	}
}

func TestAFollowedLogSurvivesARestart(t *testing.T) {
	need.Slow(t, "the server is away for a second")
	rig, path := apitest.New(t), filepath.Join(t.TempDir(), "s")
	rig.Log(rig.Instance("rms", "staging"), "one")
	stop := socket(t, rig, path)
	c := connect(t, client.Config{Socket: path})
	lines, enough := make(chan string, 10), errors.New("enough")
	done := make(chan error, 1)
	go func() {
		n := 0
		done <- c.InstanceLog(t.Context(), "rms", "staging", client.LogOptions{Follow: true}, func(l wire.LogLine) error {
			lines <- l.Text
			if n++; n == 3 {
				return enough
			}
			return nil
		})
	}()
	if got := <-lines; got != "one" {
		t.Errorf("first: %q", got)
	}
	stop()
	rig.Log(rig.Instance("rms", "staging"), "two", "three")
	stop = socket(t, rig, path)
	defer stop()
	select {
	case err := <-done:
		if !errors.Is(err, enough) {
			t.Fatalf("the log ended: %v", err)
		}
		if got := <-lines + " " + <-lines; got != "two three" {
			t.Errorf("then: %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no line came after the restart")
	}
}

func TestRunCarriesMuchBothWays(t *testing.T) {
	rig := apitest.New(t)
	c := connect(t, client.Config{URL: rig.Server.URL, Token: "ola"})
	in := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // 3.2 MB, more than a body may hold
	var out, errout bytes.Buffer
	exit, err := c.Run(t.Context(), "rms", "staging", "cat", "", bytes.NewReader(in), &out, &errout)
	if err != nil || exit != 0 || !bytes.Equal(out.Bytes(), in) || errout.String() != "ran cat\n" {
		t.Errorf("exit %d, %v, %d bytes back, %q", exit, err, out.Len(), errout.String())
	}
	exit, err = c.Run(t.Context(), "rms", "staging", "false", "", nil, io.Discard, io.Discard)
	if err != nil || exit != 3 {
		t.Errorf("false: %d, %v", exit, err)
	}
	_, err = c.Run(t.Context(), "rms", "staging", "out of reach", "", nil, io.Discard, io.Discard)
	if e := bosman.AsError(err); e.Kind != bosman.KindUnavailable || e.Kept != "nothing ran" || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("out of reach: %v", err)
	}
	_, err = c.Run(t.Context(), "rms", "staging", "", "none", nil, io.Discard, io.Discard)
	if bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("a task that is not: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.Run(ctx, "rms", "staging", "hang", "", nil, io.Discard, io.Discard); err == nil {
		t.Error("a command that hangs ended well")
	}
}
