package ground

import (
	"context"
	"sync"
	"time"

	bosman "github.com/bosman-cd/bosman"
)

// Names says which names are being worked on. The zero value is ready.
type Names struct {
	mu   sync.Mutex
	busy map[string]bool
}

// Claim reserves names for one caller at a time: all of them, or none with
// KindBusy.
func (n *Names) Claim(ctx context.Context, names ...string) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range names {
		if n.busy[name] {
			return nil, bosman.Busy("the database %s is being worked on", name).WithNext("wait until that has ended")
		}
	}
	if n.busy == nil {
		n.busy = map[string]bool{}
	}
	for _, name := range names {
		n.busy[name] = true
	}
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, name := range names {
			delete(n.busy, name)
		}
	}, nil
}

// Wait is Claim that waits for whoever holds the name.
func (n *Names) Wait(ctx context.Context, name string) (release func(), err error) {
	for {
		release, err = n.Claim(ctx, name)
		if bosman.KindOf(err) != bosman.KindBusy {
			return release, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
