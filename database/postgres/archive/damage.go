package archive

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
)

// sum is that of a segment's content: it tells segments of two servers apart.
// Names and identifiers do not, since a copy of a machine writes the same, nor
// do times: after a power loss a server hands over again what was stored, with
// the time that its file has by then.
type sum [sha256.Size]byte

// sumOf reads an object of the vault. The errors are those of Get.
func sumOf(ctx context.Context, v database.Vault, object string) (out sum, err error) {
	h := sha256.New()
	_, err = v.Get(ctx, object, func(r io.Reader) error {
		_, err := io.Copy(h, r)
		return err
	})
	return sum(h.Sum(nil)), err
}

// alone sees that no other server writes the same log: a copy of this machine
// has the same identifier, and its segments the same names with other content.
// KindConflict if one does; what waits here is kept. stored says that the
// segment is in the vault already.
func (k *Keeper) alone(ctx context.Context, v database.Vault, id string, f fs.FileInfo) (stored bool, err error) {
	defer func() { k.sawTwin(err) }()
	all, err := database.Listed(ctx, v, root+id+segmentPart+f.Name()+"-")
	if err != nil || len(all) == 0 {
		return false, err
	}
	want, err := sumFile(k.spool(f.Name()))
	if err != nil {
		return false, err
	}
	for _, o := range all {
		if o.Name == root+id+objectOf(f) {
			continue // of before a crash: ship compares it
		}
		got, err := sumOf(ctx, v, o.Name)
		switch {
		case bosman.KindOf(err) == bosman.KindFailed: // nobody can tell what it was; the own one is stored beside it
			k.log().Error("what was stored of the log is damaged and is stored again", "object", o.Name, "err", err)
		case err != nil && bosman.KindOf(err) != bosman.KindNotFound:
			return false, err
		case err == nil && got != want:
			return false, twin(f.Name())
		case err == nil:
			stored = true
		}
	}
	return stored, nil
}

func twin(segment string) error {
	return bosman.Conflict("another server stores the same log in this target: it has another segment %s", segment).
		WithKept("what this one wrote waits here and is not mixed with it").
		WithNext("one of them is a copy of the other: stop it, or give it a target of its own: bosman serve --backup-target")
}

// sawTwin notes whether another server was seen when a segment was stored last.
func (k *Keeper) sawTwin(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.twin = nil
	if bosman.KindOf(err) == bosman.KindConflict {
		k.twin = err
	}
}

// judge says of each segment whether it can be used. One that was stored with
// two contents is that of two servers: nobody knows which one a base backup
// goes on with. Of those with one content the one with the earliest time is
// used: less is promised, and a recovery fetches rather too much than too little.
func (k *Keeper) judge(ctx context.Context, v database.Vault, s *System, damaged map[string]bool) error {
	all := s.Segments
	s.Segments = make([]Segment, 0, len(all))
	for len(all) > 0 {
		n := 1 // of one name
		for n < len(all) && all[n].Name == all[0].Name {
			n++
		}
		for i, g := range all[:n] {
			if damaged[s.ID+"/"+path.Base(g.object)] {
				all[i].bad = "is damaged"
			}
		}
		use, err := k.which(ctx, v, all[:n])
		if err != nil {
			return err
		}
		for i, g := range all[:n] {
			if i == use {
				s.Segments = append(s.Segments, g)
			} else {
				s.spare = append(s.spare, g)
			}
		}
		all = all[n:]
	}
	return nil
}

// which gives the number of that of several segments with one name which is
// used. What cannot be read is passed over where another one can.
func (k *Keeper) which(ctx context.Context, v database.Vault, all []Segment) (use int, err error) {
	if len(all) == 1 {
		return 0, nil
	}
	use = -1
	var first sum
	for i := range all {
		g := &all[i]
		if g.bad != "" {
			continue
		}
		k.mu.Lock()
		got, known := k.sums[g.object]
		k.mu.Unlock()
		if !known {
			got, err = sumOf(ctx, v, g.object)
			switch kind := bosman.KindOf(err); {
			case kind == bosman.KindFailed, kind == bosman.KindNotFound: // the latter was removed since it was listed
				g.bad = "is damaged"
				continue
			case err != nil:
				return 0, err
			}
			k.mu.Lock()
			if k.sums == nil {
				k.sums = map[string]sum{}
			}
			k.sums[g.object] = got
			k.mu.Unlock()
		}
		switch {
		case use < 0:
			use, first = i, got
		case got != first:
			all[use].bad = "was stored by two servers"
			return use, nil
		}
	}
	return max(use, 0), nil
}

func (k *Keeper) twinned() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.twin
}

// noteDamage notes in the vault that a segment cannot be used, so that nobody
// is promised what lies behind it. It gives err.
func (k *Keeper) noteDamage(ctx context.Context, v database.Vault, system string, g Segment, err error) error {
	if kind := bosman.KindOf(err); kind != bosman.KindFailed || ctx.Err() != nil {
		return err
	}
	_, perr := v.Put(ctx, root+system+damagePart+path.Base(g.object), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, err.Error())
		return err
	})
	if perr != nil && bosman.KindOf(perr) != bosman.KindConflict { // it is found again
		k.log().Warn("a damaged segment of the log could not be noted", "segment", g.Name, "err", perr)
	}
	return err
}

// Reread reads the segments again that came back damaged, and forgets that of
// those which are whole: somebody mended the target.
func (k *Keeper) Reread(ctx context.Context) error {
	all, err := k.Catalogue(ctx)
	if err != nil {
		return err
	}
	v, err := k.Vault(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		size := int64(segmentBytes)
		if len(s.Bases) > 0 {
			size = s.Bases[0].Segment
		}
		for _, object := range s.damage {
			n := int64(0)
			_, err := v.Get(ctx, root+s.ID+segmentPart+object, func(r io.Reader) (err error) {
				n, err = io.Copy(io.Discard, r)
				return err
			})
			switch kind := bosman.KindOf(err); {
			case err == nil && n != size, kind == bosman.KindFailed:
				continue
			case err != nil && kind != bosman.KindNotFound:
				return err
			}
			if err := v.Delete(ctx, root+s.ID+damagePart+object); err != nil {
				return err
			}
		}
	}
	return nil
}

// pruneLost removes the log of servers that are lost, once no moment since the
// beginning of the window is in it and a base backup of the own log was proven
// for each day of the window since: a clock that was set ahead is not enough.
func (k *Keeper) pruneLost(ctx context.Context, v database.Vault, all []System, own System, now time.Time) (removed int, err error) {
	for _, s := range all {
		since := 0
		for _, b := range own.Bases {
			if b.Proven && b.At.After(s.Last) {
				since++
			}
		}
		if s.ID == own.ID || s.Last.IsZero() || s.Last.After(now.Add(-k.Window)) || since < int(k.Window/(24*time.Hour)) {
			continue
		}
		objects, err := database.Listed(ctx, v, root+s.ID+"/")
		if err != nil {
			return removed, err
		}
		// What says that a base backup is there goes first, so that nothing is
		// promised of which a part is gone.
		for _, first := range []bool{true, false} {
			for _, o := range objects {
				if (path.Base(o.Name) == baseObject) != first {
					continue
				}
				err := v.Delete(ctx, o.Name)
				if err == nil {
					removed++
					err = faults.Point("archive.prune.lost")
				}
				if err != nil {
					return removed, err
				}
			}
		}
		k.log().Info("the log of a server that was lost is not needed any more and was removed", "system", s.ID, "until", s.Last)
	}
	return removed, nil
}
