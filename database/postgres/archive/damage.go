package archive

import (
	"bytes"
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

// alone sees that no other server writes the same log: a copy of this machine
// has the same identifier, and its segments the same names with other content.
// KindConflict if one does; what waits here is kept.
func (k *Keeper) alone(ctx context.Context, v database.Vault, id string, f fs.FileInfo) (err error) {
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.twin = nil
		if bosman.KindOf(err) == bosman.KindConflict {
			k.twin = err
		}
	}()
	all, err := database.Listed(ctx, v, root+id+segmentPart+f.Name()+"-")
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.Name == root+id+objectOf(f) {
			continue // of before a crash: ship compares it
		}
		want, err := sumFile(k.spool(f.Name()))
		if err != nil {
			return err
		}
		got := sha256.New()
		_, err = v.Get(ctx, o.Name, func(r io.Reader) error {
			_, err := io.Copy(got, r)
			return err
		})
		if err != nil && bosman.KindOf(err) != bosman.KindFailed {
			return err
		}
		if err != nil || !bytes.Equal(got.Sum(nil), want[:]) {
			return bosman.Conflict("another server stores the same log in this target: it has another segment %s", f.Name()).
				WithKept("what this one wrote waits here and is not mixed with it").
				WithNext("one of them is a copy of the other: stop it, or give it a target of its own: bosman serve --backup-target")
		}
	}
	return nil
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
