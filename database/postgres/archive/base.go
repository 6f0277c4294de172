package archive

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
)

// TakeBase makes a base backup. It is there once base.json is; it counts after
// Prove. fast begins at once, else the load on the server is spread over some
// minutes.
func (k *Keeper) TakeBase(ctx context.Context, fast bool) (Base, error) {
	b := Base{Secret: k.Cluster.Secret(), Begun: time.Now().UTC()}
	id, err := k.system(ctx)
	if err == nil {
		err = k.twinned()
	}
	if err != nil {
		return b, err
	}
	v, err := k.Vault(ctx)
	if err != nil {
		return b, err
	}
	b.name = root + id + basePart + database.Stamp(b.Begun)
	sum := sha256.New()
	o, err := v.Put(ctx, b.name+"/"+filesObject, func(w io.Writer) (err error) {
		b.Base, err = k.Cluster.TakeBase(ctx, io.MultiWriter(w, sum), fast)
		return err
	})
	if err != nil {
		return b, err
	}
	if err := faults.Point("archive.base.files"); err != nil {
		return b, err
	}
	b.SHA256, b.Stored, b.Took = hex.EncodeToString(sum.Sum(nil)), o.Size, int64(time.Since(b.Begun))
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return b, err
	}
	_, err = v.Put(ctx, b.name+"/"+baseObject, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return b, err
	}
	return b, faults.Point("archive.base.done")
}

// Prove recovers from a base backup once, to the first moment that it can be
// recovered to, and enters its databases. The segments it needs are stored.
func (k *Keeper) Prove(ctx context.Context, s System, b Base) error {
	p := Plan{System: s.ID, Base: b, Segments: s.run(b), Target: Target{first: true}}
	if len(p.Segments) == 0 {
		return bosman.Failed("the base backup of %s cannot be used: segment %s of the log is missing", b.At.Format(time.DateTime), b.Start)
	}
	p.cut()
	c, done, err := k.Replay(ctx, p)
	if err != nil {
		return err
	}
	n, err := c.Databases(ctx)
	if err == nil && n == 0 {
		err = bosman.Failed("the base backup of %s holds no databases", b.At.Format(time.DateTime))
	}
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	v, err := k.Vault(ctx)
	if err != nil {
		return err
	}
	_, err = v.Put(ctx, b.name+"/"+proofObject, func(w io.Writer) error {
		_, err := io.WriteString(w, time.Now().UTC().Format(time.RFC3339))
		return err
	})
	if bosman.KindOf(err) == bosman.KindConflict {
		err = nil
	}
	return err
}

// Newest gives the newest base backup that counts, and the newest of all from
// which the newest segment can be reached.
func (s System) Newest() (proven, whole Base) {
	newer := func(a, b Base) bool { return cmp.Or(cmp.Compare(a.Start, b.Start), a.At.Compare(b.At)) >= 0 } // whatever the clock said
	for _, b := range s.Bases {
		if b.Proven && newer(b, proven) {
			proven = b
		}
		if run := s.run(b); len(run) > 0 && run[len(run)-1].Name == s.Segments[len(s.Segments)-1].Name && newer(b, whole) {
			whole = b
		}
	}
	return proven, whole
}

// Prune removes what no moment since the beginning of the window needs: base
// backups that have a newer one which counts and is older than the window, the
// segments before the oldest that stays, and points that cannot be reached any
// more. Without a base backup that counts it removes nothing, nor before there
// is a newer one for each further day of the window: the clock may be ahead.
func (k *Keeper) Prune(ctx context.Context, now time.Time) (removed int, err error) {
	all, err := k.Catalogue(ctx)
	if err != nil {
		return 0, err
	}
	s, err := k.Own(ctx, all)
	if err != nil {
		return 0, err
	}
	v, err := k.Vault(ctx)
	if err != nil {
		return 0, err
	}
	del := func(name string) error {
		if err := v.Delete(ctx, name); err != nil {
			return err
		}
		removed++
		return faults.Point("archive.prune.object")
	}
	first := -1 // the oldest base that stays
	newer := 0
	for i, b := range slices.Backward(s.Bases) {
		if b.Proven && b.At.Before(now.Add(-k.Window)) && newer >= int(k.Window/(24*time.Hour))-1 {
			first = i
			break
		}
		if b.Proven {
			newer++
		}
	}
	for _, half := range s.halves {
		begun, ok := database.ParseStamp(path.Base(half))
		if !ok || now.Sub(begun) < halfStays {
			continue // it may be under way
		}
		for _, object := range []string{filesObject, proofObject} {
			if err := del(half + "/" + object); err != nil {
				return removed, err
			}
		}
	}
	if first < 0 {
		return removed, nil
	}
	n, err := k.pruneLost(ctx, v, all, s, now)
	if removed += n; err != nil {
		return removed, err
	}
	for _, b := range s.Bases[:first] {
		for _, object := range []string{baseObject, proofObject, filesObject} { // what says that it is there goes first
			if err := del(b.name + "/" + object); err != nil {
				return removed, err
			}
		}
	}
	oldest := s.Bases[first]
	for _, g := range slices.Concat(s.Segments, s.spare) {
		if g.Name < oldest.Start {
			if err := del(g.object); err != nil {
				return removed, err
			}
		}
	}
	for _, object := range s.damage {
		if object < oldest.Start {
			if err := del(root + s.ID + damagePart + object); err != nil {
				return removed, err
			}
		}
	}
	for _, p := range s.Points {
		if p.At.Before(oldest.At) {
			if err := del(root + s.ID + pointPart + p.object()); err != nil {
				return removed, err
			}
		}
	}
	return removed, nil
}

// halfStays is how long what looks like half a base backup stays.
const halfStays = 24 * time.Hour
