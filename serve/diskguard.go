package serve

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// A copy is refused while the disk is too full for it, but one that was made
// can grow as long as its instance runs: a loop that inserts, an import of
// everything. Live shares the disk. So when hardly anything is free, the testing
// or preview instance whose data grew most since it was copied is stopped, and
// told why; its data stays.
const (
	guardEvery = 15 * time.Second
	guardShare = 50      // a fiftieth of the disk ...
	guardMost  = 2 << 30 // ... or 2 GB where that is less
)

// scarce is from when on the disk is nearly full.
func scarce(size int64) int64 { return min(size/guardShare, guardMost) }

// guardDisk looks at the disk again and again.
func (s *server) guardDisk(ctx context.Context) error {
	t := time.NewTicker(guardEvery)
	defer t.Stop()
	said := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(s.opt.Data, &fs); err != nil {
			continue // whatever writes there says so
		}
		free, size := int64(fs.Bavail)*fs.Bsize, int64(fs.Blocks)*fs.Bsize //nolint:gosec // no disk is that big
		if free >= scarce(size) {
			said = false
			continue
		}
		stopped, err := s.stopWhatGrew(ctx, free, scarce(size))
		if err != nil && ctx.Err() == nil {
			s.log.Warn("the disk is nearly full, and what fills it could not be looked for", "err", err)
		}
		if stopped == "" && !said && err == nil {
			said = true
			s.log.Warn("the disk is nearly full, and no testing instance grew enough to be the reason", "free", free)
		}
	}
}

// grown is an instance and what it takes.
type grown struct {
	i        bosman.Instance
	was, now int64 // bytes when it was copied, or of what it was copied from, and at present
}

// stopWhatGrew stops the running copy that grew most, if it did by as much as
// is lacking at least by a quarter; it names it.
func (s *server) stopWhatGrew(ctx context.Context, free, low int64) (string, error) {
	all, err := s.store.Instances(ctx, "")
	if err != nil {
		return "", err
	}
	type source struct{ app, name string }
	sources := map[source]int64{} // what a copy of it takes from the beginning
	for _, i := range all {
		if i.Kind != bosman.KindStaging && i.Kind != bosman.KindLive {
			continue
		}
		n, err := s.databases.taken(ctx, i)
		if err != nil {
			s.log.Warn("what an instance takes is not known", "app", i.App, "instance", i.Name, "err", err)
		}
		sources[source{i.App, i.Name}] = n
	}
	var most grown
	for _, i := range all {
		if i.Kind != bosman.KindTesting && i.Kind != bosman.KindPreview || i.Release == 0 || i.Stopped {
			continue
		}
		owner, err := s.store.Owner(ctx, i.App, i.Name)
		if err != nil {
			return "", err
		}
		if owner != 0 {
			continue // something is done to it already, perhaps this
		}
		now, err := s.databases.taken(ctx, i)
		if err != nil {
			s.log.Warn("what an instance takes is not known", "app", i.App, "instance", i.Name, "err", err)
			continue
		}
		// What is known of the copy may be its dump, which has no indexes, and
		// does not count uploaded files.
		if g := (grown{i, max(i.Copy.Bytes, sources[source{i.App, i.Copy.From}]), now}); g.now-g.was > most.now-most.was {
			most = g
		}
	}
	if most.now-most.was < low/4 || most.now == 0 {
		return "", nil
	}
	why := fmt.Sprintf("the disk has %s free, and the data of this instance grew from %s to %s; make room, then start it or reset it", size(free), size(most.was), size(most.now))
	if err := s.helm.StopForRoom(ctx, most.i, why); err != nil {
		return "", err
	}
	s.log.Warn("an instance is stopped because its data fills the disk", "app", most.i.App, "instance", most.i.Name, "was", most.was, "now", most.now, "free", free)
	return most.i.Name, nil
}

// taken is what an instance's databases and files take on the disk.
func (d *databases) taken(ctx context.Context, i bosman.Instance) (int64, error) {
	sum, err := database.FilesSize(ctx, d.filesOf(i))
	if err != nil || i.Database.Engine == "" {
		return sum, err
	}
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil || k.Engine == nil {
		return sum, err
	}
	list, err := k.Engine.List(ctx)
	for _, x := range list {
		if x.Name == i.Name {
			sum += x.Bytes
		}
	}
	return sum, err
}
