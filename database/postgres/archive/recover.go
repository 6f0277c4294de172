package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Target is what to recover to: a moment, or a restore point by its name.
type Target struct {
	At    time.Time
	Point string
	lsn   string
	first bool // as soon as the base backup is consistent
	end   bool // all that the log holds
}

// Plan is how a target is reached.
type Plan struct {
	System   string
	Base     Base
	Segments []Segment // in order, without a gap
	Target   Target
}

// Fetch is how many bytes are brought from the vault.
func (p Plan) Fetch() int64 {
	n := p.Base.Stored
	for _, g := range p.Segments {
		n += g.Bytes
	}
	return n
}

// Needs is about how many bytes it takes on the disk: the files of the base
// backup, and segments, of which what is empty takes no room.
func (p Plan) Needs() int64 {
	var log int64
	for _, g := range p.Segments {
		log += min(packed*g.Bytes, p.Base.Segment)
	}
	return p.Base.Bytes + log + 4*p.Base.Segment
}

// packed is how much smaller a stored segment is than what it holds, roughly.
const packed = 6

const untouched = "nothing was changed"

// Find says how a target is reached, with what the vault holds now.
// KindInvalid for one in the future, KindNotFound for one that cannot be
// reached, with the moments that can.
func (k *Keeper) Find(ctx context.Context, t Target) (Plan, error) {
	all, err := k.Catalogue(ctx)
	if err != nil {
		return Plan{}, err
	}
	if t.Point != "" {
		return k.findPoint(all, t.Point)
	}
	if t.At.After(time.Now()) {
		return Plan{}, bosman.Invalid("%s is in the future", t.At.UTC().Format(moment)).WithKept(untouched).WithNext("name a moment that has passed: bosman backup points")
	}
	return k.findMoment(all, t.At.UTC())
}

// moment is how moments are written.
const moment = "2006-01-02 15:04:05 UTC"

func (k *Keeper) findMoment(all []System, at time.Time) (best Plan, err error) {
	for _, s := range all {
		for _, b := range s.Bases { // the newest before the moment: the least to replay
			if b.At.After(at) || s.until(b, k.CoveredOf(s)).Before(at) || b.At.Before(best.Base.At) {
				continue
			}
			best = Plan{System: s.ID, Base: b, Segments: s.run(b), Target: Target{At: at}}
		}
	}
	if best.System == "" {
		return best, k.unreachable(all, at.Format(moment))
	}
	best.cut()
	return best, nil
}

func (k *Keeper) findPoint(all []System, name string) (best Plan, err error) {
	known := false
	for _, s := range all {
		if p, ok := s.end(); ok && p.Target.Point == name {
			return p, nil
		}
		for _, p := range s.Points {
			if p.Name != name {
				continue
			}
			known = true
			// Of several the newest; the newest base backup before it.
			if b, ok := s.before(p); ok && !p.At.Before(best.Target.At) {
				best = Plan{System: s.ID, Base: b, Segments: s.run(b), Target: Target{At: p.At, Point: name, lsn: p.LSN}}
			}
		}
	}
	if !known {
		return best, bosman.NotFound("there is no restore point %s", name).WithKept(untouched).WithNext("bosman backup points lists them")
	}
	if best.System == "" {
		return best, k.unreachable(all, "the restore point "+name)
	}
	best.cut()
	return best, nil
}

// before gives the newest base backup from which a restore point is reached.
// It goes by places in the log: the clock may have been set.
func (s System) before(p Point) (best Base, ok bool) {
	at, err := parseLSN(p.LSN)
	if err != nil {
		return best, false
	}
	newest := uint64(0)
	for _, b := range s.Bases {
		run := s.run(b)
		need, err1 := lastBefore(p.LSN, uint64(max(b.Segment, 1))) //nolint:gosec // positive
		from, err2 := parseLSN(b.LSN)
		if err1 != nil || err2 != nil || from > at || from < newest || len(run) == 0 || run[len(run)-1].Name < need {
			continue
		}
		best, newest, ok = b, from, true
	}
	return best, ok
}

// endPrefix begins the names of the points that nobody named: the end of the
// log of a server that writes no more.
const endPrefix = "last-"

// End gives the end of a system's log as a restore point: all that was stored,
// to the last change. There is none where no base backup reaches it.
func (s System) End() (Point, bool) {
	p, ok := s.end()
	return Point{Name: p.Target.Point, At: p.Target.At, System: s.ID}, ok
}

func (s System) end() (best Plan, ok bool) {
	for _, b := range s.Bases {
		run := s.run(b)
		if len(run) == 0 || !s.Complete(b) || ok && run[len(run)-1].Name < best.Segments[len(best.Segments)-1].Name {
			continue
		}
		at := run[len(run)-1].Until
		best, ok = Plan{System: s.ID, Base: b, Segments: run, Target: Target{At: at, Point: endPrefix + database.Stamp(at), end: true}}, true
	}
	return best, ok
}

