package database

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Promoter is an engine that makes a golden copy of a database which it
// restored on trial, without copying it once more.
type Promoter interface {
	// Promote makes trial, a database of this engine that was restored from a
	// backup of from and compared with it, the newest golden copy of from,
	// masked before like any other. trial is gone then. made is false, and
	// trial as it was, if there is a golden copy that is as new. With an error
	// and without made the caller drops trial, which may be half masked.
	Promote(ctx context.Context, trial, from bosman.Database, p Promotion) (g Golden, made bool, err error)
}

// Marked notes in a backup of one database how far the writing to its source
// has come, by what its engine tells states apart.
func Marked(info *BackupInfo, state any) error {
	b, err := json.Marshal(state)
	info.Marks = map[string]string{"": string(b)}
	return err
}

// MarkOf reads what Marked noted. A backup of before says nothing, and what is
// made of it counts as written to since: the zero state.
func MarkOf[T any](text string) (state T) {
	var zero T
	if json.Unmarshal([]byte(text), &state) != nil {
		return zero
	}
	return state
}

// Promotion says what a database restored on trial holds.
type Promotion struct {
	Backup  int               // its number
	Release int               // that the source ran
	TakenAt time.Time         // the moment of the data
	Marks   map[string]string // BackupInfo.Marks
	Took    time.Duration     // to back up and to restore: what another golden copy would take
}

// Copy is what is known of the golden copy that becomes of it: of the database
// source, bytes large.
func (p Promotion) Copy(source string, bytes int64) bosman.CopyInfo {
	return bosman.CopyInfo{From: source, TakenAt: p.TakenAt, Release: p.Release, Strategy: StrategyRestored, Took: p.Took, Bytes: bytes, Backup: p.Backup}
}

// StrategyRestored is what CopyInfo says of a golden copy that was restored
// from a backup to prove it.
const StrategyRestored = "restored"

// Drilled is what came of a Drill.
type Drilled struct {
	Manifest Manifest
	ProvenAt time.Time // when the backup was proven; zero if it was not
	Made     bool      // what was restored became Golden
	Golden   Golden
	Why      error // why it did not, if it should have; it is no fault of the backup
}

// Drill proves the backup at a place as Verify does, by a restore on the
// engine of the copies of from; what was restored becomes the newest golden
// copy of from, where that engine is a Promoter and the backup is newer than
// the golden copies there are. The proof is written before, and does not
// depend on it.
func (k *Keeper) Drill(ctx context.Context, at Place, every bool, copies Engine, from bosman.Database) (d Drilled, err error) {
	p, ok := copies.(Promoter)
	if ok {
		d, err = k.drill(ctx, at, every, copies, p, from)
		if err == nil || copies == k.Scratch || bosman.KindOf(err) != bosman.KindUnavailable || ctx.Err() != nil {
			return d, err
		}
		d = Drilled{Why: err} // where copies live there is no room for it, or nothing works
	}
	if d.Manifest, err = k.Verify(ctx, at, every); err == nil {
		d.ProvenAt = time.Now().UTC()
	}
	return d, err
}

func (k *Keeper) drill(ctx context.Context, at Place, every bool, copies Engine, p Promoter, from bosman.Database) (d Drilled, err error) {
	if d.Manifest, err = k.proveFiles(ctx, at, every); err != nil {
		return d, err
	}
	m, begun := d.Manifest, time.Now()
	var trial bosman.Database
	if m.Database != nil {
		if trial, err = k.restoreInto(ctx, at, m, copies, trialName(m.Instance)); err != nil {
			return d, err
		}
	}
	restored := time.Since(begun)
	err = writeProof(ctx, at, m)
	if err == nil {
		d.ProvenAt = time.Now().UTC()
		err = faults.Point("database.drill.proven")
	}
	if m.Database == nil {
		return d, err
	}
	if err == nil {
		d.Golden, d.Made, d.Why = p.Promote(ctx, trial, from, Promotion{
			Backup: m.Number, Release: m.Release, TakenAt: m.Database.TakenAt, Marks: m.Database.Marks, Took: m.Took + restored,
		})
	}
	if d.Made {
		return d, nil
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if derr := copies.Drop(end, trial); derr != nil {
		logger(k.Log).Warn("a backup on trial is left behind; it goes at the next start", "database", trial.Name, "err", derr)
		d.Why = errors.Join(d.Why, derr)
	}
	return d, err
}
