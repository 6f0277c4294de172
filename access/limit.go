package access

import (
	"sync"
	"time"
)

// Limit counts failed log-ins for each address and each name. The zero
// Limit is not usable; see NewLimit.
type Limit struct {
	mu    sync.Mutex
	seen  map[string][]time.Time
	now   func() time.Time
	busy  chan struct{}
	addrs int
	names int
	per   time.Duration
}

// NewLimit allows 10 failures for a name from one address, 60 for a name from
// all, and 30 for an address, each in 15 minutes. Two passwords are checked
// at a time, for each check takes 19 MB.
func NewLimit(now func() time.Time) *Limit {
	return &Limit{seen: map[string][]time.Time{}, now: now, busy: make(chan struct{}, 2), addrs: 30, names: 60, per: 15 * time.Minute}
}

const perPair = 10

// Try begins an attempt. If wait is above zero it may not be made; otherwise
// done must be called with its outcome.
func (l *Limit) Try(addr, name string) (done func(good bool), wait time.Duration) {
	if len(name) > 64 {
		name = name[:64]
	}
	limits := map[string]int{"a " + addr: l.addrs, "n " + name: l.names, "p " + addr + " " + name: perPair}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.sweep(now)
	for key, most := range limits {
		if at := l.seen[key]; len(at) >= most {
			wait = max(wait, at[len(at)-most].Add(l.per).Sub(now))
		}
	}
	if wait > 0 {
		return nil, wait
	}
	for key := range limits { // counted at once, so that many at a time do not slip through
		l.seen[key] = append(l.seen[key], now)
	}
	return func(good bool) {
		if !good {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for key := range limits {
			for i, at := range l.seen[key] {
				if at.Equal(now) {
					l.seen[key] = append(l.seen[key][:i:i], l.seen[key][i+1:]...)
					break
				}
			}
		}
	}, 0
}

func (l *Limit) sweep(now time.Time) {
	for key, at := range l.seen {
		for len(at) > 0 && now.Sub(at[0]) >= l.per {
			at = at[1:]
		}
		if len(at) == 0 {
			delete(l.seen, key)
			continue
		}
		l.seen[key] = at
	}
}

// Slot waits for one of the places in which passwords are checked.
func (l *Limit) Slot() (free func()) {
	l.busy <- struct{}{}
	return func() { <-l.busy }
}
