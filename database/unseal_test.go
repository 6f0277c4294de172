package database_test

import (
	"io"
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
)

// TestUnseal: an object must be the one that the manifest means, not only one
// that opens; also one of before objects were summed as they are stored.
func TestUnseal(t *testing.T) {
	ctx := t.Context()
	v := databasetest.Vault(t, t.TempDir())
	const content = "INSERT INTO candidates …"
	put := func() database.Content {
		t.Helper()
		c, err := database.SealObject(ctx, v, "dump", func(w io.Writer) error { _, err := io.WriteString(w, content); return err })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := put()
	if first.Stored == "" || first.SHA256 != "" || first.Plain != int64(len(content)) {
		t.Fatalf("%+v", first)
	}
	if err := v.Delete(ctx, "dump"); err != nil {
		t.Fatal(err)
	}
	now := put()
	shorter, of := now, database.Content{Plain: now.Plain, SHA256: database.SumOf([]byte(content))}
	shorter.Plain--
	other := of
	other.SHA256 = database.SumOf([]byte("INSERT INTO others …"))
	for name, c := range map[string]struct {
		database.Content
		good bool
	}{
		"as it was put":                       {now, true},
		"the same content, sealed by another": {first, false},
		"of another length":                   {shorter, false},
		"of an earlier Bosman":                {of, true},
		"of an earlier Bosman, changed":       {other, false},
		"without a sum":                       {database.Content{Plain: now.Plain}, false},
	} {
		var got strings.Builder
		err := database.UnsealObject(ctx, v, "dump", c.Content, func(r io.Reader) error { _, err := io.CopyN(&got, r, 6); return err })
		if c.good && (err != nil || got.String() != "INSERT") {
			t.Errorf("%s: %q, %v", name, got.String(), err)
		}
		if !c.good && bosman.KindOf(err) != bosman.KindFailed {
			t.Errorf("%s: %v", name, err)
		}
	}
}
