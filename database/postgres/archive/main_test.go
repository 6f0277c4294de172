package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/internal/need"
	"github.com/bosman-cd/bosman/vault"
)

// dirEnv and jobEnv tell a child process where the world is and what to do
// before it is killed.
const (
	dirEnv = "BOSMAN_TEST_ARCHIVE"
	jobEnv = "BOSMAN_TEST_ARCHIVE_JOB"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(jobEnv); job != "" {
		if err := child(os.Getenv(dirEnv), job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if code, ok := databasetest.Janitor(clearUp); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// clearUp ends the servers below dir by their pid, and removes it.
func clearUp(dir string) error {
	var errs []error
	for _, name := range []string{"main", "replayed"} {
		errs = append(errs, postgres.NewReplayed(filepath.Join(dir, name), "none", nil).Remove(context.Background()))
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// world is a durable cluster whose log is kept in a vault.
type world struct {
	t *testing.T
	*Keeper
	dir    string
	engine *postgres.Engine
	live   bosman.Database

	further []string  // what is recovered besides
	at      time.Time // of what was brought last
}

// newWorld starts a cluster of Debian's PostgreSQL.
func newWorld(t *testing.T, spoolMost int64) *world {
	t.Helper()
	need.Slow(t, "starts PostgreSQL")
	need.File(t, "/usr/lib/postgresql", "postgresql")
	return newWorldOf(t, "", "", spoolMost)
}

// onVersions runs a test with the oldest, Debian's and the newest PostgreSQL.
func onVersions(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, v := range []int{13, 15, 18} {
		t.Run(strconv.Itoa(v), func(t *testing.T) {
			t.Parallel()
			if v == 15 {
				test(t, newWorld(t, 0))
				return
			}
			server, clients := databasetest.PostgresVersion(t, v)
			w := newWorldOf(t, server, clients, 0)
			if got := w.Cluster.Version(); !strings.HasPrefix(got, strconv.Itoa(v)+".") {
				t.Fatalf("PostgreSQL %s runs", got)
			}
			test(t, w)
		})
	}
}

// newWorldOf starts a cluster of the programs in a folder, in memory: syncing to
// a busy disk takes most of the time of such tests.
func newWorldOf(t *testing.T, server, clients string, spoolMost int64) *world {
	t.Helper()
	root := os.TempDir()
	if os.Geteuid() == 0 && !ground.NoRoom("/dev/shm") {
		root = "/dev/shm"
	}
	dir, err := os.MkdirTemp(root, "bosman-log-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := clearUp(dir); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(os.Chmod(dir, 0o755), databasetest.Watch(dir)); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir}
	w.Keeper = open(dir, spoolMost)
	w.Cluster.BinDir, w.Cluster.ClientDir = server, clients
	if _, err := w.Cluster.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.engine, err = postgres.NewEngine("rms", w.Cluster); err != nil {
		t.Fatal(err)
	}
	if w.live, err = w.engine.Create(t.Context(), "live"); err != nil {
		t.Fatal(err)
	}
	w.do(w.live, "CREATE TABLE note (words text)")
	return w
}

func open(dir string, spoolMost int64) *Keeper {
	c := &postgres.Cluster{Name: "main", Profile: postgres.Main, Dir: filepath.Join(dir, "main"), SpoolMost: spoolMost}
	c.Spool = filepath.Join(c.Dir, "wal")
	return &Keeper{
		Cluster: c, Dir: filepath.Join(dir, "replayed"), Window: 7 * 24 * time.Hour,
		Vault: func(ctx context.Context) (database.Vault, error) {
			keys, err := vault.OpenKeys(filepath.Join(dir, "key"))
			if err != nil {
				return nil, err
			}
			s, err := vault.Open(ctx, filepath.Join(dir, "vault"), vault.Options{Keys: keys})
			return databasetest.Sealed{Store: s}, err
		},
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// do runs a statement and gives the time at which it was done.
func (w *world) do(d bosman.Database, statement string) time.Time {
	w.t.Helper()
	db, err := sql.Open("pgx", database.URL(d))
	w.must(err)
	defer func() { w.must(db.Close()) }()
	_, err = db.ExecContext(w.t.Context(), statement)
	w.must(err)
	var at time.Time
	w.must(db.QueryRowContext(w.t.Context(), "SELECT clock_timestamp()").Scan(&at))
	return at.UTC()
}

// count counts the notes in a database of the cluster, as its superuser: a
// kept one lets nobody in.
func (w *world) count(d bosman.Database) (n int) {
	w.t.Helper()
	d.User, d.Password = "bosman", w.Cluster.Secret()
	db, err := sql.Open("pgx", database.URL(d))
	w.must(err)
	defer func() { w.must(db.Close()) }()
	w.must(db.QueryRowContext(w.t.Context(), "SELECT count(*) FROM note").Scan(&n))
	return n
}

// until waits for something to become true.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("not in a minute: %s", what)
		}
	}
}

// stored waits until all that was done until now is in the vault.
func (w *world) stored() {
	w.t.Helper()
	now := time.Now()
	w.must(w.Advance(w.t.Context()))
	w.until("all is stored", func() bool {
		_, err := w.Ship(w.t.Context())
		w.must(err)
		return !w.Covered().Before(now)
	})
}

func (w *world) own() System {
	w.t.Helper()
	all, err := w.Catalogue(w.t.Context())
	w.must(err)
	s, err := w.Own(w.t.Context(), all)
	w.must(err)
	return s
}

// based makes a base backup that counts.
func (w *world) based() Base {
	w.t.Helper()
	b, err := w.TakeBase(w.t.Context(), true)
	w.must(err)
	w.stored()
	s := w.own()
	if !s.Complete(b) {
		w.t.Fatalf("segments are missing: %+v", s)
	}
	w.must(w.Prove(w.t.Context(), s, b))
	return b
}

// recovered brings live as it was at a target beside live.
func (w *world) recovered(t Target) bosman.Database {
	w.t.Helper()
	p, err := w.Find(w.t.Context(), t)
	w.must(err)
	d, err := w.bring(w.t.Context(), p)
	w.must(err)
	return d
}

func (w *world) bring(ctx context.Context, p Plan) (bosman.Database, error) {
	w.at = time.Now()
	return bring(ctx, w.Keeper, w.engine, p, w.at, w.further...)
}

func bring(ctx context.Context, k *Keeper, e *postgres.Engine, p Plan, at time.Time, further ...string) (d bosman.Database, err error) {
	c, done, err := k.Replay(ctx, p)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, done()) }()
	from, err := postgres.NewEngine("rms", c)
	if err != nil {
		return d, err
	}
	d, _, err = Bring(ctx, from.With(further...), e.With(further...), "live", database.RecoveredName("live", at), os.TempDir())
	return d, err
}

func sqlOpen(d bosman.Database) (time.Time, error) {
	db, err := sql.Open("pgx", database.URL(d))
	if err != nil {
		return time.Time{}, err
	}
	var at time.Time
	err = db.QueryRow("SELECT clock_timestamp()").Scan(&at)
	return at, errors.Join(err, db.Close())
}
