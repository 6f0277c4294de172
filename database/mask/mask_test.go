package mask

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	bosman "github.com/bosman-cd/bosman"
)

func TestFakes(t *testing.T) {
	const salt = "s3cret"
	for _, c := range []struct {
		kind, value string
		room        int
		unique      bool
		like        string // digits 0, letters a, A; the rest as it is
	}{
		{"email", "jan.kowalski@firma.pl", 0, false, ""},
		{"phone", "+48 601-234-567", 0, true, "+48 000-000-000"},
		{"phone", "601234567", 20, true, "000000000"},
		{"code", "PL61 1090 1014 0000 0712 1981 2874", 0, true, "AA00 0000 0000 0000 0000 0000 0000"},
		{"code", "ABc-7", 0, false, "AAa-0"},
	} {
		got := Fake(salt, c.kind, c.value, c.room, c.unique)
		if got == c.value || got != Fake(salt, c.kind, c.value, c.room, c.unique) || got == Fake("other", c.kind, c.value, c.room, c.unique) {
			t.Errorf("%s of %s: %s", c.kind, c.value, got)
		}
		shape := strings.Map(func(r rune) rune {
			switch {
			case r >= '0' && r <= '9':
				return '0'
			case r >= 'a' && r <= 'z':
				return 'a'
			case r >= 'A' && r <= 'Z':
				return 'A'
			}
			return r
		}, got)
		if c.like != "" && strings.ReplaceAll(shape, "+00", "+48") != c.like {
			t.Errorf("%s of %s has another shape: %s", c.kind, c.value, got)
		}
	}
	if got := Fake(salt, "phone", "+48 601 234 567", 0, false); !strings.HasPrefix(got, "+48 ") {
		t.Errorf("another country: %s", got)
	}
	for _, kind := range bosman.MaskKinds {
		if got := Fake(salt, kind, "", 0, true); got != "" {
			t.Errorf("%s of nothing: %q", kind, got)
		}
	}
	if n := DateShift(salt); n > -30 || n < -394 || n != DateShift(salt) {
		t.Errorf("dates move by %d days", n)
	}
}

// TestTurnIsAPermutation: what must be unique stays unique, also among few
// possible values.
func TestTurnIsAPermutation(t *testing.T) {
	for _, width := range []int{1, 2, 3, 4} {
		seen := map[string]bool{}
		limit := 1
		for range width {
			limit *= 10
		}
		for i := range limit {
			out := turned("salt", fmt.Sprintf("%0*d", width, i), true)
			if len(out) != width || seen[out] {
				t.Fatalf("%d of %d digits became %s, as another one did", i, width, out)
			}
			seen[out] = true
		}
	}
}

func TestFakesFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]string{"email", "hash", "first_name", "last_name", "name", "address", "text"}).Draw(t, "kind")
		room := rapid.IntRange(25, 60).Draw(t, "room")
		unique := rapid.Bool().Draw(t, "unique")
		a := rapid.StringN(1, 40, -1).Draw(t, "a")
		b := rapid.StringN(1, 40, -1).Draw(t, "b")
		x, y := Fake("s", kind, a, room, unique), Fake("s", kind, b, room, unique)
		if n := len([]rune(x)); n > room {
			t.Fatalf("%s of %q has %d characters, more than %d: %s", kind, a, n, room, x)
		}
		if unique && (a == b) != (x == y) {
			t.Fatalf("%s of %q and %q: %s and %s", kind, a, b, x, y)
		}
		if kind == "email" && (!strings.HasPrefix(x, "u") || !strings.HasSuffix(x, "@example.invalid")) {
			t.Fatalf("address %s", x)
		}
	})
}

