package cli

import (
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// Each database is shown under its name, and the error says which one leaves
// something.
func TestMasksAsPeopleReadThem(t *testing.T) {
	own := bosman.MaskReport{Instance: "staging", Masked: []bosman.MaskedColumn{{Column: "users.email", Kind: "email"}, {Column: "orders.email", Kind: "email", Via: "users.email"}}, Kept: []string{"users.note"}, SQL: []string{"mask/more.sql"}}
	reports := bosman.MaskReport{Instance: "staging", Database: "reports", Left: []bosman.MaskLeft{{Column: "sent.phone", Type: "phone", Suggest: "sent.phone: phone"}}}
	e, out := screen(t)
	for _, r := range []bosman.MaskReport{own, reports} {
		if err := e.masks(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"users.email", "follows users.email", "users.note", "then mask/more.sql", "\ndatabase reports\n", "looks like phone; add sent.phone: phone"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	off, wrong := reports, own
	off.Off, wrong.Error = true, "users.nothing: the table has no such column"
	for _, c := range []struct {
		all        []bosman.MaskReport
		said, next string
	}{
		{[]bosman.MaskReport{own}, "", ""},
		{[]bosman.MaskReport{own, off}, "", ""},
		{[]bosman.MaskReport{own, reports}, "no copy is made of staging's database reports", "databases: reports: mask:"},
		{[]bosman.MaskReport{wrong, reports}, "no such column; 1 columns", "mend database: mask:"},
	} {
		err := unmasked(c.all)
		if (err == nil) != (c.said == "") || err != nil && (!strings.Contains(bosman.AsError(err).Message, c.said) || !strings.Contains(bosman.AsError(err).Next, c.next)) {
			t.Errorf("%q: %v", c.said, err)
		}
	}
	e, out = screen(t)
	if err := e.masks(off); err != nil || !strings.Contains(out.String(), "asks for no masks here: copies of this database of staging hold what it holds") {
		t.Errorf("%v:\n%s", err, out)
	}
}
