package postgres

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// What a Main cluster does so that its log (WAL) can be kept elsewhere: each
// finished segment is copied into Cluster.Spool, from where package archive
// takes it. Archiving is always on, so that beginning to keep the log needs no
// restart; while nobody keeps it, segments are not copied anywhere.

// segmentTimeout is after how many seconds a segment that holds something is
// finished though it is not full: what is written is in the spool by then.
const segmentTimeout = 60

// LostFile is the file in the spool that names segments which were let go since
// the spool was full: what was written between them and the next base backup is not kept.
const LostFile = ".lost"

// archiveScript copies a segment. It is a script and not a call of our own
// program, which the server's user may not be able to run and which an upgrade
// replaces. It succeeds only once the segment is on the disk under its name,
// with the time of its last write. A spool that is full must not fill the disk
// of live: then the segment is let go and LostFile says so.
const archiveScript = `#!/bin/sh
# Written by Bosman at each start; changes here are lost.
set -eu
umask 077
spool=%s most=%d from=$1 name=$2
part=$spool/.$name.part
if [ -e "$spool/$name" ]; then
	cmp -s "$from" "$spool/$name" && exit 0
	echo "another $name waits in $spool" >&2
	exit 1
fi
set -- "$spool"/*
if [ $# -ge "$most" ]; then
	echo "$name" >>"$spool/` + LostFile + `"
	sync "$spool/` + LostFile + `" "$spool"
	exit 0
fi
cp -p "$from" "$part"
sync "$part"
mv -f "$part" "$spool/$name"
sync "$spool"
`

// Bounds of a spool: a tenth of its disk, but not more than spoolMost, and room
// for the busiest minutes.
const (
	spoolMost  = 16 << 30
	spoolLeast = 256 << 20
)

func (c *Cluster) archivePath() string { return filepath.Join(c.Dir, "archive.sh") }

// logSettings are the settings that have to do with keeping the log.
func (c *Cluster) logSettings() [][2]string {
	command := "/bin/true"
	if c.Spool != "" {
		command = "/bin/sh " + strings.ReplaceAll(shellQuote(c.archivePath()), "%", "%%") + " %p %f"
	}
	s := [][2]string{{"archive_mode", "on"}, {"archive_command", quoteConf(command)}}
	if c.Spool != "" {
		s = append(s, [2]string{"archive_timeout", strconv.Itoa(segmentTimeout)})
	}
	return s
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// makeSpool makes the spool and the script that fills it.
func (c *Cluster) makeSpool() error {
	if c.Spool == "" || c.Profile != Main {
		return nil
	}
	if err := c.owner.Own(c.Spool, 0o700); err != nil {
		return err
	}
	most := c.SpoolMost
	if most <= 0 {
		_, size, err := disk(c.Dir)
		if err != nil {
			return err
		}
		most = max(spoolLeast, min(spoolMost, size/10))
	}
	text := fmt.Sprintf(archiveScript, shellQuote(c.Spool), max(1, most/segmentBytes))
	return ground.IOError("write the script that keeps the log", c.Dir, atomicfile.Write(c.archivePath(), []byte(text), 0o755))
}

// segmentBytes is how much a segment of a Main cluster's log holds.
const segmentBytes = 16 << 20

// Reload lets the running server follow the fields of c, by which it is to be
// told to keep its log or not. A server that was started by an older Bosman is
// restarted once.
func (c *Cluster) Reload(ctx context.Context) (restarted bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.configure(); err != nil {
		return false, err
	}
	var mode string
	err = c.with(ctx, "postgres", "configure database cluster "+c.Name, func(conn *pgx.Conn) error {
		if err := run(ctx, conn, "SELECT pg_reload_conf()"); err != nil {
			return err
		}
		return conn.QueryRow(ctx, "SELECT current_setting('archive_mode')").Scan(&mode)
	})
	if err != nil || mode != "off" || c.Spool == "" {
		return false, err
	}
	c.talking.lock()
	if c.line != nil {
		c.hangUp(ctx)
	}
	c.talking.give()
	if out, err := c.asOwner(ctx, "pg_ctl", "restart", "-D", c.dataDir(), "-l", filepath.Join(c.logDir(), "start.log"), "-m", "fast", "-w", "-t", "60"); err != nil {
		return true, c.down("restart it", fmt.Errorf("%w: %s", err, out))
	}
	return true, c.await(ctx, time.Minute)
}

// SystemID is what a cluster is known by in its own files, for ever.
func (c *Cluster) SystemID(ctx context.Context) (id string, err error) {
	err = c.talk(ctx, "ask who it is", func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&id)
	})
	return id, err
}

// Secret is what the passwords of the cluster's roles are derived from: with
// it a copy of its files can be entered. "" before Ensure.
func (c *Cluster) Secret() string { return c.secret }

// LogPlace is a place in a server's log, at a moment.
type LogPlace struct {
	LSN string // "0/16B3D80"
	At  time.Time
}

// MarkLog writes a restore point of that name into the log and finishes the
// segment, so that it is kept at once.
func (c *Cluster) MarkLog(ctx context.Context, name string) (p LogPlace, err error) {
	err = c.talk(ctx, "name a restore point", func(conn *pgx.Conn) error {
		if err := conn.QueryRow(ctx, "SELECT pg_create_restore_point($1)::text, clock_timestamp()", name).Scan(&p.LSN, &p.At); err != nil {
			return err
		}
		return run(ctx, conn, "SELECT pg_switch_wal()")
	})
	p.At = p.At.UTC()
	return p, err
}

