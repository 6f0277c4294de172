package mariadb

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

var _ database.Recorder = (*Engine)(nil)

const maxLogged = 200_000 // statements read of the server's log

// Record implements database.Recorder: the server writes all statements of new
// sessions (general_log) and how long each took (slow_query_log) into tables;
// the texts of those that do not change the schema are read no further than
// their first word. Locks are read from metadata_lock_info every few
// milliseconds, and which statements failed from what sql_errlog wrote, where
// the server has those plugins.
func (e *Engine) Record(ctx context.Context, d bosman.Database, fn func(context.Context) error) (rec database.Recording, done, err error) {
	c, err := e.reach(d)
	if err != nil {
		return rec, nil, err
	}
	doing := "record what is done to " + d.Name
	err = c.with(ctx, "", doing, func(conn *sql.Conn) error {
		return c.with(ctx, "", doing, func(looking *sql.Conn) error {
			rec, done, err = c.record(ctx, conn, looking, d, fn)
			return err
		})
	})
	return rec, done, err
}

// The settings of a recording, and those without one.
var (
	recordOn  = []string{"SET GLOBAL log_output = 'TABLE', long_query_time = 0, log_slow_filter = '', slow_query_log = ON, general_log = ON"}
	recordOff = []string{
		"SET GLOBAL general_log = OFF, slow_query_log = OFF, long_query_time = 10, log_output = 'FILE'",
		"TRUNCATE TABLE mysql.general_log", "TRUNCATE TABLE mysql.slow_log",
	}
)

func (c *Cluster) record(ctx context.Context, conn, looking *sql.Conn, d bosman.Database, fn func(context.Context) error) (rec database.Recording, done, err error) {
	w, err := newLockWatch(ctx, looking, d)
	if err != nil {
		return rec, nil, err
	}
	failed, err := c.openErrorLog(ctx, conn)
	if err != nil {
		return rec, nil, err
	}
	defer func() {
		off, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		err = errors.Join(err, run(off, conn, recordOff...), c.closeErrorLog(off, conn))
	}()
	if err := run(ctx, conn, slices.Concat(recordOff, recordOn)...); err != nil { // a killed Bosman may have left some
		return rec, nil, err
	}
	watched, done := database.While(ctx, w.look, fn)
	// The texts are wanted also when fn was cut short.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	rec.Locks, rec.Blind = w.held.Locks(), w.blind
	if failed.path == "" {
		rec.Blind = strings.TrimSpace(rec.Blind + " Which statement failed is not seen: this MariaDB has no plugin sql_errlog.")
	}
	return rec, done, errors.Join(readLog(end, conn, d, failed, &rec), watched)
}

// forgetRecording ends what a killed Bosman was recording: the server would go
// on to write all statements of all sessions into its tables.
func (c *Cluster) forgetRecording(ctx context.Context) error {
	return c.with(ctx, "", "end a recording", func(conn *sql.Conn) error {
		on, err := column(ctx, conn, "SELECT 1 FROM DUAL WHERE @@general_log OR @@slow_query_log")
		if err != nil || len(on) == 0 {
			return err
		}
		return errors.Join(run(ctx, conn, recordOff...), c.closeErrorLog(ctx, conn))
	})
}

// logged is a statement as the server's log tells it.
type logged struct {
	thread, text string
}