// unreachable says what can be reached instead, and why not this if a part of
// the log is missing.
func (k *Keeper) unreachable(all []System, what string) error {
	var spans []string
	var missing []string
	for _, s := range all {
		for _, p := range s.Spans(k.CoveredOf(s)) {
			spans = append(spans, p.From.Format(moment)+" to "+p.To.Format(moment))
		}
		missing = append(missing, s.gaps()...)
		missing = append(missing, s.Broken...)
	}
	if len(spans) == 0 {
		spans = []string{"none yet"}
	}
	e := bosman.NotFound("%s cannot be reached", what).WithKept(untouched).
		WithNext("moments that can be reached: " + strings.Join(spans, "; ") + "; or take a backup: bosman backup list")
	if len(missing) > 0 {
		e.Message += ": " + strings.Join(missing, "; ")
	}
	return e
}

// gaps names segments that are missing between others.
func (s System) gaps() (out []string) {
	if len(s.Bases) == 0 {
		return nil
	}
	size := uint64(max(s.Bases[0].Segment, 1)) //nolint:gosec // positive
	for i := range s.Segments {
		if why := s.Segments[i].bad; why != "" && len(out) < 3 {
			out = append(out, "segment "+s.Segments[i].Name+" of the log "+why)
		}
	}
	for i := 1; i < len(s.Segments) && len(out) < 3; i++ {
		want, err := next(s.Segments[i-1].Name, size)
		if err == nil && want != s.Segments[i].Name {
			out = append(out, "segment "+want+" of the log is missing")
		}
	}
	return out
}

// cut leaves out the segments behind the target.
func (p *Plan) cut() {
	last := len(p.Segments)
	switch {
	case p.Target.end:
	case p.Target.first:
		at, err := lastBefore(p.Base.LSN, uint64(p.Base.Segment)) //nolint:gosec // positive
		if err == nil {
			last = after(p.Segments, func(g Segment) bool { return g.Name >= at })
		}
	case p.Target.lsn != "":
		at, err := lastBefore(p.Target.lsn, uint64(p.Base.Segment)) //nolint:gosec // positive
		if err == nil {
			last = after(p.Segments, func(g Segment) bool { return g.Name > at }) // the record that follows may be in the next
		}
	default:
		last = after(p.Segments, func(g Segment) bool { return g.Until.After(p.Target.At.Add(margin)) })
	}
	p.Segments = p.Segments[:last]
}

// after is the number of segments up to the first that fits, it included.
func after(all []Segment, fits func(Segment) bool) int {
	if i := slices.IndexFunc(all, fits); i >= 0 {
		return i + 1
	}
	return len(all)
}

// settings tell the server where to stop.
func (p Plan) settings() []string {
	switch {
	case p.Target.end:
		return nil
	case p.Target.first:
		return []string{"recovery_target=immediate"}
	case p.Target.lsn != "":
		return []string{"recovery_target_lsn=" + p.Target.lsn, "recovery_target_inclusive=off"}
	}
	return []string{"recovery_target_time=" + p.Target.At.UTC().Format("2006-01-02 15:04:05.999999+00")}
}

// Replay brings a plan's base backup and segments and replays them in a
// throw-away server, which is given running, as it was at the target. done
// ends and removes it. The cluster itself is not touched. KindFailed if
// something was damaged or the target was not reached.
func (k *Keeper) Replay(ctx context.Context, p Plan) (c *postgres.Cluster, done func() error, err error) {
	k.working.Lock()
	done = func() error {
		defer k.working.Unlock()
		return k.Clear(context.WithoutCancel(ctx))
	}
	if c, err = k.replay(ctx, p); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return c, done, nil
}

