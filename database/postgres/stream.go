package postgres

import (
	"context"
	"encoding/json"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/faults"
)

// BackupTo implements database.Streamer: pg_dump's own format, uncompressed
// since whoever takes it compresses, goes through without touching a disk;
// rows are counted meanwhile in the same snapshot.
func (e *Engine) BackupTo(ctx context.Context, d bosman.Database, put func(name string, write func(io.Writer) error) error) (database.BackupInfo, error) {
	c, err := e.reach(d)
	if err != nil {
		return database.BackupInfo{}, err
	}
	info := database.BackupInfo{Engine: "postgres", Name: d.Name}
	if err := c.mark(ctx, d.Name, &info); err != nil {
		return info, err
	}
	err = c.with(ctx, d.Name, "dump database "+d.Name, func(conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			return c.stream(ctx, tx, d.Name, &info, put)
		})
	})
	if err != nil {
		return info, err
	}
	if err := faults.Point("database.backup.dumped"); err != nil {
		return info, err
	}
	if info.Roles, err = e.dumpRoles(ctx, c); err != nil {
		return info, err
	}
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return info, err
	}
	if err := put(rolesFile, text(strings.Join(info.Roles, "\n")+"\n")); err != nil {
		return info, err
	}
	return info, put(infoFile, text(string(b)+"\n"))
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// stream dumps the database in the snapshot of tx, which counts meanwhile.
func (c *Cluster) stream(ctx context.Context, tx pgx.Tx, name string, info *database.BackupInfo, put func(string, func(io.Writer) error) error) error {
	program, err := c.dumper("pg_dump")
	if err != nil {
		return err
	}
	var snapshot string
	if err := tx.QueryRow(ctx, "SELECT pg_export_snapshot(), clock_timestamp(), current_setting('server_version')").
		Scan(&snapshot, &info.TakenAt, &info.Version); err != nil {
		return err
	}
	info.TakenAt = info.TakenAt.UTC()
	dumping, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	counted := &sized{}
	go func() {
		done <- put(dumpFile, func(w io.Writer) error {
			counted.to = w
			return c.clientTo(dumping, counted, c.admin(name), c.Dir, program, "-Fc", "-Z", "0", "--snapshot="+snapshot, "-d", dsn(c.admin(name), false))
		})
	}()
	in, err := inspect(ctx, tx)
	if err == nil {
		info.Rows, info.Schema = in.Rows, in.Schema
		if info.Extensions, err = extensions(ctx, tx); err == nil {
			info.ExtensionVersions, err = extensionVersions(ctx, tx)
		}
		if err == nil {
			err = c.apart(ctx, tx, info)
		}
	}
	if err != nil {
		cancel(err)
	}
	if derr := <-done; err == nil {
		err = derr
	}
	info.Bytes = counted.n
	return err
}

// sized counts what passes.
type sized struct {
	to io.Writer
	n  int64
}

func (s *sized) Write(b []byte) (int, error) {
	n, err := s.to.Write(b)
	s.n += int64(n)
	return n, err
}

func extensionVersions(ctx context.Context, tx pgx.Tx) (map[string]string, error) {
	rows, err := tx.Query(ctx, "SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql'")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	var name, version string
	_, err = pgx.ForEachRow(rows, []any{&name, &version}, func() error {
		out[name] = version
		return nil
	})
	return out, err
}

// dumpRoles gives the statements that make the app's roles, without passwords.
func (e *Engine) dumpRoles(ctx context.Context, c *Cluster) ([]string, error) {
	if c.remote != nil {
		return nil, nil // its roles are not ours to make
	}
	program, err := c.dumper("pg_dumpall")
	if err != nil {
		return nil, err
	}
	all, err := c.client(ctx, c.admin("postgres"), c.Dir, program, "--globals-only", "--no-role-passwords", "--no-tablespaces", "-d", dsn(c.admin("postgres"), false))
	if err != nil {
		return nil, err
	}
	return rolesOf(e.app, string(all)), nil
}

// rolesOf picks out of what pg_dumpall prints the statements about an app's
// roles.
func rolesOf(app, all string) []string {
	ours := func(role string) bool {
		role = strings.Trim(role, `";`)
		return role == ownerRole(app) || role == workerRole(app) || strings.HasPrefix(role, database.Mangle(app)+"__")
	}
	var out []string
	for line := range strings.Lines(all) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line) // CREATE ROLE x; ALTER ROLE x WITH …; GRANT a TO b …;
		switch {
		case len(f) >= 3 && (f[0] == "CREATE" || f[0] == "ALTER") && f[1] == "ROLE" && ours(f[2]),
			len(f) >= 4 && f[0] == "GRANT" && f[2] == "TO" && ours(f[1]) && ours(f[3]):
			out = append(out, line)
		}
	}
	return out
}

// Accepts implements database.Versioned.
func (e *Engine) Accepts(_ context.Context, b database.BackupInfo) error {
	return AcceptedBy(e.home.major(), b)
}

// AcceptedBy says whether a server of a major version can hold a backup: a dump
// of a newer one may hold what it does not know. 0 is a server that is not
// there yet.
func AcceptedBy(here int, b database.BackupInfo) error {
	if b.Engine != "postgres" {
		return bosman.Invalid("a backup of %s cannot be restored on PostgreSQL", b.Engine)
	}
	made, err := strconv.Atoi(majorOf(b.Version))
	if err == nil && here != 0 && made > here {
		return bosman.Invalid("the backup was made by PostgreSQL %d, and the server here is PostgreSQL %d, which cannot read it", made, here).
			WithKept("no data was touched").WithNext("restore it where PostgreSQL " + strconv.Itoa(made) + " is installed")
	}
	return nil
}

var (
	_ database.Streamer  = (*Engine)(nil)
	_ database.Versioned = (*Engine)(nil)
)
