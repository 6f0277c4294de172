package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"time"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	bosman "github.com/bosman-cd/bosman"
)

// The backup API copies so many pages at a time: 4 MB of the usual ones.
const pagesAtOnce = 1024

// maxRestarts is how often a copy may begin anew because somebody wrote;
// then the rest is done at one go, and writers wait.
const maxRestarts = 5

// maxBusy is how long a writer is waited for.
const maxBusy = 10 * time.Second

func isBusy(err error) bool {
	var s *driver.Error
	return errors.As(err, &s) && (s.Code()&0xff == lib.SQLITE_BUSY || s.Code()&0xff == lib.SQLITE_LOCKED)
}

// pagesInto writes a copy as of one moment with SQLite's backup API, page by
// page: what VACUUM INTO would number anew or pack stays as it is. In WAL mode
// the moment is held and writers go on. In other modes a reader would stop
// them, so they are let in between the pages and the copy begins anew if they
// wrote.
func pagesInto(ctx context.Context, src, dst string) error {
	const doing = "copy the database"
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return trouble(doing, err)
	}
	if err := f.Close(); err != nil {
		return trouble(doing, err)
	}
	return with(ctx, src, doing, func(conn *sql.Conn) error {
		var mode string
		if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
			return err
		}
		if mode != "wal" {
			return copyPages(ctx, conn, dst)
		}
		var n int
		if err := run(ctx, conn, "BEGIN"); err != nil {
			return err
		}
		err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n) // the moment
		if err == nil {
			err = copyPages(ctx, conn, dst)
		}
		return errors.Join(err, run(context.WithoutCancel(ctx), conn, "ROLLBACK"))
	})
}

// copyPages copies what conn sees to the file dst, which is empty.
func copyPages(ctx context.Context, conn *sql.Conn, dst string) error {
	return conn.Raw(func(c any) (err error) {
		from, ok := c.(interface {
			NewBackup(uri string) (*driver.Backup, error)
		})
		if !ok {
			return bosman.Internal("the SQLite driver has no backup API")
		}
		to := url.URL{Scheme: "file", OmitHost: true, Path: dst, RawQuery: "mode=rw"}
		b, err := from.NewBackup(to.String())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.Finish()) }()
		left, restarts, busy := -1, 0, time.Now()
		for pages := int32(pagesAtOnce); ; {
			more, err := b.Step(pages)
			if err := ctx.Err(); err != nil {
				return err
			}
			if isBusy(err) && time.Since(busy) < maxBusy {
				time.Sleep(5 * time.Millisecond) // a writer is at it
				continue
			}
			if err != nil || !more {
				return err
			}
			busy = time.Now()
			if now := b.Remaining(); left >= 0 && now > left {
				if restarts++; restarts >= maxRestarts {
					pages = -1
				}
			}
			left = b.Remaining()
		}
	})
}
