package database

import (
	"time"

	bosman "github.com/bosman-cd/bosman"
)

// Golden is one generation of a golden copy.
type Golden struct {
	Database bosman.Database
	Copy     bosman.CopyInfo
}

// GoldenOf is a generation as others see it: nobody connects to d.
func GoldenOf(d bosman.Database, info bosman.CopyInfo) Golden {
	d.Password = ""
	return Golden{Database: d, Copy: info}
}

// GoldensOf is GoldenOf for each of an engine's own.
func GoldensOf[G any](all []G, as func(G) Golden) []Golden {
	out := make([]Golden, 0, len(all))
	for _, g := range all {
		out = append(out, as(g))
	}
	return out
}

// GoldenName names the golden copy of the database source with the data of a
// moment.
func GoldenName(source string, at time.Time) string {
	return Beside(Base(source), TagGolden+"_"+Stamp(at))
}

// Suits says whether data of a release of from may be copied. KindConflict if
// not.
func (o CopyOptions) Suits(from bosman.Database, release int) error {
	if o.Accept == nil || o.Accept(release) {
		return nil
	}
	return bosman.Conflict("the data of %s belongs to release %s, which is newer than this change", from.Name, bosman.Ref(bosman.LetterRelease, release)).
		WithKept("the instance keeps the data it has").WithNext("merge main into the branch and push it again")
}

// Generations are an engine's golden copies of one database, each a G.
type Generations[G any] struct {
	All     func() ([]G, error) // those that may be handed out, newest first
	Copy    func(G) bosman.CopyInfo
	Stale   func() (bool, error)        // was the source written to since the newest?
	Refresh func(exact bool) (G, error) // makes a new one; exact: of this very moment
	Quick   time.Duration               // how long a tester waits for fresher data without having asked for it
	Now     time.Time
}

// Choose gives the newest generation that suits, and makes one where opt wants
// this very moment, where there is none, or where the newest is older than opt
// says, stale and quickly made.
func (s Generations[G]) Choose(from bosman.Database, opt CopyOptions) (none G, err error) {
	if opt.Exact {
		g, err := s.Refresh(true)
		if err == nil {
			err = opt.Suits(from, s.Copy(g).Release)
		}
		return g, err
	}
	all, err := s.All()
	if err != nil {
		return none, err
	}
	refresh := len(all) == 0
	if !refresh && opt.MaxAge > 0 {
		if newest := s.Copy(all[0]); newest.Took < s.Quick && s.Now.Sub(newest.TakenAt) > opt.MaxAge {
			if refresh, err = s.Stale(); err != nil {
				return none, err
			}
		}
	}
	if refresh {
		g, err := s.Refresh(false)
		if err != nil {
			return g, err
		}
		all = append([]G{g}, all...)
	}
	for _, g := range all {
		if opt.Suits(from, s.Copy(g).Release) == nil {
			return g, nil
		}
	}
	return none, opt.Suits(from, s.Copy(all[0]).Release)
}
