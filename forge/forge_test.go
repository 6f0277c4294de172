package forge_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/forge"
	"github.com/bosman-cd/bosman/forge/forgetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	m := &forgetest.Memory{}
	forgetest.Inbox(t, m.Inbox())
	forgetest.Outbox(t, m)
}

// host is a forge.Host that only takes statuses.
type host struct {
	forge.Host
	set func(ctx context.Context, s forge.Status) error

	mu   sync.Mutex
	sent []string
}

func (h *host) SetStatus(ctx context.Context, s forge.Status) error {
	if h.set != nil {
		if err := h.set(ctx, s); err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = append(h.sent, fmt.Sprint(s.Commit, " ", s.State))
	return nil
}

func (h *host) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.sent, ", ")
}

func status(commit string, s forge.State) forge.Status {
	return forge.Status{Repo: "acme/rms", Commit: commit, State: s}
}

// run starts an Outbox in a bubble and ends it with the test.
func run(t *testing.T, h *host, store forge.OutboxStore) (*forge.Outbox, func()) {
	o := forge.NewOutbox(h, store, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { o.Run(ctx) })
	return o, func() { cancel(); wg.Wait() }
}

func send(t *testing.T, o *forge.Outbox, list ...forge.Status) {
	t.Helper()
	for _, s := range list {
		if err := o.Send(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

func want(t *testing.T, h *host, store *forgetest.Memory, sent string) {
	t.Helper()
	if got := h.all(); got != sent || store.Waiting() != 0 {
		t.Fatalf("sent %q, %d wait; want %q", got, store.Waiting(), sent)
	}
}

func TestSendsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, store := &host{}, &forgetest.Memory{}
		o, stop := run(t, h, store)
		defer stop()
		started := time.Now()
		for i := range 60 { // more than a batch
			send(t, o, status(fmt.Sprint(i), forge.Success))
		}
		synctest.Wait()
		if n := len(strings.Split(h.all(), ", ")); n != 60 || time.Since(started) != 0 {
			t.Fatalf("%d sent after %v", n, time.Since(started))
		}
	})
}

// Defect B: the final state arrives, however long the forge is away, and
// whatever it replaced.
func TestFinalStateArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(26 * time.Hour)
		var tries int
		h, store := &host{}, &forgetest.Memory{}
		h.set = func(context.Context, forge.Status) error {
			if tries++; time.Now().Before(back) {
				return bosman.Unavailable("away")
			}
			return nil
		}
		o, stop := run(t, h, store)
		send(t, o, status("1", forge.Pending))
		time.Sleep(time.Hour)
		send(t, o, status("1", forge.Failure), status("2", forge.Success))
		time.Sleep(time.Hour)
		stop() // Bosman is restarted
		_, stop = run(t, h, store)
		defer stop()
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if got := h.all(); got != "1 failure, 2 success" && got != "2 success, 1 failure" {
			t.Fatalf("sent %q", got)
		}
		want(t, h, store, h.all())
		if tries > 400 {
			t.Fatalf("%d tries in 26 hours", tries)
		}
	})
}

func TestReplacedWhileBeingSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, store := &host{}, &forgetest.Memory{}
		h.set = func(_ context.Context, s forge.Status) error {
			if s.State == forge.Pending {
				time.Sleep(3 * time.Second)
			}
			return nil
		}
		o, stop := run(t, h, store)
		defer stop()
		send(t, o, status("1", forge.Pending))
		time.Sleep(time.Second)
		send(t, o, status("1", forge.Broken), status("1", forge.Success))
		time.Sleep(time.Minute)
		synctest.Wait()
		want(t, h, store, "1 pending, 1 success")
	})
}

func TestRefusedAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, store := &host{}, &forgetest.Memory{}
		reset := time.Now().Add(30 * time.Minute)
		answers := time.Now().Add(time.Minute)
		refused := 0
		h.set = func(ctx context.Context, s forge.Status) error {
			switch {
			case s.Commit == "gone":
				refused++
				return bosman.Invalid("no such commit")
			case s.Commit == "limited" && time.Now().Before(reset):
				return &forge.Later{At: reset, Err: bosman.Unavailable("rate limit")}
			case s.Commit == "hanging" && time.Now().Before(answers):
				<-ctx.Done() // as an HTTP client does
				return bosman.Unavailable("no answer").Because(ctx.Err())
			}
			return nil
		}
		o, stop := run(t, h, store)
		defer stop()
		send(t, o, status("hanging", forge.Success), status("gone", forge.Success), status("limited", forge.Success), status("fine", forge.Success))
		time.Sleep(29 * time.Minute)
		if got := h.all(); got != "hanging success, fine success" {
			t.Fatalf("sent %q", got)
		}
		time.Sleep(12 * time.Minute)
		synctest.Wait()
		want(t, h, store, "hanging success, fine success, limited success")
		if refused != 5 {
			t.Fatalf("a commit that is not there was tried %d times", refused)
		}
	})
}

func TestSendNeedsAll(t *testing.T) {
	o := forge.NewOutbox(&host{}, &forgetest.Memory{}, nil)
	for _, s := range []forge.Status{{}, {Repo: "a/b", Commit: "1"}, {Repo: "a/b", State: forge.Success}} {
		if bosman.KindOf(o.Send(t.Context(), s)) != bosman.KindInternal {
			t.Errorf("%+v was taken", s)
		}
	}
}

// signer is a forge.Host that takes every delivery.
type signer struct{ forge.Host }

func (signer) Receive(http.Header, []byte) (forge.Raw, error) {
	return forge.Raw{ID: "1", Digest: "a", Event: "push"}, nil
}

func TestNotKeptIsNotAnswered200(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &forgetest.Memory{}
		for range 100 {
			store.Fail(errors.New("the disk is full"))
		}
		hook := &forge.Webhook{Host: signer{}, Inbox: store.Inbox()}
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/", strings.NewReader("{}"))
		gone, hangUp := context.WithCancel(t.Context())
		hangUp() // who hangs up still has their delivery kept
		hook.ServeHTTP(w, r.WithContext(gone))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || len(store.Raws()) != 0 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if waited := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); waited > 10*time.Second {
			t.Fatalf("forges wait 10 s, not %v", waited)
		}
	})
}
