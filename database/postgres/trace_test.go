package postgres

import (
	"testing"
	"time"
)

// What no counter of rows sees leaves a trace; rows that are written, numbers
// that are drawn and a plain VACUUM do not.
func TestTraces(t *testing.T) {
	main, _ := clusters(t)
	e := engine(t, "traces", main)
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, e, d) })
	mustSQL(t, d, "CREATE TABLE cart (id serial)", "INSERT INTO cart SELECT generate_series(1,100)", "SELECT lo_from_bytea(77, 'old')")
	settled := func() {
		t.Helper()
		if ok, err := e.Settled(t.Context(), d, time.Time{}, time.Minute); err != nil || !ok {
			t.Fatalf("its sessions: %v %v", ok, err)
		}
	}
	traces := func() map[string]string {
		t.Helper()
		settled()
		got, err := e.Traces(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, c := range []struct{ what, sql string }{
		{"", "INSERT INTO cart VALUES (default); UPDATE cart SET id = id + 1; DELETE FROM cart WHERE id < 9; SELECT nextval('cart_id_seq')"},
		{"", "VACUUM cart"},
		{"public.cart", "TRUNCATE cart"},
		{"large objects", "SELECT lo_put(77, 0, 'new')"},
		{"large objects", "SELECT lo_from_bytea(78, 'a new one')"},
		{"the schema", "CREATE TABLE report AS SELECT 1 AS x"},
	} {
		before := traces()
		mustSQL(t, d, c.sql)
		after := traces()
		for what, trace := range before {
			if changed := after[what] != trace; changed != (what == c.what) {
				t.Errorf("%s: the trace of %s changed: %t", c.sql, what, changed)
			}
		}
	}
	conn, err := connect(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := e.Settled(t.Context(), d, time.Time{}, 50*time.Millisecond); err != nil || ok {
		t.Errorf("while a session lasts: %v %v", ok, err)
	}
	if ok, err := e.Settled(t.Context(), d, time.Now().Add(time.Minute), time.Minute); err != nil || !ok {
		t.Errorf("of those that begin later: %v %v", ok, err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled()
}
