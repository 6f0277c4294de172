package postgres

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
)

// BenchmarkWayBack puts the data from before a deployment in the place of the
// present data, while four clients ask and ask again: the kept copy changes
// places, against the restore of the backup that a revert would need without it
// (restore, compare). What is measured includes the end of the connections.
func BenchmarkWayBack(b *testing.B) {
	s := benchScene(b)
	ctx := b.Context()
	k := &database.Keeper{Engine: s.staging, Scratch: s.testers, State: b.TempDir()}
	live := database.Snapshot{Database: s.from}
	at := database.Place{Vault: databasetest.Vault(b, b.TempDir()), Name: database.NameIn("bench", "staging", 1, time.Now())}
	if _, err := k.Backup(ctx, live, at, database.About{App: "bench", Instance: "staging"}); err != nil {
		b.Fatal(err)
	}
	var way database.WayBack
	var err error
	keep := timed(b, func() { way, _, err = k.KeepWayBack(ctx, at, "staging", live, 1) })
	if err != nil {
		b.Fatal(err)
	}
	restore := timed(b, func() { _, err = k.PrepareRestore(ctx, at, "staging", live) })
	if err != nil {
		b.Fatal(err)
	}
	if err := k.Discard(ctx, "staging"); err != nil {
		b.Fatal(err)
	}
	cctx, stop := context.WithCancel(ctx)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() { askAndAskAgain(cctx, database.URL(s.from)) })
	}
	from := way.Snapshot
	begun := time.Now()
	for b.Loop() {
		if err := k.PrepareKept(ctx, "staging", from, live); err != nil {
			b.Fatal(err)
		}
		if from, err = k.SwapIn(ctx, "staging"); err != nil {
			b.Fatal(err)
		}
	}
	each := time.Since(begun) / time.Duration(b.N)
	stop()
	clients.Wait()
	b.ReportMetric(float64(s.bytes)/1e6, "MB")
	b.ReportMetric(keep.Seconds(), "keep-s")
	b.ReportMetric(restore.Seconds(), "restore-s")
	b.ReportMetric(restore.Seconds()/each.Seconds(), "x-restore")
}

// askAndAskAgain is a client that connects again when it was sent away.
func askAndAskAgain(ctx context.Context, url string) {
	for ctx.Err() == nil {
		conn, err := pgx.Connect(ctx, url)
		for err == nil && ctx.Err() == nil {
			_, err = conn.Exec(ctx, "SELECT count(*) FROM t1")
		}
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx)) // it may be gone
		}
	}
}
