package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bosman-cd/bosman"
	"pgregory.net/rapid"
)

func TestJudge(t *testing.T) {
	health := func(hs ...Health) []Sample {
		var out []Sample
		for _, h := range hs {
			out = append(out, Sample{Health: h, Answer: "503 no database"})
		}
		return out
	}
	traffic := func(errors, requests int64) []Sample {
		return []Sample{{Traffic: Traffic{requests, errors}, Health: HealthGood}}
	}
	g, b, u := HealthGood, HealthFailing, HealthUnknown
	quiet := Traffic{480, 0}
	for name, c := range map[string]struct {
		before  Traffic
		samples []Sample
		well    bool
		reason  string
	}{
		"nothing measured":                    {quiet, nil, true, "nothing could be measured"},
		"no traffic":                          {quiet, traffic(0, 0), true, "0 of 0"},
		"one stray error":                     {quiet, traffic(1, 3), true, "1 of 3"},
		"four errors":                         {quiet, traffic(4, 4), true, "4 of 4"},
		"every request fails":                 {quiet, traffic(5, 5), false, "5 of 5 requests answered 5xx (before: 0 of 480)"},
		"half of them":                        {quiet, traffic(31, 52), false, "31 of 52 requests answered 5xx (before: 0 of 480)"},
		"one page of many":                    {Traffic{5000, 5}, traffic(60, 600), false, "60 of 600"},
		"fewer than one in fifty":             {quiet, traffic(19, 1000), true, "19 of 1000"},
		"as before":                           {Traffic{1000, 100}, traffic(100, 1000), true, ""},
		"three times as before":               {Traffic{1000, 100}, traffic(300, 1000), true, ""},
		"six times as before":                 {Traffic{1000, 100}, traffic(600, 1000), false, "600 of 1000"},
		"better than before":                  {Traffic{1000, 900}, traffic(100, 1000), true, ""},
		"nothing known of before, some fail":  {Traffic{}, traffic(10, 100), true, ""},
		"nothing known of before, all fail":   {Traffic{}, traffic(8, 8), false, "8 of 8 requests answered 5xx"},
		"little known of before, both fail":   {Traffic{10, 10}, traffic(8, 8), true, ""},
		"health fails twice":                  {quiet, health(b, b), true, ""},
		"health fails three times":            {quiet, health(g, b, b, b), false, "failed 3 times in a row: 503 no database"},
		"health fails, recovers, fails":       {quiet, health(b, b, g, b, b), true, ""},
		"nobody could ask in between":         {quiet, health(b, b, u, b), true, ""},
		"its processes ended":                 {quiet, []Sample{{Exited: "exit status 3"}}, false, "its processes ended: exit status 3"},
		"a new problem, one user":             {quiet, []Sample{{Problems: []Problem{{"KeyError", 50, 1}}}}, true, ""},
		"a new problem, a few times":          {quiet, []Sample{{Problems: []Problem{{"KeyError", 4, 3}}}}, true, ""},
		"several new problems, each once":     {quiet, []Sample{{Problems: []Problem{{"A", 1, 1}, {"B", 1, 1}, {"C", 4, 4}}}}, true, ""},
		"a new problem that meets many":       {quiet, []Sample{{Problems: []Problem{{"KeyError: 'name'", 7, 3}}}}, false, "a new problem: KeyError: 'name' (7 times, 3 users)"},
		"counters that make no sense at once": {quiet, traffic(9, 3), false, "9 of 3"},
	} {
		t.Run(name, func(t *testing.T) {
			v := Judge(c.before, c.samples, Rules{})
			if v.Well != c.well || !strings.Contains(v.Reason, c.reason) {
				t.Errorf("verdict %+v", v)
			}
			if v.Reason == "" {
				t.Error("a verdict has a reason")
			}
		})
	}
}

func TestVerdictCounts(t *testing.T) {
	v := Judge(Traffic{}, []Sample{{Traffic: Traffic{120, 2}, Problems: []Problem{{"A", 1, 1}, {"B", 2, 1}}}}, Rules{})
	if !v.Well || v.Requests != 120 || v.Errors != 2 || v.Events != 3 {
		t.Errorf("%+v", v)
	}
}

// A release whose share of errors is that of the one before is never reverted,
// however much or little traffic it has.
func TestNeverOnTheSameRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 10_000).Draw(t, "requests")
		e := rapid.Int64Range(0, n).Draw(t, "errors")
		k := rapid.Int64Range(1, 1000).Draw(t, "times the traffic")
		before, now := Traffic{n, e}, Traffic{n * k, e * k}
		if rapid.Bool().Draw(t, "less traffic") {
			before, now = now, before
		}
		if v := Judge(before, []Sample{{Traffic: now, Health: HealthGood}}, Rules{}); !v.Well {
			t.Fatalf("%+v before, %+v now: %+v", before, now, v)
		}
	})
}

