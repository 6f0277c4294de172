package mariadb

import (
	"context"
	"testing"
)

// A table that is emptied at once is in no counter of rows, and leaves a trace.
func TestTraces(t *testing.T) {
	main, _ := clusters(t)
	e := engine(t, "traces", main)
	d, err := e.Create(t.Context(), "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Drop(context.Background(), d); err != nil {
			t.Error(err)
		}
	})
	do(t, d, "CREATE TABLE cart (id INT)", "CREATE TABLE parts (id INT) PARTITION BY HASH (id) PARTITIONS 2", "INSERT INTO cart VALUES (1),(2),(3)")
	for _, c := range []struct{ what, sql string }{
		{"", "INSERT INTO cart VALUES (4)"},
		{"cart", "TRUNCATE TABLE cart"},
		{"parts", "TRUNCATE TABLE parts"},
		{"the schema", "CREATE TABLE report (id INT)"},
	} {
		before, err := e.Traces(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		do(t, d, c.sql)
		after, err := e.Traces(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		for what, trace := range before {
			if changed := after[what] != trace; changed != (what == c.what) {
				t.Errorf("%s: the trace of %s changed: %t (%q, %q)", c.sql, what, changed, trace, after[what])
			}
		}
	}
}
