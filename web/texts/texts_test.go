package texts

import "testing"

func TestPlurals(t *testing.T) {
	pl := Language{Tag: "pl", Plural: PolishPlural, Forms: map[string][]string{
		"%d change": {"%d zmiana", "%d zmiany", "%d zmian"},
		"Merge":     {"Scal"},
	}}
	ctx := With(t.Context(), pl)
	for n, want := range map[int]string{1: "1 zmiana", 2: "2 zmiany", 4: "4 zmiany", 5: "5 zmian", 12: "12 zmian", 22: "22 zmiany", 0: "0 zmian", 111: "111 zmian"} {
		if got := N(ctx, n, "%d change", "%d changes"); got != want {
			t.Errorf("%d: %q, not %q", n, got, want)
		}
	}
	if got := T(ctx, "Merge"); got != "Scal" {
		t.Errorf("Merge: %q", got)
	}
	for n, want := range map[int]string{0: "0 changes", 1: "1 change", 2: "2 changes"} {
		if got := N(t.Context(), n, "%d change", "%d changes"); got != want {
			t.Errorf("%d: %q, not %q", n, got, want)
		}
	}
	if got := T(t.Context(), "%s merged", "c12"); got != "c12 merged" {
		t.Errorf("%q", got)
	}
}
