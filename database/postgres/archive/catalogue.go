package archive

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
)

// Base is a base backup in the vault.
type Base struct {
	postgres.Base
	Secret string    `json:"secret"` // of its cluster: its databases are entered with it
	SHA256 string    `json:"sha256"` // of the tar
	Begun  time.Time `json:"begun"`
	Took   int64     `json:"took_ns"`

	Proven bool   `json:"-"` // it was recovered from
	Stored int64  `json:"-"` // bytes in the vault
	name   string // the folder in the vault
}

// System is what a vault holds of one cluster's log.
type System struct {
	ID       string
	Bases    []Base    // oldest first
	Segments []Segment // in their order
	Points   []Point   // oldest first
	Broken   []string  // bases that cannot be read: why
	Last     time.Time // when anything of it was stored or written last
	damage   []string  // segments that came back damaged, as objects
	spare    []Segment // stored besides those of the same name in Segments
	halves   []string  // folders of bases that were not finished
}

// Span is a stretch of time of which every moment can be reached.
type Span struct{ From, To time.Time }

// margin is how much sooner than the last write to a segment its last change
// may have been made: it is taken off what is said to be reachable.
const margin = time.Second

// Catalogue lists what the vault holds, of all clusters that ever wrote there.
// What cannot be opened is passed over, and said.
func (k *Keeper) Catalogue(ctx context.Context) ([]System, error) {
	v, err := k.Vault(ctx)
	if err != nil {
		return nil, err
	}
	all, err := database.Listed(ctx, v, root)
	if err != nil {
		return nil, err
	}
	systems := map[string]*System{}
	folders := map[string]map[string]int64{} // of base backups: object → bytes
	damaged := map[string]bool{}             // system/object of a segment
	for _, o := range all {
		id, rest, _ := strings.Cut(strings.TrimPrefix(o.Name, root), "/")
		s := systems[id]
		if s == nil {
			s = &System{ID: id}
			systems[id] = s
		}
		dir, object := path.Split(rest)
		switch {
		case dir == strings.TrimPrefix(segmentPart, "/"):
			if g, ok := parseSegment(object); ok {
				g.Bytes, g.object = o.Size, o.Name
				s.Segments = append(s.Segments, g)
				s.Last = later(s.Last, g.Until)
			}
		case dir == strings.TrimPrefix(damagePart, "/"):
			damaged[id+"/"+object] = true
			s.damage = append(s.damage, object)
		case dir == strings.TrimPrefix(pointPart, "/"):
			if p, ok := parsePoint(object); ok {
				p.System = id
				s.Points = append(s.Points, p)
				s.Last = later(s.Last, p.At)
			}
		case strings.HasPrefix("/"+dir, basePart):
			folder := path.Dir(o.Name)
			if folders[folder] == nil {
				folders[folder] = map[string]int64{}
			}
			folders[folder][object] = o.Size
			if begun, ok := database.ParseStamp(path.Base(folder)); ok {
				s.Last = later(s.Last, begun)
			}
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		has := folders[folder]
		id, _, _ := strings.Cut(strings.TrimPrefix(folder, root), "/")
		s := systems[id]
		if _, ok := has[baseObject]; !ok {
			s.halves = append(s.halves, folder)
			continue
		}
		b, err := k.base(ctx, v, folder)
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
		if err != nil {
			s.Broken = append(s.Broken, err.Error())
			continue
		}
		_, b.Proven = has[proofObject]
		b.Stored = has[filesObject]
		s.Bases = append(s.Bases, b)
	}
	var out []System
	for _, id := range slices.Sorted(maps.Keys(systems)) {
		s := systems[id]
		slices.SortFunc(s.Bases, func(a, b Base) int { return a.At.Compare(b.At) })
		slices.SortFunc(s.Points, func(a, b Point) int { return a.At.Compare(b.At) })
		slices.SortFunc(s.Segments, func(a, b Segment) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.Until.Compare(b.Until)) })
		if err := k.judge(ctx, v, s, damaged); err != nil {
			return nil, err
		}
		out = append(out, *s)
	}
	return out, nil
}

// base reads what a base backup is.
func (k *Keeper) base(ctx context.Context, v database.Vault, folder string) (b Base, err error) {
	k.mu.Lock()
	b, known := k.bases[folder]
	k.mu.Unlock()
	if known {
		return b, nil
	}
	var text bytes.Buffer
	if _, err := v.Get(ctx, folder+"/"+baseObject, func(r io.Reader) error {
		_, err := io.Copy(&text, r)
		return err
	}); err != nil {
		return b, err
	}
	if err := json.Unmarshal(text.Bytes(), &b); err != nil {
		return b, err
	}
	b.name = folder
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bases == nil {
		k.bases = map[string]Base{}
	}
	k.bases[folder] = b
	return b, nil
}

// run gives the segments that follow a base without a gap.
func (s System) run(b Base) []Segment {
	from, found := slices.BinarySearchFunc(s.Segments, b.Start, func(g Segment, name string) int { return cmp.Compare(g.Name, name) })
	if !found || s.Segments[from].bad != "" {
		return nil
	}
	to := from + 1
	for to < len(s.Segments) {
		want, err := next(s.Segments[to-1].Name, uint64(b.Segment)) //nolint:gosec // a power of two
		if err != nil || s.Segments[to].Name != want || s.Segments[to].bad != "" {
			break
		}
		to++
	}
	return s.Segments[from:to]
}

// until is the moment up to which a base and what follows it reach. covered is
// what is known of the cluster that still runs.
func (s System) until(b Base, covered time.Time) time.Time {
	run := s.run(b)
	if len(run) == 0 {
		return time.Time{}
	}
	to := run[len(run)-1].Until.Add(-margin)
	if run[len(run)-1].Name == s.Segments[len(s.Segments)-1].Name && covered.After(to) {
		to = covered
	}
	return to
}

// Spans gives the stretches of time that can be reached.
func (s System) Spans(covered time.Time) []Span {
	var out []Span
	for _, b := range s.Bases {
		to := s.until(b, covered)
		if to.Before(b.At) {
			continue
		}
		if n := len(out); n > 0 && !b.At.After(out[n-1].To) {
			out[n-1].To = later(out[n-1].To, to)
			continue
		}
		out = append(out, Span{b.At, to})
	}
	return out
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Own gives the system of the cluster itself; empty while there is none.
func (k *Keeper) Own(ctx context.Context, all []System) (System, error) {
	id, err := k.system(ctx)
	for _, s := range all {
		if s.ID == id {
			return s, err
		}
	}
	return System{ID: id}, err
}

// CoveredOf is Covered for the cluster's own system, zero for others.
func (k *Keeper) CoveredOf(s System) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s.ID != k.id {
		return time.Time{}
	}
	return k.covered.at
}

// Complete says whether the vault holds the segments that a base backup needs
// at least.
func (s System) Complete(b Base) bool {
	run := s.run(b)
	need, err := lastBefore(b.LSN, uint64(max(b.Segment, 1))) //nolint:gosec // positive
	return err == nil && len(run) > 0 && run[len(run)-1].Name >= need
}

// Reaches says whether a restore point can be recovered to.
func (s System) Reaches(p Point) bool {
	_, err := (&Keeper{}).findPoint([]System{s}, p.Name)
	return err == nil
}

// Bytes is what all of it takes in the vault.
func (s System) Bytes() (n int64) {
	for _, b := range s.Bases {
		n += b.Stored
	}
	for _, g := range slices.Concat(s.Segments, s.spare) {
		n += g.Bytes
	}
	return n
}
