package bosman

import (
	"testing"
	"time"
)

func TestParseColumn(t *testing.T) {
	for text, want := range map[string]ColumnName{
		"users.email":             {"", "users", "email"},
		"crm.users.email":         {"crm", "users", "email"},
		`"My.Table"."say ""hi"""`: {"", "My.Table", `say "hi"`},
		"Order Lines.e-mail":      {"", "Order Lines", "e-mail"},
		"użytkownicy.imię":        {"", "użytkownicy", "imię"},
	} {
		got, err := ParseColumn(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if got.String() != text {
			t.Errorf("%s is written %s", text, got)
		}
	}
	for _, text := range []string{"", "users", "a.b.c.d", "users.", ".email", `"a.b`, `a"b.c`, `"a"b.c`, "a..b", `"".b`, "a.\x00"} {
		if got, err := ParseColumn(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90d": 90 * Day, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "10m": 10 * time.Minute, "-1d": -Day,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "5", "soon", "1dd", "1 d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}

func TestMaskKinds(t *testing.T) {
	for _, kind := range append([]string{"constant:", "constant:a b"}, MaskKinds...) {
		if !ValidMask(kind) {
			t.Errorf("%s is refused", kind)
		}
	}
	for _, kind := range []string{"", "Email", "constant", "keep "} {
		if ValidMask(kind) {
			t.Errorf("%q is taken", kind)
		}
	}
	if (DatabaseSpec{Engine: "postgres"}).Masked() || !(DatabaseSpec{MaskSQL: []string{"x.sql"}}).Masked() {
		t.Error("masked is what has masks")
	}
}
