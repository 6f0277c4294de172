package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Copy implements database.Engine: by sharing blocks where the file system
// can, else by pages. It is of now, unless it has to be masked: then it is of
// a golden copy.
func (e *Engine) Copy(ctx context.Context, from bosman.Database, to string, opt database.CopyOptions) (bosman.Database, bosman.CopyInfo, error) {
	begun := time.Now()
	info := bosman.CopyInfo{From: opt.From, Release: opt.Release}
	if from.Engine != "sqlite" {
		return bosman.Database{}, info, bosman.Invalid("a %s database cannot be copied to SQLite", from.Engine)
	}
	if err := exists(from.Name); err != nil {
		return bosman.Database{}, info, err
	}
	masked, err := e.isMasked(ctx, from, opt.Release)
	if err != nil {
		return bosman.Database{}, info, err
	}
	if masked {
		return e.copyGolden(ctx, from, to, opt)
	}
	if opt.Accept != nil && !opt.Accept(opt.Release) {
		return bosman.Database{}, info, bosman.Conflict("the data of %s belongs to release %s, which is newer than this change", opt.From, bosman.Ref(bosman.LetterRelease, opt.Release)).
			WithKept("the instance keeps the data it has").WithNext("merge main into the branch and push it again")
	}
	d, err := e.make(ctx, to, func(file string) (label, error) {
		var err error
		info.TakenAt = time.Now().UTC()
		if info.Strategy, err = copyFile(ctx, from.Name, file); err != nil {
			return label{}, err
		}
		info.Bytes, err = sizeOf(file)
		return label{CopyInfo: info}, err
	})
	info.Took = time.Since(begun)
	return d, info, err
}

func sizeOf(file string) (int64, error) {
	stat, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return stat.Size(), nil
}

// copyFile copies the database at src to the new file dst and says how.
func copyFile(ctx context.Context, src, dst string) (strategy string, err error) {
	cloned := false
	err = quiet(ctx, src, func() error {
		// Readers may have kept part of the content in the -wal file.
		if wal, err := os.Lstat(src + "-wal"); err == nil && wal.Size() > 0 {
			return nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		cloned, err = cloneFile(src, dst)
		return err
	})
	if bosman.KindOf(err) == bosman.KindBusy {
		err = nil // a long writer: a copy by pages reads beside it
	}
	if err != nil {
		return "", err
	}
	if cloned {
		return "clone", nil
	}
	return "pages", pagesInto(ctx, src, dst)
}

// cloneFile shares the blocks of src with the new file dst; false if the file
// system cannot, and then there is no dst.
func cloneFile(src, dst string) (ok bool, err error) {
	in, err := os.OpenFile(src, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return false, err
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return true, out.Close()
	}
	return false, errors.Join(out.Close(), os.Remove(dst))
}

// Backup implements database.Engine.
func (e *Engine) Backup(ctx context.Context, d bosman.Database, dir string) (database.BackupInfo, error) {
	info := database.BackupInfo{Engine: "sqlite", TakenAt: time.Now().UTC()}
	var err error
	if info.Name, err = e.nameOf(d); err != nil {
		return info, err
	}
	state, err := settled(ctx, d.Name) // before it is read
	if err == nil {
		err = database.Marked(&info, state)
	}
	if err != nil {
		return info, err
	}
	file := filepath.Join(dir, backupName)
	if err := pagesInto(ctx, d.Name, file); err != nil {
		return info, err
	}
	if err := faults.Point("database.backup.dumped"); err != nil {
		return info, err
	}
	copied := bosman.Database{Engine: "sqlite", Name: file}
	if err := e.Check(ctx, copied); err != nil {
		return info, err
	}
	in, err := e.Inspect(ctx, copied)
	if err != nil {
		return info, err
	}
	info.Rows, info.Schema = in.Rows, in.Schema
	stat, err := os.Stat(file)
	if err != nil {
		return info, trouble("look at the backup", err)
	}
	info.Bytes = stat.Size()
	err = with(ctx, file, "look at the backup", func(conn *sql.Conn) error {
		return conn.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&info.Version)
	})
	if err != nil {
		return info, err
	}
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return info, err
	}
	return info, trouble("write what the backup holds", atomicfile.Write(filepath.Join(dir, infoName), append(b, '\n'), 0o600))
}

