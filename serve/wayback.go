package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// --- the kept copy

// Keep restores a backup on trial beside the data of i and keeps the result.
func (d *databases) Keep(ctx context.Context, i bosman.Instance, b bosman.Backup, operation int) (deploy.Kept, error) {
	k, m, err := d.of(ctx, i, i.Release)
	if err != nil {
		return deploy.Kept{}, err
	}
	at, err := d.vaults.place(ctx, b)
	if err != nil {
		return deploy.Kept{}, err
	}
	begun := time.Now()
	w, _, err := k.KeepWayBack(ctx, at, i.Name, d.snapshot(i, m), operation)
	switch {
	case bosman.KindOf(err) == bosman.KindUnavailable && ctx.Err() == nil: // the disk is full, or would be
		return deploy.Kept{Note: bosman.AsError(err).Message}, nil
	case bosman.KindOf(err) == bosman.KindInvalid: // a server where Bosman makes no databases
		return deploy.Kept{Note: bosman.AsError(err).Message}, nil
	case err != nil:
		return deploy.Kept{}, err
	}
	return kept(w.Snapshot, w.Bytes, time.Since(begun)), nil
}

func kept(s database.Snapshot, bytes int64, took time.Duration) deploy.Kept {
	return deploy.Kept{Name: cmp.Or(s.Database.Name, s.Files), Files: s.Files, Bytes: bytes, Took: took}
}

// snapshotOf is a kept copy as its keeper knows it.
func snapshotOf(i bosman.Instance, k deploy.Kept) database.Snapshot {
	s := database.Snapshot{Files: k.Files, UID: unixUser(i)}
	if k.Name != k.Files {
		s.Database = i.Database
		s.Database.Name, s.Database.Password = k.Name, ""
	}
	return s
}

// TakeKept readies a kept copy to take the place of the data of i.
func (d *databases) TakeKept(ctx context.Context, i bosman.Instance, c deploy.Kept) (deploy.Prepared, bool, error) {
	k, m, err := d.of(ctx, i, i.Release)
	if err != nil {
		return deploy.Prepared{}, false, err
	}
	switch err := k.PrepareKept(ctx, i.Name, snapshotOf(i, c), d.snapshot(i, m)); {
	case bosman.KindOf(err) == bosman.KindNotFound:
		return deploy.Prepared{}, false, nil
	case err != nil:
		return deploy.Prepared{}, false, err
	}
	db, err := place(ctx, k, i.Name)
	return deploy.Prepared{Name: i.Name, Database: db, Kept: true, Note: fmt.Sprintf("%s, ready as %s", size(c.Bytes), filepath.Base(c.Name))}, true, err
}

// Forget drops ways back of i, with what was counted for them.
func (d *databases) Forget(ctx context.Context, i bosman.Instance, which func(operation int) bool) error {
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return err
	}
	if err := k.DropWayBacks(ctx, i.Name, d.files(i), which); err != nil {
		return err
	}
	marks, err := filepath.Glob(d.markPath(i, "*"))
	if err != nil {
		return err
	}
	for _, path := range marks {
		_, ref, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".written.json"), ".d")
		if n, err := strconv.Atoi(ref); err == nil && which(n) {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// files is where an instance's files lie, whether or not its release has any.
func (d *databases) files(i bosman.Instance) string {
	return filepath.Join(instanceDir(d.data, i.App, i.Name), "data")
}

// --- what was written

// marks are the counters of writes at the moments of a deployment.
type marks struct {
	Database string                             `json:"database"` // its name and server
	At       map[deploy.Moment]time.Time        `json:"at"`
	Counts   map[deploy.Moment]map[string]int64 `json:"counts"`
	Deleted  map[deploy.Moment]map[string]int64 `json:"deleted,omitempty"`
	Traces   map[deploy.Moment]traces           `json:"traces,omitempty"` // none in marks of a Bosman that did not know them
}

func (d *databases) markPath(i bosman.Instance, operation string) string {
	return filepath.Join(d.data, "databases", i.App, "written", i.Name+"."+operation+".written.json")
}

func (d *databases) readMarks(i bosman.Instance, operation int) (marks, error) {
	m := marks{At: map[deploy.Moment]time.Time{}, Counts: map[deploy.Moment]map[string]int64{}}
	b, err := os.ReadFile(d.markPath(i, opName(operation)))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	return m, err
}

func opName(n int) string { return bosman.Ref(bosman.LetterOperation, n) }

// Mark remembers how much was written to each table until now.
func (d *databases) Mark(ctx context.Context, i bosman.Instance, operation int, moment deploy.Moment) error {
	m, err := d.readMarks(i, operation)
	if err != nil {
		return err
	}
	if _, known := m.At[moment]; known && moment != deploy.MomentMigrated {
		return nil
	}
	if moment == deploy.MomentMigrated { // its sessions report what they wrote when they end
		if _, err := d.Settled(ctx, i, m.At[deploy.MomentMigrate]); err != nil {
			return err
		}
	}
	if moment != deploy.MomentHeld {
		counts, _, err := d.counts(ctx, i)
		if err != nil {
			return err
		}
		if m.Traces == nil {
			m.Traces = map[deploy.Moment]traces{}
		}
		if err := d.markDeleted(ctx, i, &m, moment); err != nil {
			return err
		}
		if m.Traces[moment], err = d.traces(ctx, i); err != nil {
			return err
		}
		m.Counts[moment] = counts
	}
	m.At[moment], m.Database = time.Now().UTC(), i.Database.Cluster+"/"+i.Database.Name
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	path := d.markPath(i, opName(operation))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(path, b, 0o600)
}

// counts gives how much was written to each table, as its server counts; where
// it does not, the rows of each table, which changed ones do not alter: then
// all is false.
func (d *databases) counts(ctx context.Context, i bosman.Instance) (counts map[string]int64, all bool, err error) {
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil || k.Engine == nil {
		return nil, false, err
	}
	if c, ok := k.Engine.(database.ActivityCounter); ok {
		counts, err = c.Activity(ctx, i.Database)
		return counts, true, err
	}
	got, err := k.Engine.Inspect(ctx, i.Database)
	return got.Rows, false, err
}

// Written tells what was written since the backup of an operation, apart from
// what its release command wrote.
func (d *databases) Written(ctx context.Context, i bosman.Instance, operation int) (bosman.Written, error) {
	m, err := d.readMarks(i, operation)
	if err != nil || m.Counts[deploy.MomentBackup] == nil || m.Database != i.Database.Cluster+"/"+i.Database.Name {
		return bosman.Written{}, err
	}
	now, all, err := d.counts(ctx, i)
	if err != nil {
		return bosman.Written{}, err
	}
	left, err := d.traces(ctx, i)
	if err != nil {
		return bosman.Written{}, err
	}
	return m.traced(m.since(now, all), left), nil
}

// since compares the marks with the counters of now.
func (m marks) since(now map[string]int64, all bool) bosman.Written {
	w := bosman.Written{Known: true, Certain: all}
	migrate, begun := m.Counts[deploy.MomentMigrate]
	migrated, ended := m.Counts[deploy.MomentMigrated]
	_, held := m.At[deploy.MomentHeld]
	tables := maps.Clone(now)
	for table := range migrate {
		if _, still := now[table]; !still { // the command dropped it
			tables[table] = migrated[table]
		}
	}
	for table, n := range tables {
		rows := n - m.Counts[deploy.MomentBackup][table]
		if begun && ended {
			byCommand := migrated[table] - migrate[table]
			rows -= byCommand
			// Others may have written among it, unless they were kept out.
			w.Certain = w.Certain && (held || byCommand == 0)
		}
		switch {
		case rows < 0 && all: // counters never fall: it is another database, or its server began anew
			return bosman.Written{}
		case rows < 0:
			rows = -rows
		}
		if rows > 0 {
			w.Tables = append(w.Tables, bosman.TableRows{Table: table, Rows: rows})
		}
	}
	if begun && !ended { // nobody knows who wrote since
		w.Certain = false
	}
	slices.SortFunc(w.Tables, func(a, b bosman.TableRows) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), strings.Compare(a.Table, b.Table))
	})
	return w
}

