package secret

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/bosman-cd/bosman"
)

func TestSealAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.key")
	box, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := box.Seal("hunter2 ż")
	if err != nil || bytes.Contains(sealed, []byte("hunter2")) {
		t.Fatalf("sealed as %q, %v", sealed, err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(sealed); err != nil || got != "hunter2 ż" {
		t.Errorf("%q, %v", got, err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := again.Open(sealed); err == nil {
		t.Error("a changed secret was opened")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a damaged key file: %v", err)
	}
}

func TestParseEnv(t *testing.T) {
	got, err := ParseEnv("# comment\n\nA=1\nexport B = \"two\\nlines\"\nC='x=y'\nD=\n")
	want := map[string]string{"A": "1", "B": "two\nlines", "C": "x=y", "D": ""}
	if err != nil || len(got) != len(want) {
		t.Fatalf("%q, %v", got, err)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %q, want %q", k, got[k], v)
		}
	}
	for _, bad := range []string{"A", "1A=2", "A B=3", "=x"} {
		if _, err := ParseEnv(bad); bosman.KindOf(err) != bosman.KindInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
