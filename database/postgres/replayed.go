package postgres

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
)

// Replayed is the profile of a throw-away server that a base backup and the
// log after it become, as they were at a moment.
const Replayed Profile = "replayed"

// NewReplayed describes such a server. secret is that of the cluster whose
// base backup it is.
func NewReplayed(dir, secret string, c *Cluster) *Cluster {
	r := &Cluster{Name: "replayed", Profile: Replayed, Dir: dir, Port: 5432, secret: secret}
	if c != nil {
		r.BinDir, r.ClientDir, r.User, r.Log = c.BinDir, c.ClientDir, c.User, c.Log
	}
	return r
}

// replayedSettings: nothing of it is kept, and nothing goes out of it.
func replayedSettings() [][2]string {
	return [][2]string{
		{"shared_buffers", "64MB"},
		{"max_connections", "20"},
		{"superuser_reserved_connections", "5"},
		{"maintenance_work_mem", "64MB"},
		{"fsync", "off"},
		{"full_page_writes", "off"},
		{"wal_level", "replica"},
		{"archive_mode", "off"},
		{"hot_standby", "off"},
		{"max_wal_senders", "0"},
		{"max_replication_slots", "0"},
		{"max_logical_replication_workers", "0"},
		{"autovacuum", "off"},
		{"checkpoint_timeout", "30min"},
		{"max_wal_size", "1GB"},
		{"shared_preload_libraries", "''"},
		{"recovery_target_timeline", "'current'"},
		{"recovery_target_action", "'promote'"},
	}
}

// Unpack puts the files of a base backup into the place of the server's.
func (c *Cluster) Unpack(ctx context.Context, r io.Reader) error {
	if err := c.settle(); err != nil {
		return err
	}
	if err := c.owner.Own(c.dataDir(), 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(c.dataDir())
	if err != nil {
		return ground.IOError("unpack a base backup", c.Dir, err)
	}
	err = c.unpack(ctx, root, tar.NewReader(r))
	return ground.IOError("unpack a base backup", c.Dir, errors.Join(err, root.Close()))
}

func (c *Cluster) unpack(ctx context.Context, root *os.Root, t *tar.Reader) error {
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(h.Name)
		switch {
		case name == ".":
			continue
		case h.Typeflag == tar.TypeDir:
			err = root.Mkdir(name, 0o700)
			if errors.Is(err, fs.ErrExist) {
				err = nil
			}
		case h.Typeflag == tar.TypeReg:
			err = c.unpackFile(root, name, t)
		default: // a link to a table space: Bosman makes none
			return bosman.Failed("the base backup holds %s, which is neither a file nor a folder", name)
		}
		if err == nil && c.owner.Switched {
			err = root.Lchown(name, int(c.owner.UID), int(c.owner.GID))
		}
		if err != nil {
			return err
		}
	}
	// What somebody set by hand in the source must not reach out of here.
	for _, name := range []string{"postgresql.auto.conf", "recovery.signal"} {
		path := filepath.Join(c.dataDir(), name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), c.owner.Give(path)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) unpackFile(root *os.Root, name string, r io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// ReplayTo starts a Replayed server on what Unpack made, replays the segments
// in the folder log and comes back when it takes connections. settings say up
// to where: "recovery_target_lsn=…"; none is all there is. KindFailed if its
// process ends before: the target may lie behind what the log holds. asOf is
// the moment of its data.
func (c *Cluster) ReplayTo(ctx context.Context, log string, asOf time.Time, settings ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.settle(); err != nil {
		return err
	}
	if v, err := serverMajor(c.BinDir); err != nil || v != c.major() {
		c.BinDir = "" // its source has another version by now
	}
	if err := c.findPrograms(); err != nil {
		return err
	}
	if err := errors.Join(c.configure(), c.removeStale(), c.ground().NoteStart(os.WriteFile)); err != nil {
		return err
	}
	fetch := "cp " + strings.ReplaceAll(shellQuote(log), "%", "%%") + "/%f %p"
	settings = append([]string{"restore_command=" + fetch}, settings...)
	if err := c.spawn(ctx, settings); err != nil {
		return err
	}
	if err := c.untilReplayed(ctx); err != nil {
		return err
	}
	c.asOf = asOf.UTC()
	return c.prepare(ctx)
}

// spawnLimit is how long a new server may take to write its pid file.
const spawnLimit = 20 * time.Second

// untilReplayed waits as long as the server works; its log may be long.
func (c *Cluster) untilReplayed(ctx context.Context) error {
	begun, seen := time.Now(), false
	for !c.ready() {
		pid, err := c.runningPid()
		if err != nil {
			return err
		}
		if pid != 0 {
			seen = true
		} else if seen || time.Since(begun) > spawnLimit {
			return bosman.Failed("the log could not be replayed to its target").Because(errors.New(c.lastWords()))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// Reached says how far a Replayed server came: the last record it replayed and
// the last change that it holds.
func (c *Cluster) Reached(ctx context.Context) (p LogPlace, err error) {
	err = c.with(ctx, "postgres", "ask how far the log was replayed", func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT coalesce(pg_last_wal_replay_lsn()::text, ''), coalesce(pg_last_xact_replay_timestamp(), 'epoch')").Scan(&p.LSN, &p.At)
	})
	p.At = p.At.UTC()
	return p, err
}

// Databases counts the databases that can be entered, entering each.
func (c *Cluster) Databases(ctx context.Context) (n int, err error) {
	var names []string
	err = c.with(ctx, "postgres", "list databases", func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate")
		if err != nil {
			return err
		}
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	for _, name := range names {
		if err == nil {
			err = c.exec1(ctx, name, "look into "+name, "SELECT count(*) FROM pg_class")
		}
	}
	return len(names), err
}

// Hand gives a folder, and what is in it, to the user that the server runs as.
func (c *Cluster) Hand(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return ground.IOError("look into "+dir, dir, err)
		}
		return c.owner.Give(path)
	})
}

// Remove ends a Replayed server and removes it.
func (c *Cluster) Remove(ctx context.Context) error {
	if c.Profile != Replayed {
		return bosman.Internal("the database server %s is not one to be thrown away", c.Name)
	}
	if err := c.Halt(ctx); err != nil {
		return err
	}
	c.talking.lock()
	if c.line != nil {
		c.hangUp(ctx)
	}
	c.talking.give()
	if err := errors.Join(os.RemoveAll(ground.SocketDir(c.Dir)), os.RemoveAll(c.Dir)); err != nil {
		return ground.IOError("remove a database server that is not needed any more", c.Dir, err)
	}
	return nil
}