// Clear ends and removes a throw-away server that was left behind.
func (k *Keeper) Clear(ctx context.Context) error {
	if _, err := os.Lstat(k.Dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := postgres.NewReplayed(k.Dir, "none", nil).Remove(ctx); err != nil {
		return err
	}
	return nil
}

func (k *Keeper) replay(ctx context.Context, p Plan) (*postgres.Cluster, error) {
	if err := k.Clear(ctx); err != nil {
		return nil, err
	}
	if err := database.Room(filepath.Dir(k.Dir), p.Needs()); err != nil {
		return nil, err
	}
	v, err := k.Vault(ctx)
	if err != nil {
		return nil, err
	}
	c := postgres.NewReplayed(k.Dir, p.Base.Secret, k.Cluster)
	if err := fetchBase(ctx, v, p.Base, c); err != nil {
		return nil, err
	}
	log := filepath.Join(k.Dir, "segments")
	if err := os.Mkdir(log, 0o700); err != nil {
		return nil, bosman.Unavailable("a folder for the log could not be made").Because(err)
	}
	for _, g := range p.Segments {
		if err := fetchSegment(ctx, v, g, filepath.Join(log, g.Name), p.Base.Segment); err != nil {
			return nil, k.noteDamage(ctx, v, p.System, g, err)
		}
	}
	if err := c.Hand(log); err != nil {
		return nil, err
	}
	if err := faults.Point("archive.replay.fetched"); err != nil {
		return nil, err
	}
	if err := k.reach(ctx, c, p, log); err != nil {
		return nil, err
	}
	return c, faults.Point("archive.replay.reached")
}

// reach replays up to the target. A moment after the last change that the log
// holds is not met by any record: the server ends, and is let go on to the end.
func (k *Keeper) reach(ctx context.Context, c *postgres.Cluster, p Plan, log string) error {
	last := p.Segments[len(p.Segments)-1]
	err := c.ReplayTo(ctx, log, p.Target.At, p.settings()...)
	if bosman.KindOf(err) == bosman.KindFailed && !p.Target.first && !p.Target.end && p.Target.lsn == "" {
		if err = c.ReplayTo(ctx, log, p.Target.At); err == nil {
			err = reachedEnd(ctx, c, p, last)
		}
	}
	if err == nil && p.Target.end {
		err = reachedEnd(ctx, c, p, last)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	return bosman.AsError(err).WithKept(untouched).WithNext("try another moment: bosman backup points; or take a backup: bosman backup list")
}

// reachedEnd says whether a server without a target replayed all of the plan
// and nothing behind its target.
func reachedEnd(ctx context.Context, c *postgres.Cluster, p Plan, last Segment) error {
	got, err := c.Reached(ctx)
	if err != nil {
		return err
	}
	at, err := parseLSN(got.LSN)
	if err != nil {
		return err
	}
	_, number, err := segmentNumber(last.Name, uint64(p.Base.Segment)) //nolint:gosec // positive
	if err != nil {
		return err
	}
	switch { // a segment ends where the next begins, so it must be inside of the last
	case at <= number*uint64(p.Base.Segment)+headBytes: //nolint:gosec // positive
		return bosman.Failed("the log ends at %s, before its segment %s: a part of it is damaged", got.LSN, last.Name)
	case !p.Target.end && got.At.After(p.Target.At):
		return bosman.Failed("the log could not be replayed to %s: it went on to %s", p.Target.At.Format(moment), got.At.Format(moment))
	}
	return nil
}

// fetchBase unpacks a base backup, compared with its checksum.
func fetchBase(ctx context.Context, v database.Vault, b Base, c *postgres.Cluster) error {
	sum := sha256.New()
	_, err := v.Get(ctx, b.name+"/"+filesObject, func(r io.Reader) error {
		r = io.TeeReader(r, sum)
		if err := c.Unpack(ctx, r); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if err == nil && hex.EncodeToString(sum.Sum(nil)) != b.SHA256 {
		err = bosman.Failed("the base backup %s is not what was written", b.name)
	}
	return explain(err, "the base backup of "+b.At.Format(moment))
}

// fetchSegment brings a segment; what is empty of it takes no room.
func fetchSegment(ctx context.Context, v database.Vault, g Segment, to string, size int64) error {
	_, err := v.Get(ctx, g.object, func(r io.Reader) (err error) {
		f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		n, err := sparse(f, r)
		if err == nil && n != size {
			err = bosman.Failed("segment %s of the log has %d bytes instead of %d", g.Name, n, size)
		}
		return err
	})
	return explain(err, "segment "+g.Name+" of the log")
}

// sparse copies and leaves holes for what is zero.
func sparse(f *os.File, r io.Reader) (n int64, err error) {
	page, zero := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		m, err := io.ReadFull(r, page)
		if m > 0 && !bytes.Equal(page[:m], zero[:m]) {
			if _, werr := f.WriteAt(page[:m], n); werr != nil {
				return n, werr
			}
		}
		n += int64(m)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return n, f.Truncate(n)
		}
		if err != nil {
			return n, err
		}
	}
}

func explain(err error, what string) error {
	switch bosman.KindOf(err) {
	case "":
		return nil
	case bosman.KindNotFound, bosman.KindFailed, bosman.KindForbidden:
		return bosman.Failed("%s cannot be used: %s", what, bosman.AsError(err).Message).WithKept(untouched).
			WithNext("try another moment: bosman backup points; or take a backup: bosman backup list").Because(err)
	}
	return err
}

// Bring takes a database out of a server that Replay gave, puts it beside the
// databases of to under a name of its own, and compares both. tmp is for the
// dump on its way.
func Bring(ctx context.Context, from, to database.Engine, instance, name, tmp string) (d bosman.Database, info database.BackupInfo, err error) {
	source, err := from.Find(ctx, instance)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return d, info, bosman.NotFound("%s had no database at that moment", instance).WithKept(untouched).WithNext("name a later moment")
	}
	if err != nil {
		return d, info, err
	}
	dir := ""
	if err = os.MkdirAll(tmp, 0o700); err == nil {
		dir, err = os.MkdirTemp(tmp, "bring-")
	}
	if err != nil {
		return d, info, bosman.Unavailable("a folder for the dump could not be made").Because(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if info, err = from.Backup(ctx, source, dir); err != nil {
		return d, info, err
	}
	if err := faults.Point("archive.bring.dumped"); err != nil {
		return d, info, err
	}
	if d, err = to.Restore(ctx, dir, name); err != nil {
		return d, info, err
	}
	if err := database.Compare(ctx, to, d, fmt.Sprintf("%s as recovered", instance), info); err != nil {
		return d, info, errors.Join(err, to.Drop(context.WithoutCancel(ctx), d))
	}
	return d, info, faults.Point("archive.bring.done")
}
