package edge

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bosman-cd/bosman/edge/control"
)

const (
	keptTargets = 5   // earlier upstreams whose numbers are kept
	ringSeconds = 900 // 15 minutes
)

// entry is one instance (or the UI) at the edge. The lock that a request takes
// to claim its target is the one a switch takes, so a switch drops nothing.
type entry struct {
	key string
	ui  bool

	mu      sync.RWMutex
	route   control.Route
	current *target
	past    []*target // newest first
	hold    *hold
	changed chan struct{} // closed at every switch, hold and unhold
	gone    bool
	static  []string // prefixes, longest first
	private []string

	waiting atomic.Int64
	ring    ring
}

// hold keeps requests waiting. It ends by Unhold or at until; only Unhold or
// a later hold forgets it, so that a lapse is reported.
type hold struct {
	control.Hold
	waited, refused atomic.Int64
}

func (h *hold) active(now time.Time) bool { return h != nil && now.Before(h.Until) }

func newEntry(key string) *entry { return &entry{key: key, changed: make(chan struct{})} }

// set puts the route into effect.
func (n *entry) set(r control.Route, answerWait time.Duration, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.route, n.gone = r, false
	n.static, n.private = longestFirst(r.Static), longestFirst(r.Private)
	switch {
	case n.current.same(r):
		n.current.mu.Lock()
		n.current.operation = r.Operation
		n.current.mu.Unlock()
		return
	case n.current != nil:
		n.retire(now)
	}
	if r.Upstream != "" {
		n.current = newTarget(r, answerWait, now)
	}
	n.wake()
}

// retire moves the current target to the past; the lock is held.
func (n *entry) retire(now time.Time) {
	n.current.retire(now)
	n.past = slices.Insert(n.past, 0, n.current)
	for i := len(n.past) - 1; i >= keptTargets; i-- {
		if n.past[i].inFlight() == 0 {
			n.past = slices.Delete(n.past, i, i+1)
		}
	}
	n.current = nil
}

func (n *entry) remove(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.current != nil {
		n.retire(now)
	}
	n.gone, n.hold = true, nil
	n.wake()
}

func (n *entry) wake() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// setHold puts a hold into effect; a nil one ends it.
func (n *entry) setHold(h *control.Hold) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case h == nil && n.hold == nil:
		return
	case h == nil:
		n.hold = nil
	case n.hold != nil && n.hold.Operation == h.Operation:
		if n.hold.Hold == *h {
			return
		}
		n.hold.Hold = *h
	default:
		n.hold = &hold{Hold: *h}
	}
	n.wake()
}

// snapshot is what a request needs to know of its entry.
type snapshot struct {
	route           control.Route // not to be changed
	static, private []string
	current         *target
	hold            *hold        // for its counters only
	limits          control.Hold // of the hold
	held            bool
	gone            bool
	changed         <-chan struct{}
}

// claim claims the current target for f, if there is one and nothing holds it.
func (n *entry) claim(f *flight, now time.Time) snapshot {
	n.mu.RLock()
	defer n.mu.RUnlock()
	s := n.snap(now)
	if s.current != nil && !s.held {
		s.current.claim(f)
	}
	return s
}

// look is the entry as it is now.
func (n *entry) look() snapshot {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.snap(time.Now())
}

func (n *entry) snap(now time.Time) snapshot {
	s := snapshot{
		route: n.route, static: n.static, private: n.private, current: n.current,
		hold: n.hold, held: n.hold.active(now), gone: n.gone, changed: n.changed,
	}
	if n.hold != nil {
		s.limits = n.hold.Hold
	}
	return s
}

// move takes f to the current target if that is another one by now.
func (n *entry) move(f *flight) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.current == nil || n.current == f.target {
		return false
	}
	old := f.target
	n.current.claim(f)
	old.leave(f)
	return true
}

// targets gives the current target, if any, and the earlier ones.
func (n *entry) targets() (current *target, past []*target) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.current, slices.Clone(n.past)
}

func (n *entry) inFlight() int {
	current, past := n.targets()
	var sum int
	for _, t := range append(past, current) {
		if t != nil {
			sum += t.inFlight()
		}
	}
	return sum
}

func (n *entry) stats() control.InstanceStats {
	current, past := n.targets()
	route := n.look().route
	s := control.InstanceStats{App: route.App, Instance: route.Instance, Waiting: int(n.waiting.Load()), Seconds: n.ring.list()}
	if current != nil {
		s.Releases = append(s.Releases, current.stats(true))
	}
	for _, t := range past[:min(len(past), keptTargets)] {
		s.Releases = append(s.Releases, t.stats(false))
	}
	return s
}

// answered counts an answer of t.
func (n *entry) answered(t *target, status int, took time.Duration) {
	class := status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	t.count.status[class].Add(1)
	i, _ := slices.BinarySearch(control.LatencyBounds, took)
	t.count.latency[i].Add(1)
	n.ring.add(t.release, class == 5, took)
}

// failed counts a request that t did not answer.
func (n *entry) failed(t *target, took time.Duration) {
	t.count.failures.Add(1)
	n.ring.add(t.release, true, took)
}

func longestFirst[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
	return keys
}

// ring counts the last 15 minutes by second.
type ring struct {
	mu    sync.Mutex
	slots []control.Second // by At modulo ringSeconds; made with the first request
}

func (r *ring) add(release int, isError bool, took time.Duration) {
	now := time.Now().Unix()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots == nil {
		r.slots = make([]control.Second, ringSeconds)
	}
	s := &r.slots[now%ringSeconds]
	if s.At != now {
		*s = control.Second{At: now}
	}
	s.Release = release
	s.Requests++
	s.Millis += took.Milliseconds()
	if isError {
		s.Errors++
	}
}

func (r *ring) list() []control.Second {
	oldest := time.Now().Unix() - ringSeconds
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []control.Second
	for _, s := range r.slots {
		if s.At > oldest {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b control.Second) int { return cmp.Compare(a.At, b.At) })
	return out
}
