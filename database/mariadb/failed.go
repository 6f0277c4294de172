package mariadb

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// Which statements failed is told by the plugin SQL_ERROR_LOG, which comes with
// the server (https://mariadb.com/kb/en/sql-error-log-plugin/). It writes each
// error with the statement's text to a file; it writes none but while something
// is recorded, and what it wrote is removed then.

// errorLog is that file while it is being written; "" if this server has no
// such plugin.
type errorLog struct{ path string }

// The settings of the plugin while nothing is recorded, for the server's file.
func errorLogSettings(dir string) [][2]string {
	return [][2]string{
		{"loose_sql_error_log_rate", "0"},
		{"loose_sql_error_log_filename", filepath.Join(dir, "sql_errors.log")},
		{"loose_sql_error_log_size_limit", "67108864"},
		{"loose_sql_error_log_rotations", "1"},
		{"loose_sql_error_log_warnings", "OFF"},
	}
}

// openErrorLog has the server write errors. The plugin stays, once it is there.
func (c *Cluster) openErrorLog(ctx context.Context, conn *sql.Conn) (l errorLog, err error) {
	if l, err = c.errorLog(ctx, conn); err != nil {
		return l, err
	}
	if l.path == "" {
		if _, err := conn.ExecContext(ctx, "INSTALL SONAME 'sql_errlog'"); err != nil {
			return l, ctx.Err() // this server has none
		}
		if l, err = c.errorLog(ctx, conn); err != nil || l.path == "" {
			return l, err
		}
	}
	return l, errors.Join(run(ctx, conn, "SET GLOBAL sql_error_log_rate = 0"), l.empty(), run(ctx, conn, "SET GLOBAL sql_error_log_rate = 1"))
}

// closeErrorLog ends that and removes what was written.
func (c *Cluster) closeErrorLog(ctx context.Context, conn *sql.Conn) error {
	l, err := c.errorLog(ctx, conn)
	if err != nil || l.path == "" {
		return err
	}
	return errors.Join(run(ctx, conn, "SET GLOBAL sql_error_log_rate = 0"), l.empty())
}

func (c *Cluster) errorLog(ctx context.Context, conn *sql.Conn) (l errorLog, err error) {
	is, err := table(ctx, conn, "SHOW GLOBAL VARIABLES LIKE 'sql_error_log_filename'")
	if err != nil || len(is) == 0 {
		return l, err
	}
	if l.path = is[0][1]; !filepath.IsAbs(l.path) {
		l.path = filepath.Join(c.dataDir(), l.path)
	}
	return l, nil
}

// empty leaves the file, which the server has open.
func (l errorLog) empty() error {
	left, err := filepath.Glob(l.path + ".*") // turned over
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	if terr := os.Truncate(l.path, 0); !errors.Is(terr, fs.ErrNotExist) {
		err = errors.Join(err, terr)
	}
	if err != nil {
		return bosman.Unavailable("the log of failed statements %s cannot be emptied", l.path).Because(err)
	}
	return nil
}

// failures gives what user's statements failed with, by their texts, in order:
// "error 1091: Can't DROP COLUMN `a`; check that it exists". ours says whether a text
// is one of those looked for.
func (l errorLog) failures(user string, ours func(text string) bool) (map[string][]string, error) {
	if l.path == "" {
		return nil, nil
	}
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return readFailures(f, user, ours)
}

// errorLine begins a record, which may go on in further lines:
//
//	2026-11-23 14:09:48 rms[rms] @ localhost [] ERROR 1091: Can't DROP COLUMN `a`; check that it exists : alter table t drop column a
var errorLine = regexp.MustCompile(`^\d{4}-\d\d-\d\d +\d{1,2}:\d\d:\d\d (\S*)\[\S*\] @ .*? (ERROR|WARNING) (\d+): `)

func readFailures(r io.Reader, user string, ours func(text string) bool) (map[string][]string, error) {
	out := map[string][]string{}
	b := bufio.NewReaderSize(r, 64<<10)
	var number, rest string // of the record that is being read; "" if it is another's
	finish := func() {
		if number == "" {
			return
		}
		// Neither the message nor the statement may be told by where they end.
		for at := strings.Index(rest, " : "); at >= 0; {
			text := strings.TrimSuffix(rest[at+3:], "\n")
			if text = text[:min(len(text), database.MaxStatementText)]; ours(text) {
				out[text] = append(out[text], "error "+number+": "+withoutValues(rest[:at]))
				return
			}
			next := strings.Index(rest[at+1:], " : ")
			if next < 0 {
				return
			}
			at += 1 + next
		}
	}
	for {
		line, err := b.ReadString('\n')
		if m := errorLine.FindStringSubmatchIndex(line); m != nil {
			finish()
			number, rest = "", ""
			if line[m[2]:m[3]] == user && line[m[4]:m[5]] == "ERROR" {
				number, rest = line[m[6]:m[7]], line[m[1]:]
			}
		} else if number != "" && len(rest) < 2*database.MaxStatementText {
			rest += line
		}
		if errors.Is(err, io.EOF) {
			finish()
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

// markFailed notes which of the statements failed. Of equal ones the first did:
// who tries again stops when it succeeded.
func markFailed(statements []bosman.RanStatement, failures map[string][]string) {
	for i := range statements {
		s := &statements[i]
		if f := failures[s.SQL]; len(f) > 0 {
			s.Failed, s.Error, failures[s.SQL] = true, f[0], f[1:]
		}
	}
}