// readLog reads what d's user did.
func readLog(ctx context.Context, conn *sql.Conn, d bosman.Database, failed errorLog, rec *database.Recording) error {
	from := " WHERE user_host LIKE " + literal(strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`).Replace(d.User)+"[%")
	took, err := tookOf(ctx, conn, from)
	if err != nil {
		return err
	}
	rows, err := table(ctx, conn, "SELECT thread_id, command_type, LEFT(CONVERT(argument USING utf8mb4), "+strconv.Itoa(database.MaxStatementText)+") FROM mysql.general_log"+from+
		" LIMIT "+strconv.Itoa(maxLogged))
	if err != nil {
		return err
	}
	threads, ran := map[string]bool{}, map[string]bool{}
	for _, r := range rows {
		thread, kind, text := r[0], r[1], r[2]
		threads[thread] = true
		if kind != "Query" && kind != "Execute" {
			continue
		}
		l := logged{thread, text}
		var d time.Duration
		if len(took[l]) > 0 {
			d, took[l] = took[l][0], took[l][1:]
		}
		switch {
		case !changesSchema(text):
			rec.Others++
			rec.OthersTook += d
		case len(rec.Statements) >= database.MaxStatements:
			rec.Cut = true
		default:
			ran[text] = true
			rec.Statements = append(rec.Statements, bosman.RanStatement{SQL: text, Took: d})
		}
	}
	rec.Sessions, rec.Cut = len(threads), rec.Cut || len(rows) == maxLogged
	failures, err := failed.failures(d.User, func(text string) bool { return ran[text] })
	markFailed(rec.Statements, failures)
	return err
}

// tookOf gives how long statements took, in order for each thread and text.
func tookOf(ctx context.Context, conn *sql.Conn, from string) (map[logged][]time.Duration, error) {
	rows, err := table(ctx, conn, "SELECT thread_id, CAST(TIME_TO_SEC(query_time) * 1000000 AS SIGNED), LEFT(CONVERT(sql_text USING utf8mb4), "+strconv.Itoa(database.MaxStatementText)+") FROM mysql.slow_log"+from+
		" LIMIT "+strconv.Itoa(maxLogged))
	out := map[logged][]time.Duration{}
	for _, r := range rows {
		micro, err := strconv.ParseInt(r[1], 10, 64)
		if err != nil {
			return nil, bosman.Internal("the server's log says that a statement took %q", r[1]).Because(err)
		}
		l := logged{r[0], r[2]}
		out[l] = append(out[l], time.Duration(micro)*time.Microsecond)
	}
	return out, err
}

// changesSchema says by its first word whether a statement changes the schema.
func changesSchema(text string) bool {
	for {
		text = strings.TrimLeft(text, " \t\r\n(;")
		var skipped bool
		switch {
		case strings.HasPrefix(text, "/*"):
			_, text, skipped = strings.Cut(text, "*/")
		case strings.HasPrefix(text, "--"), strings.HasPrefix(text, "#"):
			_, text, skipped = strings.Cut(text, "\n")
		default:
			end := strings.IndexFunc(text, func(r rune) bool { return (r|0x20) < 'a' || (r|0x20) > 'z' })
			if end < 0 {
				end = len(text)
			}
			switch strings.ToUpper(text[:end]) {
			case "CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE":
				return true
			}
			return false
		}
		if !skipped {
			return false
		}
	}
}

// lockWatch sees what locks d's user holds on tables that were there before.
type lockWatch struct {
	conn   *sql.Conn
	d      bosman.Database
	tables map[string]bool
	blind  string // why it sees nothing
	held   database.Held
}

func newLockWatch(ctx context.Context, conn *sql.Conn, d bosman.Database) (*lockWatch, error) {
	w := &lockWatch{conn: conn, d: d, tables: map[string]bool{}}
	names, err := column(ctx, conn, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?", d.Name)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		w.tables[n] = true
	}
	there, err := column(ctx, conn, "SELECT PLUGIN_NAME FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'METADATA_LOCK_INFO' AND PLUGIN_STATUS = 'ACTIVE'")
	if err != nil || len(there) > 0 {
		return w, err
	}
	if _, err := conn.ExecContext(ctx, "INSTALL SONAME 'metadata_lock_info'"); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		w.blind = "Locks are not seen: this MariaDB has no plugin metadata_lock_info."
	}
	return w, nil
}

// lockStops are the locks of tables that stop others; see "Metadata Locking"
// in MariaDB's documentation.
var lockStops = map[string]database.SeenLock{
	"MDL_SHARED_READ_ONLY":     {Rank: 1, Stops: "writes"},
	"MDL_SHARED_NO_WRITE":      {Rank: 2, Stops: "writes"},
	"MDL_SHARED_NO_READ_WRITE": {Rank: 3, Stops: "reads and writes"},
	"MDL_EXCLUSIVE":            {Rank: 4, Stops: "reads and writes"},
}

func (w *lockWatch) look(ctx context.Context) error {
	if w.blind != "" {
		return nil
	}
	rows, err := table(ctx, w.conn, `SELECT m.TABLE_NAME, m.LOCK_MODE FROM information_schema.METADATA_LOCK_INFO m
		JOIN information_schema.PROCESSLIST p ON p.ID = m.THREAD_ID WHERE p.USER = ? AND m.TABLE_SCHEMA = ? AND m.LOCK_TYPE = 'Table metadata lock'`, w.d.User, w.d.Name)
	if err != nil {
		return err
	}
	var seen []database.SeenLock
	for _, r := range rows {
		if l, stops := lockStops[r[1]]; stops && w.tables[r[0]] {
			l.Table, l.Mode = r[0], strings.TrimPrefix(r[1], "MDL_")
			seen = append(seen, l)
		}
	}
	w.held.Look(time.Now(), seen)
	return nil
}
