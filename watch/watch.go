// Package watch says whether a new release is well: it compares the share of
// failed requests with the one under the release before, and looks at health
// answers and at problems that nobody met before. The decision is a pure
// function of samples; Loop asks a Sampler for them. It must not know where
// samples come from, nor what follows from a verdict.
package watch

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/bosman-cd/bosman"
)

// Traffic is a number of answered requests and how many of them were 5xx.
type Traffic struct {
	Requests, Errors int64
}

// Rate is the share of errors, 0 to 1; 0 without requests.
func (t Traffic) Rate() float64 {
	if t.Requests <= 0 {
		return 0
	}
	return float64(t.Errors) / float64(t.Requests)
}

// Health is what the health check said in one sample.
type Health string

// The answers of a health check.
const (
	HealthUnknown Health = "" // there is none, or nobody could ask
	HealthGood    Health = "good"
	HealthFailing Health = "failing"
)

// Problem is a group of error reports that was unseen, on every instance,
// before the release. Errors of browsers without a source map and reports
// that name another release do not belong here.
type Problem struct {
	Title  string
	Events int // unhandled or of level error at least
	Users  int // or requests, where users are not known
}

// Sample is what is known at one moment. Traffic counts from the switch.
type Sample struct {
	At       time.Time
	Traffic  Traffic
	Health   Health
	Answer   string // of the health check: "503 no database", "connection refused"
	Exited   string // "exit status 3" when the processes are not kept up any more
	Problems []Problem
}

// Rules are the bounds of the decision; Default fills the zero ones.
type Rules struct {
	MinErrors      int64   // fewer failed requests never count: 5
	MinRate        float64 // nor does a share below: 0.02
	Factor         float64 // it must exceed the share before so many times: 5
	MinBaseline    int64   // requests that a comparison needs: 50
	BlindRate      float64 // the share that counts without a comparison: 0.25
	HealthFailures int     // in a row: 3
	MinEvents      int     // of one new problem: 5
	MinUsers       int     // who met it: 2
}

// Default gives the rules with the usual values where r is silent.
func (r Rules) Default() Rules {
	set := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	setF := func(v *float64, d float64) {
		if *v <= 0 {
			*v = d
		}
	}
	setI := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&r.MinErrors, 5)
	setF(&r.MinRate, 0.02)
	setF(&r.Factor, 5)
	set(&r.MinBaseline, 50)
	setF(&r.BlindRate, 0.25)
	setI(&r.HealthFailures, 3)
	setI(&r.MinEvents, 5)
	setI(&r.MinUsers, 2)
	return r
}

// sure is how many standard deviations two shares must lie apart: a watch
// looks hundreds of times, so that the usual two would meet chance.
const sure = 3

// Judge gives the verdict after the last of the samples, which are in order of
// time. Without samples all is well.
func Judge(before Traffic, samples []Sample, r Rules) bosman.WatchVerdict {
	r = r.Default()
	v := bosman.WatchVerdict{Well: true, Reason: "nothing could be measured"}
	if len(samples) == 0 {
		return v
	}
	last := samples[len(samples)-1]
	v.Requests, v.Errors = last.Traffic.Requests, last.Traffic.Errors
	for _, p := range last.Problems {
		v.Events += p.Events
	}
	v.Reason = compared(before, last.Traffic)
	bad := func(format string, args ...any) bosman.WatchVerdict {
		v.Well, v.Reason = false, fmt.Sprintf(format, args...)
		return v
	}
	if last.Exited != "" {
		return bad("its processes ended: %s", last.Exited)
	}
	if n := failingAtEnd(samples); n >= r.HealthFailures {
		return bad("the health check failed %d times in a row: %s", n, last.Answer)
	}
	if failing(before, last.Traffic, r) {
		return bad("%s", v.Reason)
	}
	for _, p := range last.Problems {
		if p.Events >= r.MinEvents && p.Users >= r.MinUsers {
			return bad("a new problem: %s (%d times, %d users)", p.Title, p.Events, p.Users)
		}
	}
	return v
}

func failingAtEnd(samples []Sample) int {
	n := 0
	for i := len(samples) - 1; i >= 0 && samples[i].Health == HealthFailing; i-- {
		n++
	}
	return n
}

// failing says whether requests fail so much more often than before that it is
// not chance.
func failing(before, now Traffic, r Rules) bool {
	if now.Errors < r.MinErrors || now.Rate() <= r.MinRate {
		return false
	}
	low, _ := bounds(now)
	if before.Requests < r.MinBaseline {
		return now.Rate() > r.BlindRate && low > before.Rate()
	}
	_, high := bounds(before)
	return now.Rate() > r.Factor*before.Rate() && low > high
}

// bounds is Wilson's interval: where the true share lies, almost surely. It
// holds for few requests and for shares near 0 and 1 too.
func bounds(t Traffic) (low, high float64) {
	if t.Requests <= 0 {
		return 0, 1
	}
	n, p, z := float64(t.Requests), math.Min(t.Rate(), 1), float64(sure)
	middle := p + z*z/(2*n)
	spread := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	scale := 1 + z*z/n
	return (middle - spread) / scale, (middle + spread) / scale
}

func compared(before, now Traffic) string {
	s := fmt.Sprintf("%d of %d requests answered 5xx", now.Errors, now.Requests)
	if before.Requests > 0 {
		s += fmt.Sprintf(" (before: %d of %d)", before.Errors, before.Requests)
	}
	return s
}

// Sampler measures.
type Sampler interface {
	// Sample gives what is known now. An error means that nobody could be
	// asked, which is never held against the release.
	Sample(ctx context.Context) (Sample, error)
}

// Options say how long and against what a release is watched.
type Options struct {
	Until    time.Time
	Interval time.Duration // between samples; 1 s
	Before   Traffic       // under the release before, over a like time
	Rules    Rules
	Log      *slog.Logger
}

// Loop samples until Until, or until the release does badly, and gives the
// verdict. It returns the cause when ctx ends. Samples are taken in the
// caller's goroutine; one that takes longer than an interval is given up as
// unknown after four of them.
func Loop(ctx context.Context, o Options, s Sampler) (bosman.WatchVerdict, error) {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	keep := o.Rules.Default().HealthFailures
	var recent []Sample
	unknown := 0
	end := time.NewTimer(time.Until(o.Until))
	defer end.Stop()
	tick := time.NewTicker(o.Interval)
	defer tick.Stop()
	for over := false; ; {
		now, err := sample(ctx, s, 4*o.Interval)
		switch {
		case ctx.Err() != nil:
			return bosman.WatchVerdict{}, context.Cause(ctx)
		case err != nil:
			if unknown++; unknown == 1 {
				o.Log.Warn("a release cannot be watched just now", "error", err)
			}
		default:
			unknown = 0
			if recent = append(recent, now); len(recent) > keep {
				recent = recent[1:]
			}
			if v := Judge(o.Before, recent, o.Rules); !v.Well {
				return v, nil
			}
		}
		if over || !time.Now().Before(o.Until) {
			return Judge(o.Before, recent, o.Rules), nil
		}
		select {
		case <-tick.C:
		case <-end.C:
			over = true // one last look
		case <-ctx.Done():
			return bosman.WatchVerdict{}, context.Cause(ctx)
		}
	}
}

func sample(ctx context.Context, s Sampler, limit time.Duration) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.Sample(ctx)
}
