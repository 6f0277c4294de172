package problem

import (
	"math"
	"sync"
	"time"
)

// buckets are token buckets, one for each key.
type buckets struct {
	mu    sync.Mutex
	rate  float64
	burst float64
	keys  map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newBuckets(rate float64, burst int) *buckets {
	return &buckets{rate: rate, burst: float64(burst), keys: map[string]*bucket{}}
}

// take takes one token of a key. Without one it says after how many seconds
// to come back: long enough to have a tenth of the burst again.
func (b *buckets) take(key string, now time.Time) (ok bool, wait int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.keys[key]
	if k == nil {
		if len(b.keys) > 10_000 { // only known keys come here, so this is many instances
			b.sweep(now)
		}
		k = &bucket{tokens: b.burst, at: now}
		b.keys[key] = k
	}
	if d := now.Sub(k.at).Seconds(); d > 0 {
		k.tokens = min(b.burst, k.tokens+d*b.rate)
		k.at = now
	}
	if k.tokens >= 1 {
		k.tokens--
		return true, 0
	}
	return false, int(max(1, math.Ceil(max(1, b.burst/10)/b.rate)))
}

func (b *buckets) sweep(now time.Time) {
	for name, k := range b.keys {
		if now.Sub(k.at).Seconds()*b.rate >= b.burst {
			delete(b.keys, name)
		}
	}
}