// --- holding requests

// Each request waits holdWait at most, and at most holdCount wait.
const (
	holdWait  = 8 * time.Second
	holdCount = 1000
	// flightLimit bounds how long requests in flight may hold up a change of
	// places; those that last longer are cut.
	flightLimit = 3 * time.Second
)

// Hold keeps new requests waiting and lets those in flight end.
func (r *routes) Hold(ctx context.Context, i bosman.Instance, fence int, until time.Time) error {
	err := r.edge.Hold(ctx, control.Hold{App: i.App, Instance: i.Name, Operation: fence, Until: until, Wait: holdWait, Count: holdCount})
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	if err != nil || i.ProcessID == "" {
		return err
	}
	up, err := r.upstreamOf(ctx, i, i.ProcessID)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil // its release is gone, so nothing runs
	}
	if err != nil {
		return err
	}
	_, err = r.edge.Drain(ctx, i.App, i.Name, up, flightLimit)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	return err
}

// Unhold lets requests through.
func (r *routes) Unhold(ctx context.Context, i bosman.Instance, fence int) error {
	_, err := r.edge.Unhold(ctx, i.App, i.Name, fence)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	return err
}

// --- what helm asks

// Forecast says what is known beforehand of a deployment's migrations.
func (g gate) Forecast(ctx context.Context, op bosman.Operation) (deploy.Forecast, error) {
	f, err := g.Helm.Forecast(ctx, op)
	return deploy.Forecast{NotAdditive: f.NotAdditive, Text: f.Text}, err
}

// keptData looks after what was kept: helm.KeptData.
type keptData struct{ *databases }

// Kept lists what restores and fresh copies replaced, and ways back.
func (d keptData) Kept(ctx context.Context, i bosman.Instance) ([]bosman.KeptCopy, error) {
	if i.Database.Adopted() {
		return nil, nil // nothing is kept beside a database that is not ours
	}
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return nil, err
	}
	replaced, err := k.Kept(ctx, i.Name, d.files(i))
	if err != nil {
		return nil, err
	}
	out := make([]bosman.KeptCopy, 0, len(replaced))
	for _, r := range replaced {
		out = append(out, bosman.KeptCopy{App: i.App, Instance: i.Name, ID: database.Stamp(r.At), At: r.At, AsOf: r.AsOf, Database: r.Snapshot.Database.Name, Files: r.Snapshot.Files, Bytes: r.Bytes})
	}
	ways, err := k.WayBacks(ctx, i.Name, d.files(i))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(ways, func(a, b database.WayBack) int { return cmp.Compare(b.Operation, a.Operation) })
	for _, w := range ways {
		out = append(out, bosman.KeptCopy{App: i.App, Instance: i.Name, Operation: w.Operation, Database: w.Snapshot.Database.Name, Files: w.Snapshot.Files, Bytes: w.Bytes})
	}
	return out, nil
}

// DropKept drops what was kept.
func (d keptData) DropKept(ctx context.Context, i bosman.Instance, c bosman.KeptCopy) error {
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return err
	}
	return k.Drop(ctx, snapshotOf(i, deploy.Kept{Name: cmp.Or(c.Database, c.Files), Files: c.Files}))
}

var _ helm.KeptData = keptData{}
