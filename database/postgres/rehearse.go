package postgres

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

var _ database.Recorder = (*Engine)(nil)

const maxLog = 64 << 20 // read of the server's log

// Record implements database.Recorder: the server logs the statements that
// change the schema (log_statement=ddl) and how long each took, for this
// database alone; locks are read from pg_locks every few milliseconds.
func (e *Engine) Record(ctx context.Context, d bosman.Database, fn func(context.Context) error) (rec database.Recording, done, err error) {
	c, err := e.reach(d)
	if err != nil {
		return rec, nil, err
	}
	doing := "record what is done to " + d.Name
	err = c.with(ctx, d.Name, doing, func(conn *pgx.Conn) error {
		// Both connections are older than the settings and do not log.
		return c.with(ctx, d.Name, doing, func(looking *pgx.Conn) error {
			rec, done, err = c.record(ctx, conn, looking, d, fn)
			return err
		})
	})
	return rec, done, err
}

func (c *Cluster) record(ctx context.Context, conn, looking *pgx.Conn, d bosman.Database, fn func(context.Context) error) (rec database.Recording, done, err error) {
	begin, err := logEnd(ctx, conn)
	if err != nil {
		return rec, nil, err
	}
	w := &lockWatch{conn: looking, user: d.User, pids: map[int32]bool{}}
	if err := w.begin(ctx); err != nil {
		return rec, nil, err
	}
	for _, setting := range []string{"log_statement = 'ddl'", "log_duration = on"} {
		if _, err := conn.Exec(ctx, "ALTER DATABASE "+quote(d.Name)+" SET "+setting); err != nil {
			return rec, nil, err
		}
	}
	watched, done := database.While(ctx, w.look, fn)
	// The texts are wanted also when fn was cut short.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	_, err = conn.Exec(end, "ALTER DATABASE "+quote(d.Name)+" RESET ALL")
	rec.Locks = w.held.Locks()
	if lerr := c.readLog(end, conn, begin, d, w.pids, &rec); err == nil {
		err = lerr
	}
	rec.Sessions = len(w.pids)
	return rec, done, errors.Join(err, watched)
}

// logPlace is a place in the server's log.
type logPlace struct {
	file string
	at   int64
}

func logEnd(ctx context.Context, conn *pgx.Conn) (p logPlace, err error) {
	var file *string
	if err := conn.QueryRow(ctx, "SELECT pg_current_logfile()").Scan(&file); err != nil {
		return p, err
	}
	if file == nil {
		return p, bosman.Unavailable("the database server keeps no log to read statements from")
	}
	p.file = *file
	return p, conn.QueryRow(ctx, "SELECT (pg_stat_file($1)).size", p.file).Scan(&p.at)
}

// readLog reads what the server logged of d since a place, up to a mark that
// it is asked to log now: its collector lags.
func (c *Cluster) readLog(ctx context.Context, conn *pgx.Conn, from logPlace, d bosman.Database, pids map[int32]bool, rec *database.Recording) error {
	mark := "bosman-mark-" + strings.ToLower(rand.Text())
	if _, err := conn.Exec(ctx, "DO $$ BEGIN RAISE LOG '"+mark+"'; END $$"); err != nil {
		return err
	}
	now, err := logEnd(ctx, conn)
	if err != nil {
		return err
	}
	places := []logPlace{from}
	if now.file != from.file { // a new day began meanwhile
		places = append(places, logPlace{file: now.file})
	}
	l := &logReader{user: d.User, database: d.Name, pids: pids, rec: rec, open: map[string]int{}}
	for n, p := range places {
		r := &serverFile{ctx: ctx, conn: conn, place: p, follow: n == len(places)-1}
		if err := l.read(r, mark); err != nil {
			return err
		}
	}
	return nil
}

// serverFile reads a file through the server, which owns it.
type serverFile struct {
	ctx    context.Context
	conn   *pgx.Conn
	place  logPlace
	follow bool // wait at the end for more
	read   int64
	rest   []byte
}

// Read implements io.Reader.
func (f *serverFile) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		if f.read >= maxLog {
			return 0, errLogTooLong
		}
		if err := f.conn.QueryRow(f.ctx, "SELECT pg_read_binary_file($1, $2, 262144)", f.place.file, f.place.at).Scan(&f.rest); err != nil {
			return 0, err
		}
		f.place.at += int64(len(f.rest))
		f.read += int64(len(f.rest))
		if len(f.rest) > 0 {
			break
		}
		if !f.follow {
			return 0, io.EOF
		}
		select {
		case <-f.ctx.Done():
			return 0, f.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

var errLogTooLong = errors.New("the log is too long")

// logReader makes a recording of log lines.
type logReader struct {
	user, database string
	pids           map[int32]bool
	rec            *database.Recording
	open           map[string]int // pid → its statement that has not ended, 1 and up
	last           int            // the statement that goes on in the next lines
}

var (
	logLine  = regexp.MustCompile(`^\S+ \S+ \S+ \[(\d+)\] (\S+)@(\S+) ([A-Z]+):  (.*)$`)
	logOther = regexp.MustCompile(`^\d{4}-\d\d-\d\d \S+ \S+ \[\d+\] `)
	logText  = regexp.MustCompile(`^(?:statement|execute [^:]*): (.*)$`)
	logTook  = regexp.MustCompile(`^duration: ([0-9.]+) ms`)
)

func (l *logReader) read(r io.Reader, mark string) error {
	b := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := readLine(b)
		switch {
		case errors.Is(err, errLogTooLong):
			l.rec.Cut = true
			return nil
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case strings.Contains(line, mark):
			return nil
		}
		l.line(line)
	}
}

