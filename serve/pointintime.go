package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres/archive"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// timeline keeps the log of the durable cluster and recovers databases from
// it: helm.Timeline. What was kept can be recovered from also while no more is
// kept.
type timeline struct {
	*server
	asked chan struct{} // a recovery was asked for

	mu      sync.Mutex
	keeper  *archive.Keeper // nil until there is a durable cluster
	job     *recoveryNote   // the last recovery; nil without one
	fails   time.Time       // since when segments cannot be stored; zero: they can
	failure string
	base    string // why there is no base backup that counts; "" if there is one, or it is being made
	trouble string
	noted   time.Time // when how things stand was noted for the doctor
}

// recoveryNote is a recovery as it is noted on the disk.
type recoveryNote struct {
	bosman.PointRecovery
	Stamp time.Time `json:"stamp"` // of the kept copy
	Tries int       `json:"tries"`
}

// How often what is looked at.
const (
	shipEvery    = time.Second
	advanceEvery = time.Minute
	baseEvery    = 24 * time.Hour
	baseOverdue  = 49 * time.Hour // two of them failed
	waitingLong  = 5 * time.Minute
	failingLong  = time.Minute
	tendEvery    = 5 * time.Minute
	tryBaseAgain = 10 * time.Minute
	noteEvery    = time.Minute // it lists what is in the target
	storedSoon   = 45 * time.Second
	clockOff     = 5 * time.Minute // a base backup from so far in the future was made while the clock was ahead
	recoverTries = 3               // a recovery that Bosman did not survive so often is given up
)

func newTimeline(s *server) *timeline { return &timeline{server: s, asked: make(chan struct{}, 1)} }

func (t *timeline) on() bool { return t.opt.PointInTime > 0 }

func (t *timeline) notePath() string   { return t.path("postgres", "recovery.json") }
func (t *timeline) statusPath() string { return timelineStatus(t.opt.Data) }

func timelineStatus(data string) string { return filepath.Join(data, "postgres", "point-in-time.json") }

// kept gives the keeper of the log, nil while there is no durable cluster.
func (t *timeline) kept() *archive.Keeper {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keeper != nil {
		return t.keeper
	}
	t.databases.mu.Lock()
	c := t.databases.clusters[mainCluster]
	t.databases.mu.Unlock()
	if c == nil {
		return nil
	}
	t.keeper = &archive.Keeper{
		Cluster: c, Dir: t.path("postgres", "replayed"), Window: time.Duration(t.opt.PointInTime) * 24 * time.Hour, Log: t.log,
		Vault: func(ctx context.Context) (database.Vault, error) {
			s, err := t.vaults.store(ctx, "")
			if err == nil {
				err = t.custody.Claim(ctx, s)
			}
			return s, err
		},
	}
	return t.keeper
}

// run keeps the log and carries out recoveries until ctx ends.
func (t *timeline) run(ctx context.Context) error {
	k := t.kept()
	for k == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(shipEvery):
			k = t.kept()
		}
	}
	t.begin(ctx, k)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { t.recoveries(ctx, k) })
	if !t.on() {
		return nil
	}
	wg.Go(func() { t.bases(ctx, k) })
	t.ship(ctx, k)
	return nil
}

