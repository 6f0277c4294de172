package custody

import (
	"context"
	"strings"
	"time"

	"github.com/bosman-cd/bosman/vault"
)

// How many states stay: the newest of each of some days and weeks.
const (
	keepDays  = 7
	keepWeeks = 4
	// keepFresh is how long every state stays, hourly ones too.
	keepFresh = 24 * time.Hour
	// sweepAge is how long nobody puts one object.
	sweepAge = 48 * time.Hour
)

// kept says which of the states, newest first, stay at a moment.
func kept(names []string, now time.Time) map[string]bool {
	keep := map[string]bool{}
	days, weeks := map[string]bool{}, map[[2]int]bool{}
	for n, name := range names {
		at, err := stampOf(name)
		if err != nil {
			keep[name] = true // not ours to judge
			continue
		}
		year, week := at.ISOWeek()
		day, wk := at.Format(time.DateOnly), [2]int{year, week}
		if n == 0 || now.Sub(at) < keepFresh {
			keep[name] = true
		}
		if !days[day] && len(days) < keepDays {
			days[day], keep[name] = true, true
		}
		if !weeks[wk] && len(weeks) < keepWeeks {
			weeks[wk], keep[name] = true, true
		}
	}
	return keep
}

func stampOf(name string) (time.Time, error) {
	return time.Parse(stampLayout, strings.TrimPrefix(name, statePrefix))
}

// States lists the states in a vault, newest first.
func States(ctx context.Context, v *vault.Store) ([]string, error) {
	var names []string
	for i, err := range v.List(ctx, statePrefix) {
		if err != nil {
			return nil, err
		}
		names = append([]string{i.Name}, names...)
	}
	return names, nil
}

// retain removes old states, and then what no state needs. newest was just
// written; what it needs stays whatever the others say.
func retain(ctx context.Context, v *vault.Store, newest State, now time.Time) error {
	names, err := States(ctx, v)
	if err != nil {
		return err
	}
	keep := kept(names, now)
	needed := map[string]bool{}
	need := func(st State) {
		for _, p := range st.Repos {
			needed[p.Object] = true
		}
		for _, p := range st.Releases {
			needed[p.Object] = true
		}
	}
	need(newest)
	removed := false
	for _, name := range names {
		if keep[name] {
			continue
		}
		if err := v.Delete(ctx, name); err != nil {
			return err
		}
		removed = true
	}
	if err := v.Sweep(ctx, sweepAge); err != nil || !removed {
		return err // without a state removed, nothing became needless
	}
	for _, name := range names {
		if !keep[name] || name == newest.Name {
			continue
		}
		st, err := about(ctx, v, name)
		if err != nil { // what a state needs that cannot be read is not known: all stays
			return err
		}
		need(st)
	}
	for _, prefix := range []string{gitPrefix, releasesPrefix} {
		for i, err := range v.List(ctx, prefix) {
			if err != nil {
				return err
			}
			if needed[i.Name] {
				continue
			}
			if err := v.Delete(ctx, i.Name); err != nil {
				return err
			}
		}
	}
	return nil
}
