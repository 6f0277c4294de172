package database

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
)

// LookEvery is how often locks are looked for while a recording goes on;
// shorter ones may not be seen.
const LookEvery = 5 * time.Millisecond

// How much a recording keeps.
const (
	MaxStatements    = 1000
	MaxStatementText = 100 << 10 // of one
)

// While runs fn and has look look every LookEvery until fn is done. A look is
// short, and one that was cut would lose its connection: the end of ctx ends
// none. watched is why look failed, which ends the looking.
func While(ctx context.Context, look, fn func(context.Context) error) (watched, done error) {
	watching, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- looking(watching, look) }() // waited for below
	done = fn(ctx)
	stop()
	return <-ended, done
}

func looking(ctx context.Context, look func(context.Context) error) error {
	t := time.NewTicker(LookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		err := look(limited)
		cancel()
		if err != nil {
			return err
		}
	}
}

// SeenLock is a lock at one look.
type SeenLock struct {
	Table, Mode string
	Rank        int    // the strongest of a table counts
	Stops       string // as in bosman.HeldLock
}

// Held adds up how long locks were held from looks at them.
type Held struct {
	all  map[string]*bosman.HeldLock
	rank map[string]int
	last time.Time
	now  []string // locked at the last look
}

// Look adds what is seen at a moment.
func (h *Held) Look(at time.Time, seen []SeenLock) {
	if h.all == nil {
		h.all, h.rank = map[string]*bosman.HeldLock{}, map[string]int{}
	}
	passed := at.Sub(h.last)
	locked := map[string]bool{}
	for _, s := range seen {
		l := h.all[s.Table]
		if l == nil {
			l = &bosman.HeldLock{Table: s.Table}
			h.all[s.Table] = l
		}
		if s.Rank > h.rank[s.Table] {
			h.rank[s.Table], l.Mode, l.Stops = s.Rank, s.Mode, s.Stops
		}
		if !locked[s.Table] && slices.Contains(h.now, s.Table) {
			l.For += passed
		}
		locked[s.Table] = true
	}
	h.last, h.now = at, slices.Collect(maps.Keys(locked))
}

// Locks gives what was held, longest first.
func (h *Held) Locks() []bosman.HeldLock {
	out := make([]bosman.HeldLock, 0, len(h.all))
	for _, l := range h.all {
		l.For = max(l.For, LookEvery) // it was seen
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b bosman.HeldLock) int {
		return cmp.Or(cmp.Compare(b.For, a.For), strings.Compare(a.Table, b.Table))
	})
	return out
}
