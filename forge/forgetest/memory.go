// Package forgetest holds what tests of forges share: stores in memory, the
// rules every store must obey, and a local double of GitHub. It is for tests
// only.
package forgetest

import (
	"context"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/forge"
)

// Memory is an Inbox and an OutboxStore that forget all when they go.
type Memory struct {
	mu      sync.Mutex
	raws    []forge.Raw
	items   map[[3]string]forge.Item
	order   map[[3]string]int64
	version int64
	fail    []error
}

// Fail has the next calls of Put to the Inbox fail with these errors.
func (m *Memory) Fail(errs ...error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = append(m.fail, errs...)
}

// Raws gives what the Inbox holds, in order.
func (m *Memory) Raws() []forge.Raw {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]forge.Raw(nil), m.raws...)
}

// Waiting gives the number of statuses not yet sent.
func (m *Memory) Waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.items)
}

// Inbox gives the Memory as an Inbox.
func (m *Memory) Inbox() forge.Inbox { return inbox{m} }

type inbox struct{ m *Memory }

func (b inbox) Put(_ context.Context, raw forge.Raw) (bool, error) {
	m := b.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.fail) > 0 {
		err := m.fail[0]
		m.fail = m.fail[1:]
		return false, err
	}
	for _, r := range m.raws {
		if r.ID == raw.ID || r.Digest == raw.Digest {
			return false, nil
		}
	}
	m.raws = append(m.raws, raw)
	return true, nil
}

func itemKey(s forge.Status) [3]string { return [3]string{s.Repo, s.Commit, s.Context} }

// Put implements forge.OutboxStore.
func (m *Memory) Put(_ context.Context, s forge.Status) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.items == nil {
		m.items, m.order = map[[3]string]forge.Item{}, map[[3]string]int64{}
	}
	m.version++
	if _, waits := m.items[itemKey(s)]; !waits {
		m.order[itemKey(s)] = m.version
	}
	m.items[itemKey(s)] = forge.Item{Status: s, Version: m.version}
	return nil
}

// Due implements forge.OutboxStore.
func (m *Memory) Due(_ context.Context, now time.Time, limit int) (due []forge.Item, next time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, it := range m.items {
		if !it.Next.After(now) {
			due = append(due, it)
		} else if next.IsZero() || it.Next.Before(next) {
			next = it.Next
		}
	}
	sort.Slice(due, func(i, j int) bool { return m.order[itemKey(due[i].Status)] < m.order[itemKey(due[j].Status)] })
	return due[:min(limit, len(due))], next, nil
}

// Done implements forge.OutboxStore.
func (m *Memory) Done(_ context.Context, it forge.Item) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.items[itemKey(it.Status)].Version == it.Version {
		delete(m.items, itemKey(it.Status))
	}
	return nil
}

// Retry implements forge.OutboxStore.
func (m *Memory) Retry(_ context.Context, it forge.Item) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.items[itemKey(it.Status)].Version == it.Version {
		m.items[itemKey(it.Status)] = it
	}
	return nil
}

// Inbox judges an Inbox: every store of deliveries must pass it.
func Inbox(t *testing.T, box forge.Inbox) {
	t.Helper()
	for _, tt := range []struct {
		raw   forge.Raw
		fresh bool
	}{
		{forge.Raw{ID: "1", Digest: "a", Event: "push", Body: []byte("{}")}, true},
		{forge.Raw{ID: "1", Digest: "a", Event: "push", Body: []byte("{}")}, false},
		{forge.Raw{ID: "2", Digest: "a", Event: "push", Body: []byte("{}")}, false}, // replayed under another ID
		{forge.Raw{ID: "3", Digest: "b", Event: "push", Body: []byte("{ }")}, true},
	} {
		fresh, err := box.Put(t.Context(), tt.raw)
		if err != nil || fresh != tt.fresh {
			t.Errorf("delivery %s: fresh %v, %v; want %v", tt.raw.ID, fresh, err, tt.fresh)
		}
	}
}

// Outbox judges an empty OutboxStore: every store of statuses must pass it.
func Outbox(t *testing.T, store forge.OutboxStore) {
	t.Helper()
	ctx, now := t.Context(), time.Now().Truncate(time.Millisecond)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	status := func(commit string, s forge.State) forge.Status {
		return forge.Status{Repo: "acme/rms", Commit: commit, Context: "bosman", State: s, Description: "zażółć", URL: "http://x/"}
	}
	due := func(at time.Time, want ...forge.State) ([]forge.Item, time.Time) {
		t.Helper()
		items, next, err := store.Due(ctx, at, 10)
		check(err)
		if len(items) != len(want) {
			t.Fatalf("%d are due, want %d: %+v", len(items), len(want), items)
		}
		for i, it := range items {
			if it.State != want[i] {
				t.Fatalf("due %+v, want %v", items, want)
			}
		}
		return items, next
	}
	due(now)
	check(store.Put(ctx, status("1", forge.Pending)))
	check(store.Put(ctx, status("2", forge.Failure)))
	items, next := due(now, forge.Pending, forge.Failure)
	if !next.IsZero() || items[0].Status != status("1", forge.Pending) {
		t.Fatalf("due %+v, next %v", items, next)
	}
	if one, _, err := store.Due(ctx, now, 1); err != nil || len(one) != 1 {
		t.Fatalf("with a limit of 1: %v, %v", one, err)
	}
	check(store.Put(ctx, status("1", forge.Success))) // while the first is being sent
	check(store.Done(ctx, items[0]))
	items[1].Tries, items[1].Next = 3, now.Add(time.Minute)
	check(store.Retry(ctx, items[1]))
	again, next := due(now, forge.Success)
	if !next.Equal(now.Add(time.Minute)) {
		t.Fatalf("next %v", next)
	}
	stale := items[0]
	stale.Next = now.Add(time.Hour)
	check(store.Retry(ctx, stale)) // of a version that is gone
	due(now, forge.Success)
	check(store.Done(ctx, again[0]))
	check(store.Done(ctx, again[0]))
	if items, _ = due(now.Add(time.Minute), forge.Failure); items[0].Tries != 3 {
		t.Fatalf("%+v", items[0])
	}
	check(store.Put(ctx, status("2", forge.Success))) // a new one does not wait
	if items, _ = due(now, forge.Success); items[0].Tries != 0 {
		t.Fatalf("%+v", items[0])
	}
}
