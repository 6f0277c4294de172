package postgres

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman/database"
)

// TestYieldBehind: the server process of a program that yields does too, and
// no other.
func TestYieldBehind(t *testing.T) {
	main, _ := clusters(t)
	open := func(name string) (pid int) {
		t.Helper()
		cfg, err := pgx.ParseConfig(dsn(main.admin("postgres"), true) + " application_name='" + name + "'")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return int(conn.PgConn().PID())
	}
	niceness := func(pid int) int {
		t.Helper()
		n, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
		if err != nil {
			t.Fatal(err)
		}
		return 20 - n // getpriority(2) of the kernel
	}
	low, other := open("bosman low 1"), open("bosman low 2")
	before := niceness(other)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { main.yieldBehind(ctx, "bosman low 1"); close(ended) }()
	for end := time.Now().Add(20 * time.Second); niceness(low) == before && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-ended
	if niceness(low) != 10 || niceness(other) != before {
		t.Errorf("niceness %d and %d, before %d", niceness(low), niceness(other), before)
	}
}

func TestPaceOf(t *testing.T) {
	few, many := []byte(strings.Repeat("1; TABLE\n", 20)), []byte(strings.Repeat("1; TABLE\n", 2*oneAtOnce))
	low := database.Low(t.Context())
	for _, c := range []struct {
		ctx  context.Context
		size int64
		list []byte
		want []string
	}{
		{t.Context(), 1000, few, nil},
		{t.Context(), 1 << 30, few, []string{"-j", "2"}},
		{low, 1000, few, []string{"--single-transaction"}},
		{low, 1 << 30, few, []string{"--single-transaction"}},
		{low, 1 << 30, many, []string{"-j", "2"}}, // one transaction would hold too many locks
	} {
		if got := paceOf(c.ctx, c.size, c.list); !slices.Equal(got, c.want) {
			t.Errorf("%d bytes, %d entries: %q instead of %q", c.size, len(c.list)/9, got, c.want)
		}
	}
}