// FinishSegment finishes the present segment of the log, if it holds anything,
// and gives the end of the last finished one: everything that was done at that
// moment lies before it.
func (c *Cluster) FinishSegment(ctx context.Context) (p LogPlace, err error) {
	err = c.talk(ctx, "finish a segment of the log", func(conn *pgx.Conn) error {
		// One after the other: what is done in between is in the log.
		if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&p.At); err != nil {
			return err
		}
		return conn.QueryRow(ctx, "SELECT pg_switch_wal()::text").Scan(&p.LSN)
	})
	p.At = p.At.UTC()
	return p, err
}

// Archiver is how the server itself says that archiving goes.
type Archiver struct {
	On       bool   // the running server copies finished segments
	Last     string // segment archived last; "" for none
	LastAt   time.Time
	Failed   string // segment that failed last
	FailedAt time.Time
	Failing  bool // the last attempt failed
}

// Archiver asks the server how archiving goes.
func (c *Cluster) Archiver(ctx context.Context) (a Archiver, err error) {
	err = c.talk(ctx, "ask how archiving goes", func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT current_setting('archive_mode') <> 'off' AND current_setting('archive_command') NOT IN ('', '(disabled)', '/bin/true'),
			coalesce(last_archived_wal, ''), coalesce(last_archived_time, 'epoch'), coalesce(last_failed_wal, ''), coalesce(last_failed_time, 'epoch')
			FROM pg_stat_archiver`).Scan(&a.On, &a.Last, &a.LastAt, &a.Failed, &a.FailedAt)
	})
	a.LastAt, a.FailedAt = a.LastAt.UTC(), a.FailedAt.UTC()
	a.Failing = a.Failed != "" && a.FailedAt.After(a.LastAt)
	return a, err
}

// Base is what is known of a base backup.
type Base struct {
	Version  string    `json:"version"` // of the server
	Start    string    `json:"start"`   // the first segment that it needs
	At       time.Time `json:"at"`      // from this moment on it can be recovered to
	LSN      string    `json:"lsn"`     // the same as a place in the log
	Segment  int64     `json:"segment"` // bytes of a segment
	Bytes    int64     `json:"bytes"`   // of its files
	SystemID string    `json:"system_id"`
}

// TakeBase writes a tar of the cluster's files, as they are while it goes on,
// to w. It waits until the segments that they need are in the spool. fast
// begins at once; else the load is spread.
func (c *Cluster) TakeBase(ctx context.Context, w io.Writer, fast bool) (b Base, err error) {
	program, err := c.baseProgram()
	if err != nil {
		return b, err
	}
	admin := c.admin("postgres")
	seen, tee := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := b.look(seen)
		seen.CloseWithError(err) // a writer goes no further; nil: it may write on into nothing
		ended <- err
	}()
	args := []string{"-D", "-", "-F", "tar", "-X", "none", "-l", "bosman", "-c", map[bool]string{true: "fast", false: "spread"}[fast], "-d", dsn(admin, false)}
	err = c.clientTo(ctx, io.MultiWriter(w, tee), admin, c.Dir, program, args...)
	tee.CloseWithError(err) // nil is the end
	if lerr := <-ended; err == nil {
		err = lerr
	}
	if err != nil {
		return b, err
	}
	if b.Start == "" {
		return b, bosman.Internal("the base backup of %s does not say where it begins", c.Name)
	}
	err = c.talk(ctx, "ask where the base backup ended", func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT current_setting('server_version'),
			(SELECT bytes_per_wal_segment FROM pg_control_init()), (SELECT system_identifier::text FROM pg_control_system())`).
			Scan(&b.Version, &b.Segment, &b.SystemID)
	})
	if err != nil {
		return b, err
	}
	end, err := c.FinishSegment(ctx)
	b.At, b.LSN = end.At, end.LSN
	return b, err
}

// baseProgram finds a pg_basebackup that fits the server.
func (c *Cluster) baseProgram() (string, error) {
	dirs := []string{c.BinDir}
	if k, err := Dumper(c.major(), c.clients()); err == nil {
		dirs = append(dirs, k.Dir)
	}
	for _, dir := range dirs {
		program := filepath.Join(dir, "pg_basebackup")
		if _, err := os.Stat(program); err == nil {
			return program, nil
		}
	}
	return "", ground.Missing("pg_basebackup", fmt.Sprintf("postgresql-client-%d", c.major()))
}

// look reads the tar of a base backup to its end.
func (b *Base) look(r io.Reader) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r) // what pads it
			return err
		}
		if err != nil {
			return err
		}
		b.Bytes += h.Size
		if filepath.Clean(h.Name) != "backup_label" {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(t, 1<<16))
		if err != nil {
			return err
		}
		b.Start = startOf(string(text))
	}
}

// startOf gives the segment that the label of a base backup begins with:
// "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)".
func startOf(label string) string {
	_, rest, ok := strings.Cut(label, "START WAL LOCATION: ")
	if !ok {
		return ""
	}
	_, rest, ok = strings.Cut(rest, "(file ")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, ")")
	return name
}