// readLine reads a line and keeps its beginning.
func readLine(b *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := b.ReadSlice('\n')
		if room := database.MaxStatementText - len(line); room > 0 {
			line = append(line, part[:min(room, len(part))]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return strings.TrimRight(string(line), "\n"), err
		}
	}
}

func (l *logReader) line(line string) {
	m := logLine.FindStringSubmatch(line)
	if m == nil || m[2] != l.user || m[3] != l.database {
		if l.last > 0 && strings.HasPrefix(line, "\t") { // a statement of several lines
			st := &l.rec.Statements[l.last-1]
			if len(st.SQL) < database.MaxStatementText {
				st.SQL += "\n" + line[1:]
			}
		} else if logOther.MatchString(line) {
			l.last = 0
		}
		return
	}
	pid, level, text := m[1], m[4], m[5]
	l.last = 0
	if n, err := strconv.ParseInt(pid, 10, 32); err == nil {
		l.pids[int32(n)] = true
	}
	switch {
	case level == "ERROR" || level == "FATAL":
		if n := l.open[pid]; n > 0 && level == "ERROR" {
			l.rec.Statements[n-1].Failed, l.rec.Statements[n-1].Error = true, text
		}
		delete(l.open, pid)
	case level != "LOG":
	case logText.MatchString(text):
		if len(l.rec.Statements) >= database.MaxStatements {
			l.rec.Cut = true
			delete(l.open, pid)
			return
		}
		l.rec.Statements = append(l.rec.Statements, bosman.RanStatement{SQL: logText.FindStringSubmatch(text)[1]})
		l.last = len(l.rec.Statements)
		l.open[pid] = l.last
	case logTook.MatchString(text):
		ms, err := strconv.ParseFloat(logTook.FindStringSubmatch(text)[1], 64)
		if err != nil {
			return
		}
		took := time.Duration(ms * float64(time.Millisecond))
		if n := l.open[pid]; n > 0 {
			l.rec.Statements[n-1].Took = took
			delete(l.open, pid)
			return
		}
		l.rec.Others++
		l.rec.OthersTook += took
	}
}

// lockWatch sees who is connected and what locks are held on tables that were
// there before.
type lockWatch struct {
	conn   *pgx.Conn
	user   string
	tables map[uint32]string
	pids   map[int32]bool
	held   database.Held
}

func (w *lockWatch) begin(ctx context.Context) error {
	rows, err := w.conn.Query(ctx, `SELECT c.oid, n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%'`)
	if err != nil {
		return err
	}
	w.tables = map[uint32]string{}
	var oid uint32
	var name string
	_, err = pgx.ForEachRow(rows, []any{&oid, &name}, func() error {
		w.tables[oid] = name
		return nil
	})
	return err
}

func (w *lockWatch) look(ctx context.Context) error {
	rows, err := w.conn.Query(ctx, `SELECT a.pid, coalesce(l.relation, 0)::int8, coalesce(l.mode, '')
		FROM pg_stat_activity a LEFT JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted AND l.database = a.datid
			AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
		WHERE a.datname = current_database() AND a.usename = $1`, w.user)
	if err != nil {
		return err
	}
	var seen []database.SeenLock
	var pid int32
	var relation int64
	var mode string
	if _, err := pgx.ForEachRow(rows, []any{&pid, &relation, &mode}, func() error {
		w.pids[pid] = true
		if table, known := w.tables[uint32(relation)]; known {
			seen = append(seen, database.SeenLock{Table: table, Mode: mode, Rank: lockRank[mode], Stops: lockStops[mode]})
		}
		return nil
	}); err != nil {
		return err
	}
	w.held.Look(time.Now(), seen)
	return nil
}

// The locks that stop others, weakest first; see "Explicit Locking" in
// PostgreSQL's documentation.
var (
	lockRank  = map[string]int{"ShareUpdateExclusiveLock": 1, "ShareLock": 2, "ShareRowExclusiveLock": 3, "ExclusiveLock": 4, "AccessExclusiveLock": 5}
	lockStops = map[string]string{"ShareLock": "writes", "ShareRowExclusiveLock": "writes", "ExclusiveLock": "writes", "AccessExclusiveLock": "reads and writes"}
)
