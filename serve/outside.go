package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/forge"
	"github.com/bosman-cd/bosman/forge/github"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/store"
)

// hookPrefix is where forges deliver: /hooks/APP.
const hookPrefix = "/hooks/"

// forges ties apps to their forges: deliveries in, statuses out.
type forges struct {
	store *store.Store
	helm  *helm.Helm
	log   func(msg string, args ...any)

	mu       sync.Mutex
	outboxes map[string]*forge.Outbox
	wake     chan struct{}
}

func newForges(s *store.Store, h *helm.Helm, log func(string, ...any)) *forges {
	return &forges{store: s, helm: h, log: log, outboxes: map[string]*forge.Outbox{}, wake: make(chan struct{}, 1)}
}

func (f *forges) host(ctx context.Context, app string) (forge.Host, error) {
	o, err := f.helm.Origin(ctx, app)
	if err != nil {
		return nil, err
	}
	return github.New(github.Config{Secrets: []string{o.Hook}, Token: o.Token, BaseURL: o.BaseURL, Repo: o.Repo})
}

// ServeHTTP takes the deliveries of an app's forge.
func (f *forges) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	app := strings.Trim(strings.TrimPrefix(r.URL.Path, hookPrefix), "/")
	host, err := f.host(r.Context(), app)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	(&forge.Webhook{Host: host, Inbox: inbox{f.store, app}, Wake: f.poke}).ServeHTTP(w, r)
}

func (f *forges) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// inbox keeps the deliveries of one app.
type inbox struct {
	store *store.Store
	app   string
}

// Put keeps a delivery; fresh is false if it is known.
func (i inbox) Put(ctx context.Context, raw forge.Raw) (bool, error) {
	return i.store.PutDelivery(ctx, store.Delivery{ID: i.app + " " + raw.ID, Digest: raw.Digest, Source: i.app, Event: raw.Event, Data: raw.Body, At: time.Now().UTC()})
}

// run works on deliveries and sends statuses until ctx ends.
func (f *forges) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	retry := time.NewTicker(30 * time.Second)
	defer retry.Stop()
	for {
		changed := f.store.Wake()
		f.work(ctx)
		if err := f.outbox(ctx, &wg); err != nil && ctx.Err() == nil {
			f.log("statuses for forges cannot be sent", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		case <-retry.C:
		case <-changed:
		}
	}
}

// work acts on the deliveries that were not handled yet, in order; one that
// fails is tried again later.
func (f *forges) work(ctx context.Context) {
	open, err := f.store.OpenDeliveries(ctx)
	if err != nil {
		if ctx.Err() == nil {
			f.log("deliveries cannot be read", "err", err)
		}
		return
	}
	failed := map[string]bool{}
	for _, d := range open {
		if failed[d.Source] {
			continue
		}
		if err := f.deliver(ctx, d); err != nil {
			failed[d.Source] = true
			if ctx.Err() == nil {
				f.log("a delivery could not be acted on; it is tried again", "app", d.Source, "delivery", d.ID, "err", err)
			}
		}
	}
}

func (f *forges) deliver(ctx context.Context, d store.Delivery) error {
	host, err := f.host(ctx, d.Source)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return f.store.DeliveryHandled(ctx, d.ID, time.Now())
	}
	if err != nil {
		return err
	}
	told, ok, err := host.Parse(forge.Raw{ID: d.ID, Digest: d.Digest, Event: d.Event, Body: d.Data})
	if err != nil && bosman.KindOf(err) != bosman.KindInvalid {
		return err
	}
	if ok && err == nil {
		if err := f.helm.Delivered(ctx, d.Source, told); err != nil {
			return err
		}
	}
	return f.store.DeliveryHandled(ctx, d.ID, time.Now())
}

// outbox starts the sender of each connected app once and wakes all.
func (f *forges) outbox(ctx context.Context, wg *sync.WaitGroup) error {
	apps, err := f.store.Apps(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, app := range apps {
		if app.Origin == "" {
			continue
		}
		o := f.outboxes[app.Name]
		if o == nil {
			host, err := f.host(ctx, app.Name)
			if err != nil {
				return err
			}
			o = forge.NewOutbox(host, owed{f.store, app.Name}, nil)
			f.outboxes[app.Name] = o
			wg.Go(func() { o.Run(ctx) })
		}
		o.Wake()
	}
	return nil
}

// owed keeps the statuses an app's forge is to hear.
type owed struct {
	store *store.Store
	app   string
}

// Put keeps a status; it replaces one of the same commit.
func (o owed) Put(ctx context.Context, s forge.Status) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return o.store.Owe(ctx, store.Owed{Kind: helm.StatusKind(o.app), CoalesceKey: helm.StatusKey(s), Data: data, At: time.Now().UTC()})
}

// Due gives what is to be sent now.
func (o owed) Due(ctx context.Context, now time.Time, limit int) (due []forge.Item, next time.Time, err error) {
	all, err := o.store.Due(ctx, helm.StatusKind(o.app), now, limit)
	if err != nil {
		return nil, next, err
	}
	for _, row := range all {
		it := forge.Item{Version: row.At.UnixMicro(), Tries: row.Tries, Next: row.NextAt}
		if err := helm.ReadOwed(row.Data, &it); err != nil {
			return nil, next, err
		}
		due = append(due, it)
	}
	next, err = o.store.NextDue(ctx, helm.StatusKind(o.app), now)
	return due, next, err
}

func (o owed) row(it forge.Item) store.Owed {
	return store.Owed{Kind: helm.StatusKind(o.app), CoalesceKey: helm.OwedKey(it), At: time.UnixMicro(it.Version), Tries: it.Tries}
}

// Done takes out what was sent.
func (o owed) Done(ctx context.Context, it forge.Item) error { return o.store.Paid(ctx, o.row(it)) }

// Retry notes a failed attempt.
func (o owed) Retry(ctx context.Context, it forge.Item) error {
	return o.store.Postpone(ctx, o.row(it), it.Next, "")
}
