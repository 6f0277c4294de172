package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

// during runs a verb and kills the server once a query like this one runs there.
func during(t *testing.T, c *Cluster, like string, verb func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- verb() }()
	for end := time.Now().Add(time.Minute); ; {
		var seen bool
		err := c.talk(t.Context(), "look", func(conn *pgx.Conn) error {
			return conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE $1 AND state = 'active' AND pid <> pg_backend_pid())", like).Scan(&seen)
		})
		if err != nil {
			t.Fatal(err)
		}
		if seen {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("it was done before the server could be killed: %v", err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("no query like %s in a minute", like)
		}
	}
	kill(t, pidOf(t, c), syscall.SIGKILL)
	return <-done
}

// The durable server is killed in the middle of a backup and of a restore:
// both say that it does not answer, the data is as it was, nothing half-made is
// left, and both succeed when it runs again.
func TestServerKilledInBackupAndRestore(t *testing.T) {
	c := ownCluster(t, Main)
	ensure(t, c)
	e := engine(t, "halfway", c)
	live, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	mustSQL(t, live, "CREATE TABLE big (id int PRIMARY KEY, body text)", "INSERT INTO big SELECT n, repeat(md5(n::text), 60) FROM generate_series(1, 100000) n")
	again := func(err error) {
		t.Helper()
		if bosman.KindOf(err) != bosman.KindUnavailable || bosman.AsError(err).Kept == "" {
			t.Errorf("with its server killed: %v", err)
		}
		ensure(t, c)
		if err := c.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		if all := listNames(t, e); len(all) != 1 || all[0] != "live" {
			t.Errorf("there are %q", all)
		}
		if n := count(t, live, "big"); n != 100000 {
			t.Errorf("live has %d rows", n)
		}
	}
	again(during(t, c, "COPY public.big %", func() error {
		_, err := e.Backup(t.Context(), live, t.TempDir())
		return err
	}))
	dir := t.TempDir()
	if _, err := e.Backup(t.Context(), live, dir); err != nil {
		t.Fatal(err)
	}
	again(during(t, c, "COPY public.big %", func() error {
		_, err := e.Restore(t.Context(), dir, "live__next")
		return err
	}))
	next, err := e.Restore(t.Context(), dir, "live__next")
	if err != nil {
		t.Fatal(err)
	}
	if n := counted(t, e, next, "big"); n != 100000 {
		t.Errorf("restored afterwards it has %d rows", n)
	}
}

// The server is killed somewhere in a swap: it happened, or it did not.
func TestServerKilledInASwap(t *testing.T) {
	c := ownCluster(t, Main)
	ensure(t, c)
	e := engine(t, "midswap", c)
	live, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	mustSQL(t, live, "CREATE TABLE candidate (name text)")
	swapped := 0
	for round := range 5 {
		next, err := e.Create(t.Context(), "live__next")
		if err != nil {
			t.Fatal(err)
		}
		mustSQL(t, c.admin(next.Name), "CREATE TABLE public.candidate (name text)", "ALTER TABLE public.candidate OWNER TO "+quote(ownerRole("midswap")),
			"INSERT INTO public.candidate SELECT 'x' FROM generate_series(1, "+strconv.Itoa(round+1)+")")
		before := count(t, live, "candidate")
		kept := keptOf(t, e)
		done := make(chan error, 1)
		go func() {
			_, err := e.Swap(t.Context(), live, next)
			done <- err
		}()
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		kill(t, pidOf(t, c), syscall.SIGKILL)
		err = <-done
		if kind := bosman.KindOf(err); err != nil && kind != bosman.KindUnavailable && kind != bosman.KindBusy {
			t.Errorf("round %d: %v", round, err)
		}
		ensure(t, c)
		there, ferr := e.Find(t.Context(), "live__next")
		if err := ignore(ferr, bosman.KindNotFound); err != nil {
			t.Fatal(err)
		}
		switch now := count(t, live, "candidate"); {
		case ferr == nil && now == before && counted(t, e, there, "candidate") == int64(round+1) && keptOf(t, e) == kept: // it did not happen
			if err == nil {
				t.Errorf("round %d: it was said to have happened", round)
			}
			if err := e.Drop(t.Context(), there); err != nil {
				t.Fatal(err)
			}
		case ferr != nil && now == round+1 && keptOf(t, e) == kept+1:
			swapped++
		default:
			t.Errorf("round %d: live has %d rows and had %d; the next one: %v; %d kept, were %d", round, now, before, ferr, keptOf(t, e), kept)
		}
		if err := c.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of 5 happened", swapped)
}

// counted counts the rows of a table in a database that may let nobody in.
func counted(t *testing.T, e *Engine, d bosman.Database, table string) int64 {
	t.Helper()
	in, err := e.Inspect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return in.Rows["public."+table]
}

// keptOf counts what is kept.
func keptOf(t *testing.T, e *Engine) (n int) {
	t.Helper()
	all, err := e.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		if !x.KeptAt.IsZero() {
			n++
		}
	}
	return n
}

// ignore gives the error unless it is of a kind.
func ignore(err error, kind bosman.ErrorKind) error {
	if bosman.KindOf(err) == kind {
		return nil
	}
	return err
}

// The disk fills while a backup is restored beside live: it is said, live has
// what it had, nothing half-made is left, and with room again it succeeds.
func TestDiskFillsDuringARestore(t *testing.T) {
	need.Root(t)
	root, err := openTemp()
	if err != nil {
		t.Fatal(err)
	}
	small := filepath.Join(root, "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=300m,mode=755"); err != nil {
		t.Fatal(err)
	}
	c := &Cluster{Name: "main", Profile: Main, Dir: filepath.Join(small, "c")}
	t.Cleanup(func() {
		if err := errors.Join(remove(c), syscall.Unmount(small, syscall.MNT_DETACH), os.RemoveAll(root)); err != nil {
			t.Error(err)
		}
	})
	ensure(t, c)
	e := engine(t, "filling", c)
	live, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	mustSQL(t, live, "CREATE TABLE big (id int PRIMARY KEY, body text)", "INSERT INTO big SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, 40000) n")
	dir := t.TempDir()
	if _, err := e.Backup(t.Context(), live, dir); err != nil {
		t.Fatal(err)
	}
	free, _, err := c.Disk()
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(small, "ballast")
	if err := os.WriteFile(ballast, make([]byte, free-20<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = e.Restore(t.Context(), dir, "live__next")
	if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "is full") {
		t.Errorf("restored on a disk that fills: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	ensure(t, c) // it ends when it cannot write its log
	if err := c.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := listNames(t, e); len(all) != 1 || all[0] != "live" || count(t, live, "big") != 40000 {
		t.Errorf("afterwards there are %q", all)
	}
	next, err := e.Restore(t.Context(), dir, "live__next")
	if err != nil || counted(t, e, next, "big") != 40000 {
		t.Errorf("with room again: %v", err)
	}
}

// Whoever asks again and again keeps nobody else from asking.
func TestTalkIsInTurn(t *testing.T) {
	var line turn
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
				line.lock()
				time.Sleep(time.Millisecond) // it asks
				line.give()
			}
		}
	}()
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := line.take(ctx); err != nil {
			t.Fatal("nobody else comes to ask")
		}
		cancel()
		line.give()
	}
	close(quit)
	<-done
	line.lock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := line.take(ctx); err == nil {
		t.Error("two have it")
	}
}
