package archive

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Ship stores what lies in the spool, oldest first, and takes each file out
// once it was read back from the vault and is the same. It gives how many it
// stored. Killed anywhere, the next one goes on.
func (k *Keeper) Ship(ctx context.Context) (n int, err error) {
	all, err := k.waiting()
	if err != nil || len(all) == 0 {
		if err == nil {
			k.settle()
		}
		return 0, err
	}
	id, err := k.system(ctx)
	if err != nil {
		return 0, err
	}
	v, err := k.Vault(ctx)
	if err != nil {
		return 0, err
	}
	for _, f := range all {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if name := objectOf(f); name != "" {
			stored := false
			if isSegment(f.Name()) {
				stored, err = k.alone(ctx, v, id, f)
			}
			if err == nil && !stored {
				err = k.ship(ctx, v, root+id+name, k.spool(f.Name()))
			}
			if err != nil {
				return n, err
			}
		}
		if err := faults.Point("archive.ship.stored"); err != nil {
			return n, err
		}
		if err := os.Remove(k.spool(f.Name())); err != nil {
			return n, bosman.Unavailable("%s could not be taken out of the spool", f.Name()).Because(err)
		}
		if isSegment(f.Name()) {
			k.have(f.Name())
		}
		n++
		if err := faults.Point("archive.ship.removed"); err != nil {
			return n, err
		}
	}
	k.settle()
	return n, nil
}

// waiting lists the files in the spool, the order of the log first.
func (k *Keeper) waiting() ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(k.Cluster.Spool)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, bosman.Unavailable("the spool %s cannot be read", k.Cluster.Spool).Because(err)
	}
	var out []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err != nil {
			return nil, bosman.Unavailable("the spool %s cannot be read", k.Cluster.Spool).Because(err)
		}
		if info.Mode().IsRegular() {
			out = append(out, info)
		}
	}
	slices.SortFunc(out, func(a, b fs.FileInfo) int { return cmp.Compare(a.Name(), b.Name()) })
	return out, nil
}

// objectOf says where a file of the spool lies in the vault, below its system;
// "" for what is of no use: the notes that base backups leave, whose content is
// in base.json, and histories of timelines, of which there is one.
func objectOf(f fs.FileInfo) string {
	if point, ok := strings.CutPrefix(f.Name(), pointPrefix); ok {
		return pointPart + point
	}
	if isSegment(f.Name()) {
		return segmentPart + f.Name() + "-" + database.Stamp(f.ModTime())
	}
	return ""
}

// ship stores one file and reads it back.
func (k *Keeper) ship(ctx context.Context, v database.Vault, name, path string) error {
	want, err := sumFile(path)
	if err != nil {
		return err
	}
	_, err = v.Put(ctx, name, func(w io.Writer) error { return copyFile(w, path) })
	there := bosman.KindOf(err) == bosman.KindConflict // of before a crash, or another server's
	if err != nil && !there {
		return err
	}
	if err := faults.Point("archive.ship.put"); err != nil {
		return err
	}
	got, err := sumOf(ctx, v, name)
	if err == nil && got != want && there { // it is whole, so nothing damaged it
		err = twin(filepath.Base(path))
		k.sawTwin(err)
		return err
	}
	if bosman.KindOf(err) == bosman.KindFailed || err == nil && got != want {
		// It is not what was written; the spool has it still.
		k.log().Error("what was stored of the log is damaged and is stored again", "object", name, "err", err)
		return errors.Join(bosman.Unavailable("%s came back from the target damaged", name).WithKept("it waits in the spool and is stored again").WithNext("look after the target"), v.Delete(ctx, name))
	}
	return err
}

func sumFile(path string) (out sum, err error) {
	h := sha256.New()
	err = copyFile(h, path)
	return sum(h.Sum(nil)), err
}

func copyFile(w io.Writer, path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return bosman.Unavailable("%s cannot be read", path).Because(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(w, f)
	return err
}

// Mark names the present moment: a restore point. It is in the spool when Mark
// returns.
func (k *Keeper) Mark(ctx context.Context, name string) (Point, error) {
	p := Point{Name: name}
	if err := checkPoint(name); err != nil {
		return p, err
	}
	at, err := k.Cluster.MarkLog(ctx, name)
	if err != nil {
		return p, err
	}
	p.At, p.LSN = at.At.Truncate(time.Millisecond), at.LSN
	if err := faults.Point("archive.point.made"); err != nil {
		return p, err
	}
	if err := atomicfile.Write(k.spool(pointPrefix+p.object()), nil, 0o600); err != nil {
		return p, bosman.Unavailable("the restore point %s could not be noted", name).WithKept("its moment can be reached by its time").Because(err)
	}
	return p, nil
}

// State is how keeping the log goes.
type State struct {
	Waiting int       // files in the spool
	Bytes   int64     // of them
	Since   time.Time // how long the oldest has waited
	Lost    time.Time // when segments were let go since the spool was full; zero if none were
	Server  string    // what the server says is wrong; "" for nothing
}

// State looks at the spool and asks the server.
func (k *Keeper) State(ctx context.Context) (s State, err error) {
	all, err := k.waiting()
	if err != nil {
		return s, err
	}
	for _, f := range all {
		s.Waiting++
		s.Bytes += f.Size()
		if t := f.ModTime().UTC(); s.Since.IsZero() || t.Before(s.Since) {
			s.Since = t
		}
	}
	lost, err := os.Stat(k.spool(postgres.LostFile))
	switch {
	case err == nil:
		s.Lost = lost.ModTime().UTC()
	case !errors.Is(err, fs.ErrNotExist):
		return s, bosman.Unavailable("the spool %s cannot be read", k.Cluster.Spool).Because(err)
	}
	a, err := k.Cluster.Archiver(ctx)
	if err != nil {
		return s, err
	}
	switch {
	case !a.On:
		s.Server = "the server does not keep its log"
	case a.Failing:
		s.Server = fmt.Sprintf("the server could not copy %s of its log at %s; its own log says why", a.Failed, a.FailedAt.Format("15:04:05 UTC"))
	}
	return s, nil
}

// Forgive forgets that segments were let go before a moment: a base backup
// that is newer does not need them.
func (k *Keeper) Forgive(before time.Time) error {
	path := k.spool(postgres.LostFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.ModTime().Before(before) {
		err = os.Remove(path)
	}
	if err != nil {
		return bosman.Unavailable("the spool %s cannot be used", k.Cluster.Spool).Because(err)
	}
	return nil
}