// Restore implements database.Engine.
func (e *Engine) Restore(ctx context.Context, dir, name string) (bosman.Database, error) {
	var info database.BackupInfo
	b, err := os.ReadFile(filepath.Join(dir, infoName))
	if err != nil {
		return bosman.Database{}, bosman.NotFound("there is no backup of a SQLite database in %s", dir).Because(err)
	}
	if err := json.Unmarshal(b, &info); err != nil || info.Engine != "sqlite" {
		return bosman.Database{}, bosman.Failed("the backup in %s is damaged: %s cannot be read", dir, infoName).Because(err)
	}
	return e.make(ctx, name, func(file string) (label, error) {
		_, err := database.CopyFile(filepath.Join(dir, backupName), file, 0o640)
		if err == nil {
			err = e.Check(ctx, bosman.Database{Engine: "sqlite", Name: file})
		}
		return label{CopyInfo: bosman.CopyInfo{From: info.Name, TakenAt: info.TakenAt, Strategy: "pages", Bytes: info.Bytes}}, err
	})
}

// Check implements database.Checker.
func (e *Engine) Check(ctx context.Context, d bosman.Database) error {
	return with(ctx, d.Name, "check database "+d.Name, func(conn *sql.Conn) error {
		var said string
		if err := conn.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&said); err != nil {
			return err
		}
		if said != "ok" {
			return bosman.Failed("the database %s is damaged", d.Name).WithNext("restore a backup").Because(errors.New(said))
		}
		return nil
	})
}

// Inspect implements database.Engine.
func (e *Engine) Inspect(ctx context.Context, d bosman.Database) (database.Inspection, error) {
	in := database.Inspection{Rows: map[string]int64{}}
	err := with(ctx, d.Name, "look into database "+d.Name, func(conn *sql.Conn) error {
		if err := run(ctx, conn, "BEGIN"); err != nil { // one snapshot
			return err
		}
		err := inspect(ctx, conn, &in)
		return errors.Join(err, run(context.WithoutCancel(ctx), conn, "ROLLBACK"))
	})
	return in, err
}

// Schema is Inspect without counting rows.
func (e *Engine) Schema(ctx context.Context, d bosman.Database) (database.Schema, error) {
	in := database.Inspection{}
	err := with(ctx, d.Name, "look into database "+d.Name, func(conn *sql.Conn) error { return inspect(ctx, conn, &in) })
	return in.Schema, err
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// inspect reads the schema and, if in.Rows is there, counts rows.
func inspect(ctx context.Context, conn *sql.Conn, in *database.Inspection) error {
	tables, err := query(ctx, conn, "SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t[0] != "table" {
			in.Schema.Objects = append(in.Schema.Objects, database.Object{Kind: t[0], Name: t[1], Def: t[2]})
			continue
		}
		columns, err := query(ctx, conn, `SELECT name, type, CASE WHEN "notnull" THEN 'not null' ELSE '' END || '|' ||
			CASE WHEN pk AND upper(type) = 'INTEGER' THEN 'identity' ELSE coalesce(dflt_value, '') END FROM pragma_table_info(?)`, t[1])
		if err != nil {
			return err
		}
		table := database.Table{Name: t[1]}
		for _, c := range columns {
			notNull, def, _ := strings.Cut(c[2], "|")
			table.Columns = append(table.Columns, database.Column{Name: c[0], Type: c[1], NotNull: notNull != "", Default: def})
		}
		in.Schema.Tables = append(in.Schema.Tables, table)
		if in.Rows == nil {
			continue
		}
		var n int64
		if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM "+quote(t[1])).Scan(&n); err != nil {
			return fmt.Errorf("count %s: %w", t[1], err)
		}
		in.Rows[t[1]] = n
	}
	in.Schema.Sort()
	return nil
}

// query gives rows of texts; NULL is "".
func query(ctx context.Context, conn *sql.Conn, q string, args ...any) (out [][]string, err error) {
	rows, err := conn.QueryContext(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := make([]string, len(columns))
		for i, v := range values {
			row[i] = v.String
		}
		out = append(out, row)
	}
	return out, rows.Err()
}
