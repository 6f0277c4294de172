package postgres

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
)

// How much of the disk stays free: a tenth, or 20 GB where that is less. What
// is made in advance leaves twice as much.
const (
	spareShare = 10
	spareMost  = 20 << 30
)

// disk says how big the disk of dir is and what of it is free for us.
func disk(dir string) (free, size int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, ground.IOError("look at the disk of "+dir, dir, err)
	}
	used := s.Blocks - s.Bfree
	return int64(s.Bavail) * s.Bsize, int64(used+s.Bavail) * s.Bsize, nil
}

// spare is what must stay free on a disk of the given size.
func spare(size int64) int64 { return min(size/spareShare, spareMost) }

// Disk says what the cluster's disk has free and what Bosman leaves free of it.
func (c *Cluster) Disk() (free, leave int64, err error) {
	free, size, err := disk(c.Dir)
	return free, spare(size), err
}

// need is how much a copy of so many bytes takes in a cluster.
func (c *Cluster) need(bytes int64) int64 {
	if c.Strategy().Name == StrategyClone {
		return bytes / 50 // its blocks are shared until they are written
	}
	return bytes
}

// tight says why n further bytes do not fit, leaving factor times the spare
// room; "" if they do.
func (c *Cluster) tight(n, factor int64) (string, error) {
	free, leave, err := c.Disk()
	if err != nil || free-n >= factor*leave {
		return "", err
	}
	return fmt.Sprintf("the disk that holds %s has %s free, the copy takes %s and %s must stay free", c.Dir, size(free), size(n), size(factor*leave)), nil
}

// room refuses a copy of so many bytes that does not fit on the disk or into
// the app's quota.
func (e *Engine) room(ctx context.Context, bytes int64) error {
	n := e.home.need(bytes)
	why, err := e.home.tight(n, 1)
	if err != nil {
		return err
	}
	if why == "" && e.Quota > 0 {
		taken, err := e.taken(ctx)
		if err != nil {
			return err
		}
		if taken+n > e.Quota {
			why = fmt.Sprintf("the copies of %s take %s, the new one takes %s and together they may take %s", e.app, size(taken), size(n), size(e.Quota))
		}
	}
	if why == "" {
		return nil
	}
	return bosman.Unavailable("there is no room for another copy: %s", why).
		WithKept("what is there is untouched").
		WithNext("bosman databases --app " + e.app + " shows what takes room; remove testing instances that nobody needs: bosman instances remove NAME")
}

// taken is how many bytes the app's databases on the cluster take.
func (e *Engine) taken(ctx context.Context) (int64, error) {
	all, err := e.labels(ctx)
	var sum int64
	for _, l := range all {
		sum += l.bytes
	}
	return sum, err
}

// bytesOf is the size of a database on the disk.
func (c *Cluster) bytesOf(ctx context.Context, name string) (n int64, err error) {
	err = c.with(ctx, "postgres", "look how big "+name+" is", func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT pg_database_size($1::name)", name).Scan(&n)
	})
	return n, err
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%d MB", n>>20)
	}
	return fmt.Sprintf("%d KB", n>>10)
}

// filesOf is the folder of a database's files; "" if they are not here.
func (c *Cluster) filesOf(ctx context.Context, name string) (string, error) {
	if c.remote != nil {
		return "", nil
	}
	var oid uint32
	err := c.talk(ctx, "find the files of "+name, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT oid FROM pg_database WHERE datname = $1", name).Scan(&oid)
	})
	return filepath.Join(c.dataDir(), "base", strconv.FormatUint(uint64(oid), 10)), err
}
