package bosman

import "testing"

func TestWrittenAnew(t *testing.T) {
	for file, want := range map[string]string{
		"db/schema.rb": "bin/rails db:migrate", "shop/db/structure.sql": "bin/rails db:migrate", "db/queue_schema.rb": "bin/rails db:migrate",
		"schema.rb": "", "db/seeds.rb": "", "lib/schema.rb": "", "db/migrate/20260101000000_schema.rb": "",
	} {
		if got := WrittenAnew(file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}