// More errors among as many requests never make a verdict better.
func TestMoreErrorsAreNeverBetter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 5000).Draw(t, "requests")
		e := rapid.Int64Range(0, n).Draw(t, "errors")
		more := rapid.Int64Range(e, n).Draw(t, "more")
		bn := rapid.Int64Range(0, 5000).Draw(t, "before")
		before := Traffic{bn, rapid.Int64Range(0, bn).Draw(t, "errors before")}
		if !Judge(before, []Sample{{Traffic: Traffic{n, e}}}, Rules{}).Well && Judge(before, []Sample{{Traffic: Traffic{n, more}}}, Rules{}).Well {
			t.Fatalf("%d of %d is bad and %d is not (before %+v)", e, n, more, before)
		}
	})
}

// Few errors never make a revert: not one, not four.
func TestNeverOnFewErrors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1000).Draw(t, "requests")
		e := rapid.Int64Range(0, min(n, 4)).Draw(t, "errors")
		bn := rapid.Int64Range(0, 1000).Draw(t, "before")
		if v := Judge(Traffic{bn, 0}, []Sample{{Traffic: Traffic{n, e}}}, Rules{}); !v.Well {
			t.Fatalf("%+v", v)
		}
	})
}

// Chance must not revert either: two releases with the same true share of
// errors, looked at after every request, as often as a watch would.
func TestChanceDoesNotRevert(t *testing.T) {
	const watches = 3000
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(p float64, n int64) (t Traffic) {
		for range n {
			t.Requests++
			if r.Float64() < p {
				t.Errors++
			}
		}
		return t
	}
	wrong := 0
	for range watches {
		p := r.Float64() * r.Float64() * 0.3
		before := draw(p, int64(50+r.IntN(400)))
		now := Traffic{}
		for range 300 {
			one := draw(p, 1)
			now.Requests, now.Errors = now.Requests+1, now.Errors+one.Errors
			if !Judge(before, []Sample{{Traffic: now}}, Rules{}).Well {
				wrong++
				break
			}
		}
	}
	if wrong > watches/1000 {
		t.Errorf("%d of %d watches reverted a release as good as the one before", wrong, watches)
	}
}

// And a release that fails one request in five is found within fifty.
func TestFindsABadRelease(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	late := 0
	for range 500 {
		now := Traffic{}
		for now.Requests < 60 && Judge(Traffic{480, 1}, []Sample{{Traffic: now}}, Rules{}).Well {
			now.Requests++
			if r.Float64() < 0.2 {
				now.Errors++
			}
		}
		if now.Requests >= 60 {
			late++
		}
	}
	if late > 25 {
		t.Errorf("%d of 500 bad releases were not found within 60 requests", late)
	}
}

// script plays samples, one a call; the last one stays.
type script struct {
	samples []Sample
	errs    map[int]error
	hang    map[int]bool
	calls   int
}

func (s *script) Sample(ctx context.Context) (Sample, error) {
	n := s.calls
	s.calls++
	if s.hang[n] {
		<-ctx.Done()
		return Sample{}, ctx.Err()
	}
	return s.samples[min(n, len(s.samples)-1)], s.errs[n]
}

func TestLoop(t *testing.T) {
	good, bad := Sample{Health: HealthGood, Traffic: Traffic{100, 0}}, Sample{Health: HealthFailing, Answer: "refused"}
	away := errors.New("the edge does not answer")
	for name, c := range map[string]struct {
		s    *script
		well bool
		took time.Duration
	}{
		"well to the end":               {&script{samples: []Sample{good}}, true, 10 * time.Minute},
		"bad at once":                   {&script{samples: []Sample{{Traffic: Traffic{52, 31}}}}, false, 0},
		"health fails three times":      {&script{samples: []Sample{good, bad, bad, bad}}, false, 3 * time.Second},
		"nobody can be asked":           {&script{samples: []Sample{good}, errs: map[int]error{0: away, 1: away, 2: away}}, true, 10 * time.Minute},
		"failing, unknown, failing":     {&script{samples: []Sample{bad, bad, bad, bad}, errs: map[int]error{1: away, 2: away}}, false, 4 * time.Second},
		"a sample that hangs is let go": {&script{samples: []Sample{bad}, hang: map[int]bool{0: true}}, false, 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				v, err := Loop(t.Context(), Options{Until: begun.Add(10 * time.Minute), Before: Traffic{480, 0}}, c.s)
				if err != nil || v.Well != c.well {
					t.Errorf("verdict %+v, %v", v, err)
				}
				if took := time.Since(begun); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
			})
		})
	}
}

func TestLoopEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("taken over")
		go func() {
			time.Sleep(3500 * time.Millisecond)
			cancel(why)
		}()
		begun := time.Now()
		_, err := Loop(ctx, Options{Until: begun.Add(time.Hour)}, &script{samples: []Sample{{Health: HealthGood}}})
		if !errors.Is(err, why) || time.Since(begun) != 3500*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}

// A watch that is resumed after its end looks once and judges.
func TestLoopAfterItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v bosman.WatchVerdict
		v, err := Loop(t.Context(), Options{Until: time.Now().Add(-time.Minute)}, &script{samples: []Sample{{Traffic: Traffic{9, 9}}}})
		if err != nil || v.Well {
			t.Errorf("verdict %+v, %v", v, err)
		}
	})
}