func catalog() Catalog {
	text := func(table, name string) Column {
		return Column{Schema: "public", Table: table, Name: name, Type: "text", Class: Text}
	}
	users, orders := text("users", "email"), text("orders", "user_email")
	users.Unique, orders.Length = true, 30
	id := Column{Schema: "public", Table: "users", Name: "id", Type: "bigint", Class: Number, Unique: true, NotNull: true}
	confirmed := Column{Schema: "public", Table: "users", Name: "email_confirmed", Type: "boolean", Class: Other}
	return Catalog{
		Schemas:    []string{"public"},
		Columns:    []Column{id, users, confirmed, text("users", "phone"), text("users", "note"), orders, text("products", "name")},
		References: []Reference{{Name: "fk", Schema: "public", Table: "orders", Columns: []string{"user_email"}, TargetSchema: "public", TargetTable: "users", Targets: []string{"email"}}},
	}
}

func TestPlan(t *testing.T) {
	s := Spec{Columns: map[string]string{"users.email": "email"}, Types: bosman.MaskTypes}
	p, err := New(s, catalog())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Masked) != 2 || p.Masked[0].Via != "users.email" || p.Masked[0].room != 30 || p.Masked[1].room != 30 || !p.Masked[0].unique {
		t.Errorf("masked %+v", p.Masked)
	}
	if len(p.Left) != 1 || p.Left[0].Line() != "users.phone: phone" {
		t.Errorf("left %+v", p.Left)
	}
	if err := p.Refuse(); bosman.KindOf(err) != bosman.KindInvalid || !strings.Contains(bosman.AsError(err).Next, "users.phone: phone") {
		t.Errorf("refused with %v", err)
	}
	s.Columns["users.phone"] = "keep"
	if p, err = New(s, catalog()); err != nil || p.Refuse() != nil || len(p.Kept) != 1 {
		t.Errorf("looked at: %+v, %v", p, err)
	}
	s.Also = map[string]string{"users.phone": "phone", "users.later": "text", "users.email": "hash"}
	if p, err = New(s, catalog()); err != nil || len(p.Masked) != 3 || len(p.Kept) != 0 || p.Masked[1].Kind != "email" {
		t.Errorf("what a newer release masks: %+v, %v", p, err)
	}
	s = Spec{Columns: map[string]string{"users.email": "email"}, Types: []string{"iban"}}
	if p, err = New(s, catalog()); err != nil || p.Refuse() != nil {
		t.Errorf("of types that are not listed: %+v, %v", p, err)
	}
	if got := Postgres(p, "x").Orphans; len(got) != 1 || got[0].Name != "fk of orders" {
		t.Errorf("foreign keys to look after: %+v", got)
	}
}

