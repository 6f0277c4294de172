// Package archive keeps the log of a durable PostgreSQL cluster (WAL) and base
// backups of its files in a vault, so that its databases can be had as they
// were at any moment of the last days, or at a restore point with a name:
//
//	server ─► spool (a finished segment, synced) ─► vault (sealed, read back) ─► window
//	                                  base backup ─► vault ─► proven by a recovery ┘
//
// A moment is reached in a throw-away server of its own: what runs is not
// touched. What lies in the vault describes itself, so it serves also when the
// server that wrote it is lost:
//
//	log/SYSTEM/base/STAMP/files         tar of the cluster's files
//	log/SYSTEM/base/STAMP/base.json     what it is; written last
//	log/SYSTEM/base/STAMP/proof         it was recovered from once
//	log/SYSTEM/segments/SEGMENT-STAMP   a segment, and the time of its last write
//	log/SYSTEM/points/STAMP_NAME_LSN    a restore point; it has no content
//	log/SYSTEM/damaged/SEGMENT-STAMP    this segment came back damaged once
//
// SYSTEM is PostgreSQL's own identifier of a cluster. The package must not know
// apps, instances, plans or permissions.
package archive

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
)

// Keeper keeps the log of one cluster. Set the exported fields, then use it;
// Ship, TakeBase and Prune each by one caller at a time.
type Keeper struct {
	Cluster *postgres.Cluster // with its Spool
	Vault   func(context.Context) (database.Vault, error)
	Dir     string        // for the throw-away server: absolute, and nobody else's
	Window  time.Duration // how far back moments can be reached
	Log     *slog.Logger

	mu      sync.Mutex
	id      string          // of the cluster
	bases   map[string]Base // read before, by name; they never change
	sums    map[string]sum  // of segments that were stored twice, by object; they never change
	stored  string          // the newest segment in the vault
	asked   mark            // what Advance asked for
	covered mark            // up to here all is in the vault
	twin    error           // another server writes the same log; nil for none seen

	working sync.Mutex // one throw-away server at a time
}

// mark is a moment, and the segment that must be stored to cover it.
type mark struct {
	segment string
	at      time.Time
}

func (k *Keeper) log() *slog.Logger {
	if k.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return k.Log
}

// system is the identifier of the cluster.
func (k *Keeper) system(ctx context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.id != "" {
		return k.id, nil
	}
	id, err := k.Cluster.SystemID(ctx)
	if err == nil {
		k.id = id
	}
	return id, err
}

// Advance finishes the present segment, so that what was done until now gets
// stored by the next Ship.
func (k *Keeper) Advance(ctx context.Context) error {
	p, err := k.Cluster.FinishSegment(ctx)
	if err != nil {
		return err
	}
	segment, err := lastBefore(p.LSN, segmentBytes)
	if err != nil {
		return err
	}
	k.mu.Lock()
	known := k.stored != ""
	k.asked = mark{segment, p.At}
	k.mu.Unlock()
	if known {
		return nil
	}
	return k.recall(ctx) // begun anew: nothing may be written for long
}

// recall finds the newest segment in the vault.
func (k *Keeper) recall(ctx context.Context) error {
	all, err := k.Catalogue(ctx)
	if err != nil {
		return err
	}
	s, err := k.Own(ctx, all)
	if n := len(s.Segments); n > 0 {
		k.have(s.Segments[n-1].Name)
	}
	return err
}

// Covered is the moment up to which all was stored when last seen; zero while
// nobody knows.
func (k *Keeper) Covered() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.covered.at
}

// have notes that a segment is in the vault.
func (k *Keeper) have(segment string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stored = max(k.stored, segment)
}

// settle compares what was asked for with what is stored. The spool is empty.
// The clock may have been set back since: the log knows what came later.
func (k *Keeper) settle() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked.segment != "" && k.stored >= k.asked.segment && k.asked.segment >= k.covered.segment {
		k.covered = k.asked
	}
}

// spool gives the path of a name in the spool.
func (k *Keeper) spool(name string) string { return filepath.Join(k.Cluster.Spool, name) }