// begin clears what a killed recovery left and tells the server what to do.
func (t *timeline) begin(ctx context.Context, k *archive.Keeper) {
	if err := k.Clear(ctx); err != nil && ctx.Err() == nil { // the next recovery tries again
		t.log.Error("what a recovery left behind cannot be removed", "err", err)
	}
	b, err := os.ReadFile(t.notePath())
	if err == nil {
		var j recoveryNote
		if err = json.Unmarshal(b, &j); err == nil {
			t.mu.Lock()
			t.job = &j
			t.mu.Unlock()
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.log.Warn("how the last recovery went is not known any more", "err", err)
	}
	if !t.on() {
		if err := os.Remove(t.statusPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.log.Warn("the note on the log of the databases cannot be removed", "err", err)
		}
	}
	restarted, err := k.Cluster.Reload(ctx)
	if err != nil && ctx.Err() == nil {
		t.log.Error("the database server could not be told whether to keep its log", "err", err)
	}
	if restarted {
		t.log.Warn("the database server of staging and live was restarted once, to keep its log")
	}
}

// ship stores what the server finished, and sees that something is finished
// every minute in which anything was written.
func (t *timeline) ship(ctx context.Context, k *archive.Keeper) {
	tick := time.NewTicker(shipEvery)
	defer tick.Stop()
	var advanced, looked time.Time
	for {
		if time.Since(advanced) >= advanceEvery {
			if err := k.Advance(ctx); err != nil && ctx.Err() == nil {
				t.log.Warn("the log of the databases could not be finished up to now", "err", err)
			}
			advanced = time.Now()
		}
		n, err := k.Ship(ctx)
		if ctx.Err() != nil {
			return
		}
		t.shipped(err)
		if n > 0 || time.Since(looked) > 15*time.Second {
			t.look(ctx, k)
			looked = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// shipped notes whether segments can be stored.
func (t *timeline) shipped(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.fails, t.failure = time.Time{}, ""
	case t.fails.IsZero():
		t.fails = time.Now()
		t.log.Error("the log of the databases cannot be stored; it waits on this machine", "err", err)
		fallthrough
	default:
		t.failure = bosman.AsError(err).Message
	}
}

// look finds out what is wrong and notes how things stand for the doctor.
func (t *timeline) look(ctx context.Context, k *archive.Keeper) {
	st, err := k.State(ctx)
	if ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	why := t.judge(st, err, time.Now())
	was := t.trouble
	t.trouble = why
	t.mu.Unlock()
	if why != was && why != "" {
		t.log.Error("not every moment of the databases can be recovered", "why", why)
	}
	if why == was && time.Since(t.noted) < noteEvery {
		return
	}
	p, err := t.PointInTime(ctx, "")
	if err != nil { // the target cannot be reached: what was known stays
		p = readTimeline(t.opt.Data)
		p.Trouble = why
	}
	if b, err := json.Marshal(p); err == nil {
		if err := atomicfile.Write(t.statusPath(), b, 0o600); err != nil {
			t.log.Warn("how the log of the databases is kept could not be noted", "err", err)
		}
	}
	t.noted = time.Now()
}

// judge says what is wrong, in a sentence. The lock is held.
func (t *timeline) judge(st archive.State, err error, now time.Time) string {
	waits := fmt.Sprintf("%d finished segments (%s) wait on this machine since %s", st.Waiting, size(st.Bytes), st.Since.Format("2 Jan 15:04 UTC"))
	switch {
	case err != nil:
		return bosman.AsError(err).Message
	case !st.Lost.IsZero():
		return "segments of the log were let go at " + st.Lost.Format("2 Jan 15:04 UTC") + ", since too many waited: what was written between them and the next base backup cannot be reached"
	case st.Server != "":
		return st.Server
	case !t.fails.IsZero() && now.Sub(t.fails) > failingLong:
		return waits + ": " + t.failure
	case st.Waiting > 0 && now.Sub(st.Since) > waitingLong:
		return waits
	}
	return t.base
}

// Trouble says why moments cannot be relied on.
func (t *timeline) Trouble() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trouble
}

// bases makes base backups, proves them and removes what is not needed.
func (t *timeline) bases(ctx context.Context, k *archive.Keeper) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	var failed time.Time
	for {
		if time.Since(failed) > tryBaseAgain {
			err := t.tend(ctx, k)
			if ctx.Err() != nil {
				return
			}
			failed = time.Time{}
			if err != nil {
				failed = time.Now()
				t.log.Error("a base backup of the databases could not be made or proven", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tend makes a base backup if one is due, and prunes.
func (t *timeline) tend(ctx context.Context, k *archive.Keeper) error {
	if err := k.Reread(ctx); err != nil {
		return err
	}
	s, err := t.own(ctx, k)
	if err != nil {
		return err
	}
	st, err := k.State(ctx)
	if err != nil {
		return err
	}
	proven, whole := s.Newest()
	due := time.Since(whole.At) > baseEvery || time.Until(whole.At) > clockOff || !whole.Proven || st.Lost.After(whole.At)
	if due {
		b, err := t.takeBase(ctx, k, whole)
		if ctx.Err() != nil {
			return err
		}
		t.mu.Lock()
		t.base = ""
		if err != nil && time.Since(proven.At) > baseOverdue {
			t.base = "there is no base backup that counts: " + bosman.AsError(err).Message
		}
		t.mu.Unlock()
		if err != nil {
			return err
		}
		if err := k.Forgive(b.At); err != nil {
			return err
		}
	}
	n, err := k.Prune(ctx, time.Now())
	if n > 0 {
		t.log.Info("parts of the log that no reachable moment needs were removed", "objects", n)
	}
	return err
}

func (t *timeline) own(ctx context.Context, k *archive.Keeper) (archive.System, error) {
	all, err := k.Catalogue(ctx)
	if err != nil {
		return archive.System{}, err
	}
	return k.Own(ctx, all)
}

// storedWithin bounds how long a base backup waits for its segments.
const storedWithin = 30 * time.Minute

// takeBase makes a base backup and proves it; one that is there and was not
// proven is only proven.
func (t *timeline) takeBase(ctx context.Context, k *archive.Keeper, last archive.Base) (archive.Base, error) {
	b := last
	if b.SystemID == "" || b.Proven || time.Since(b.At) > baseEvery {
		var err error
		if b, err = k.TakeBase(database.Low(ctx), last.SystemID == ""); err != nil {
			return b, err
		}
		t.log.Info("a base backup of the databases was made", "bytes", b.Stored, "took", time.Duration(b.Took))
	}
	limit := time.Now().Add(storedWithin)
	for {
		s, err := t.own(ctx, k)
		if err != nil {
			return b, err
		}
		if s.Complete(b) {
			return b, k.Prove(ctx, s, b)
		}
		if time.Now().After(limit) {
			return b, bosman.Unavailable("the segments of the log that the base backup needs are not in the target")
		}
		select {
		case <-ctx.Done():
			return b, ctx.Err()
		case <-time.After(shipEvery):
		}
	}
}

// readTimeline gives how things stood when serve noted it last; zero if it
// never did.
func readTimeline(data string) (p bosman.PointInTime) {
	b, err := os.ReadFile(timelineStatus(data))
	if err != nil || json.Unmarshal(b, &p) != nil {
		return bosman.PointInTime{}
	}
	return p
}

// timelineFindings say for the doctor how keeping the log goes, as serve noted
// it last.
func timelineFindings(opt Options) []finding {
	p := readTimeline(opt.Data)
	switch {
	case !p.On:
		return nil // it was not switched on when serve ran last
	case p.Trouble != "":
		return []finding{{false, "not every moment of the databases can be recovered: " + p.Trouble, "see that the backup target can be written: bosman backup points"}}
	case len(p.Spans) == 0:
		return []finding{{false, "no moment of the databases can be recovered yet: there is no base backup", "wait some minutes, then: bosman backup points"}}
	}
	last := p.Spans[len(p.Spans)-1]
	return []finding{{true, fmt.Sprintf("the databases can be recovered at every moment from %s to %s", last.From.Format(time.DateTime), last.To.Format(time.DateTime)+" UTC"), ""}}
}

// --- recoveries
