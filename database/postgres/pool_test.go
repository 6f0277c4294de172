package postgres

import (
	"sync"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

func TestPool(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := engine(t, "pool", main), engine(t, "pool", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: "pool__"}) })
	mustSQL(t, from, "CREATE TABLE candidate (name text)", "INSERT INTO candidate VALUES ('Ala')")
	if p, err := testers.Fill(t.Context(), from, 2); err != nil || p.Ready != 0 {
		t.Errorf("without a golden copy: %+v, %v", p, err)
	}
	if _, err := testers.Refresh(t.Context(), from, 1); err != nil {
		t.Fatal(err)
	}
	if p, err := testers.Fill(t.Context(), from, 2); err != nil || p.Ready != 2 || p.Why != "" {
		t.Fatalf("%+v, %v", p, err)
	}
	ready := func() (n int) {
		t.Helper()
		all, err := testers.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range all {
			if x.Pool {
				n++
				member := x.Database
				if err := trySQL(member, "SELECT 1"); err == nil {
					t.Errorf("somebody may enter %s", member.Name)
				}
			}
		}
		return n
	}
	if n := ready(); n != 2 {
		t.Errorf("%d are ready", n)
	}
	a, info, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{From: "staging"})
	if err != nil || info.Strategy != "template"+database.InAdvance || info.Release != 1 || info.TakenAt.IsZero() {
		t.Fatalf("handed out: %+v, %v", info, err)
	}
	mustSQL(t, a, "INSERT INTO candidate VALUES ('mine')", "CREATE TABLE mine (x int)", "CREATE EXTENSION citext")
	if n := count(t, a, "candidate"); n != 2 {
		t.Errorf("%d rows", n)
	}
	if _, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{}); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("handed out over another: %v", err)
	}
	for _, intruder := range []string{"testing-ben"} { // the neighbour gets the next one and cannot reach the first
		b, info, err := testers.Copy(t.Context(), from, intruder, database.CopyOptions{})
		if err != nil || info.Strategy != "template"+database.InAdvance || count(t, b, "candidate") != 1 {
			t.Fatalf("%+v, %v", info, err)
		}
		b.Name = a.Name
		if err := trySQL(b, "SELECT 1"); err == nil {
			t.Error("a neighbour reads a copy of the pool")
		}
	}
	if _, info, err := testers.Copy(t.Context(), from, "testing-cleo", database.CopyOptions{}); err != nil || info.Strategy != StrategyTemplate {
		t.Errorf("from an empty pool: %+v, %v", info, err)
	}
	// A newer generation replaces what is ready; an exact copy is never of the pool.
	if p, err := testers.Fill(t.Context(), from, 1); err != nil || p.Ready != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	mustSQL(t, from, "INSERT INTO candidate VALUES ('new')")
	if _, info, err := testers.Copy(t.Context(), from, "testing-dora", database.CopyOptions{Exact: true, Release: 2}); err != nil || info.Strategy != StrategyTemplate || info.Release != 2 {
		t.Errorf("exact: %+v, %v", info, err)
	}
	if d, info, err := testers.Copy(t.Context(), from, "testing-ella", database.CopyOptions{}); err != nil || info.Strategy != StrategyTemplate || count(t, d, "candidate") != 2 {
		t.Errorf("the pool is of an older generation: %+v, %v", info, err)
	}
	if p, err := testers.Fill(t.Context(), from, 1); err != nil || p.Ready != 1 || ready() != 1 {
		t.Errorf("%+v, %v; %d ready", p, err, ready())
	}
	// The generation that copies were made of stays as long as they do.
	for n := range 3 {
		mustSQL(t, from, "INSERT INTO candidate VALUES ('more')")
		if _, err := testers.Refresh(t.Context(), from, 10+n); err != nil {
			t.Fatal(err)
		}
	}
	again, info, err := testers.Copy(t.Context(), from, "testing-fay", database.CopyOptions{Accept: func(r int) bool { return r <= 1 }})
	if err != nil || info.Release != 1 || count(t, again, "candidate") != 1 {
		t.Errorf("the first generation is in use: %+v, %v", info, err)
	}
	if p, err := testers.Fill(t.Context(), from, 0); err != nil || p.Ready != 0 || ready() != 0 {
		t.Errorf("no pool wanted: %+v, %v; %d ready", p, err, ready())
	}
}

