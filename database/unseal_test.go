package database

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/vault"
)

// inFolder is a vault in a folder.
type inFolder struct{ *vault.Store }

func (f inFolder) Put(ctx context.Context, name string, write func(io.Writer) error) (Sealed, error) {
	i, err := f.Store.Put(ctx, name, write)
	return Sealed{Name: i.Name, Bytes: i.Size, SHA256: i.SHA256}, err
}

func (f inFolder) Get(ctx context.Context, name string, read func(io.Reader) error) (Sealed, error) {
	i, err := f.Store.Get(ctx, name, read)
	return Sealed{Name: i.Name, Bytes: i.Size, SHA256: i.SHA256}, err
}

func (inFolder) List(context.Context, string) ([]Sealed, error) { return nil, nil }

// TestUnseal: an object must be the one that the manifest means, not only one
// that opens; also one of before objects were summed as they are stored.
func TestUnseal(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	keys, err := vault.OpenKeys(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := vault.Open(ctx, filepath.Join(dir, "target"), vault.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	v := inFolder{s}
	const content = "INSERT INTO candidates …"
	put := func() Content {
		t.Helper()
		c, err := seal(ctx, v, "dump", func(w io.Writer) error { _, err := io.WriteString(w, content); return err })
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
	shorter, of := now, Content{Plain: now.Plain, SHA256: sumOf([]byte(content))}
	shorter.Plain--
	other := of
	other.SHA256 = sumOf([]byte("INSERT INTO others …"))
	for name, c := range map[string]struct {
		Content
		good bool
	}{
		"as it was put":                       {now, true},
		"the same content, sealed by another": {first, false},
		"of another length":                   {shorter, false},
		"of an earlier Bosman":                {of, true},
		"of an earlier Bosman, changed":       {other, false},
		"without a sum":                       {Content{Plain: now.Plain}, false},
	} {
		var got strings.Builder
		err := unseal(ctx, v, "dump", c.Content, func(r io.Reader) error { _, err := io.CopyN(&got, r, 6); return err })
		if c.good && (err != nil || got.String() != "INSERT") {
			t.Errorf("%s: %q, %v", name, got.String(), err)
		}
		if !c.good && bosman.KindOf(err) != bosman.KindFailed {
			t.Errorf("%s: %v", name, err)
		}
	}
}