func TestMasksThatDoNotFit(t *testing.T) {
	for text, want := range map[string]string{
		"user.email: email":                          "user.email: there is no such table",
		"users.mail: email":                          "the table has no such column",
		"users.id: phone":                            "the kind phone is for text; this column is bigint",
		"users.id: null":                             "must not be null",
		"users.email: null":                          "other tables refer to this column",
		"users.email: constant:x":                    "other tables refer to this column",
		"orders.user_email: constant:x":              "refers to another table",
		"users.id: constant:1":                       "must be unique",
		"users.phone: date":                          "for dates and times",
		"users.email: hash|orders.user_email: email": "a foreign key joins them",
		"users.email: email|orders.user_email: keep": "a foreign key joins them",
		"users.phone: keep|public.users.phone: keep": "are the same column",
	} {
		s := Spec{Columns: map[string]string{}}
		for _, line := range strings.Split(text, "|") {
			column, kind, _ := strings.Cut(line, ": ")
			s.Columns[column] = kind
		}
		if _, err := New(s, catalog()); bosman.KindOf(err) != bosman.KindInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := New(Spec{Columns: map[string]string{"orders.user_email": "null"}}, catalog()); err != nil {
		t.Errorf("nothing in a column that refers to another: %v", err)
	}
	short := catalog()
	short.Columns[1].Length = 20
	if _, err := New(Spec{Columns: map[string]string{"users.email": "email"}}, short); err == nil || !strings.Contains(err.Error(), "20 characters are too few") {
		t.Errorf("a short column: %v", err)
	}
}

func TestPersonal(t *testing.T) {
	for _, c := range []struct {
		table, name string
		class       Class
		want        string
	}{
		{"users", "email", Text, "email"},
		{"users", "EmailAddress", Text, "email"},
		{"users", "e_mail", Text, "email"},
		{"users", "email_confirmed", Other, ""},
		{"users", "email_sent_at", Date, ""},
		{"users", "mobilePhone", Text, "phone"},
		{"users", "phone", Number, "phone"},
		{"users", "telephone2", Text, "phone"},
		{"people", "date_of_birth", Date, "birth"},
		{"people", "dob", Date, "birth"},
		{"people", "iban", Text, "iban"},
		{"people", "pesel", Text, "ssn"},
		{"people", "street", Text, "address"},
		{"people", "address_id", Number, ""},
		{"log", "ip_address", Network, "address"},
		{"people", "last_name", Text, "name"},
		{"people", "name", Text, "name"},
		{"products", "name", Text, ""},
		{"django_content_type", "app_label", Text, ""},
		{"auth_user", "password", Text, "password"},
		{"auth_user", "username", Text, "name"},
		{"django_session", "session_key", Text, "token"},
		{"api", "token_expires_at", Date, ""},
		{"shop", "description", Text, ""},
		{"auth_permission", "codename", Text, ""},
		{"users", "passport_no", Text, "ssn"},
		{"shop", "zip", Text, "address"},
		{"users", "mailing", Text, ""},
		{"users", "useremail", Text, "email"},
		{"users", "emailaddress", Text, "email"},
		{"users", "mobilephone", Text, "phone"},
		{"users", "homeaddress", Text, "address"},
		{"shop", "iphone", Text, ""},
		{"users", "emails", Mixed, "email"},
		{"users", "address", Mixed, "address"},
		{"users", "name", Mixed, ""}, // as it is in other languages
		{"shop", "attributes", Mixed, ""},
		{"users", "search", Words, ""}, // known by its table, see New
	} {
		got, suggest := Personal(Column{Table: c.table, Name: c.name, Class: c.class})
		if got != c.want || (got == "") != (suggest == "") || got != "" && !bosman.ValidMask(suggest) {
			t.Errorf("%s.%s: %q (%s), want %q", c.table, c.name, got, suggest, c.want)
		}
	}
	if _, suggest := Personal(Column{Name: "first_name", Class: Text}); suggest != "first_name" {
		t.Errorf("first name: %s", suggest)
	}
}

// TestTypesAreKnown holds the patterns to the types that bosman.yaml may list.
func TestTypesAreKnown(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range patterns {
		seen[p.kind] = true
	}
	for _, typ := range bosman.MaskTypes {
		if !seen[typ] {
			t.Errorf("nothing looks like %s", typ)
		}
		delete(seen, typ)
	}
	if len(seen) > 0 {
		t.Errorf("types that nobody can list: %v", seen)
	}
}

func TestVersion(t *testing.T) {
	version := func(s Spec) string {
		v, err := s.Version()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	base := Spec{Columns: map[string]string{"a.b": "email"}, Salt: "x"}
	seen := map[string]bool{version(base): true}
	for _, s := range []Spec{
		{Columns: map[string]string{"a.b": "hash"}, Salt: "x"},
		{Columns: base.Columns, Salt: "y"},
		{Columns: base.Columns, Also: base.Columns, Salt: "x"},
		{Columns: base.Columns, Salt: "x", Types: []string{"email"}},
		{Columns: base.Columns, Salt: "x", SQL: []File{{"a.sql", "SELECT 1"}}},
		{Columns: base.Columns, Salt: "x", SQL: []File{{"a.sql", "SELECT 2"}}},
	} {
		if v := version(s); seen[v] {
			t.Errorf("%+v has the version of another", s)
		} else {
			seen[v] = true
		}
	}
	if version(Spec{Types: []string{"email"}}) != "" {
		t.Error("nothing to do has a version")
	}
}