func TestPoolUnderManyHands(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := engine(t, "hands", main), engine(t, "hands", scratch, main)
	second := engine(t, "hands", scratch, main) // another part of the same serve
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: "hands__"}) })
	mustSQL(t, from, "CREATE TABLE candidate (name text)", "INSERT INTO candidate VALUES ('Ala')")
	if _, err := testers.Refresh(t.Context(), from, 1); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i, name := range []string{"testing-a", "testing-b", "testing-c"} {
		e := []*Engine{testers, second}[i%2]
		wg.Go(func() {
			for range 3 {
				d, _, err := e.Copy(t.Context(), from, name, database.CopyOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				if n := countOrMinus(d); n != 1 {
					t.Errorf("%s has %d rows", name, n)
				}
				if err := e.Drop(t.Context(), d); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for n := range 3 {
			if _, err := second.Fill(t.Context(), from, 2); err != nil && bosman.KindOf(err) != bosman.KindBusy {
				t.Error(err)
			}
			if _, err := testers.Refresh(t.Context(), from, n+2); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

func countOrMinus(d bosman.Database) int {
	n := -1
	conn, err := connect(cleanCtx(), d)
	if err != nil {
		return n
	}
	defer func() { _ = conn.Close(cleanCtx()) }()
	if conn.QueryRow(cleanCtx(), "SELECT count(*) FROM candidate").Scan(&n) != nil {
		return -1
	}
	return n
}

func TestStillCopy(t *testing.T) {
	main, _ := clusters(t)
	e := engine(t, "still", main)
	from, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, e, from) })
	mustSQL(t, from, "CREATE TABLE candidate (name text)", "INSERT INTO candidate VALUES ('Ala')")
	held, err := connect(t.Context(), from) // the application holds a connection open
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close(cleanCtx()) }()
	d, info, err := e.Copy(t.Context(), from, "live__before", database.CopyOptions{Still: true, From: "live", Release: 4})
	if err != nil {
		t.Fatal(err)
	}
	if info.Strategy != StrategyStill || info.Release != 4 || time.Since(info.TakenAt) > time.Minute || info.Bytes == 0 {
		t.Errorf("info %+v", info)
	}
	if in, err := e.Inspect(t.Context(), d); err != nil || in.Rows["public.candidate"] != 1 {
		t.Errorf("the copy has %v, %v", in.Rows, err)
	}
	mustSQL(t, from, "INSERT INTO candidate VALUES ('Ola')")
}

func TestNoRoomForCopies(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := engine(t, "room", main), engine(t, "room", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: "room__"}) })
	mustSQL(t, from, "CREATE TABLE candidate (name text)")
	if _, err := testers.Refresh(t.Context(), from, 1); err != nil {
		t.Fatal(err)
	}
	testers.Quota = 20 << 20 // two databases of about 7 MB
	if _, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	_, _, err = testers.Copy(t.Context(), from, "testing-ben", database.CopyOptions{})
	if bosman.KindOf(err) != bosman.KindUnavailable {
		t.Fatalf("over the quota: %v", err)
	}
	if said := bosman.AsError(err); said.Next == "" || said.Kept == "" {
		t.Errorf("it does not say what to do: %v", err)
	}
	if p, err := testers.Fill(t.Context(), from, 1); err != nil || p.Ready != 0 || p.Why == "" {
		t.Errorf("the pool goes over the quota: %+v, %v", p, err)
	}
	for _, c := range []struct{ size, want int64 }{{100 << 30, 10 << 30}, {2 << 40, 20 << 30}} {
		if got := spare(c.size); got != c.want {
			t.Errorf("of %s stay free %s", size(c.size), size(got))
		}
	}
	if why, err := scratch.tight(1<<60, 1); err != nil || why == "" {
		t.Errorf("an exabyte fits: %v", err)
	}
}
