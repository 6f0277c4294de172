package wall

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func TestKeyIsMadeOnceAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wall.key")
	keys := make([]Key, 16)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = LoadKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if string(k) != string(keys[0]) || len(k) != 32 {
			t.Fatal("two makers have two keys")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); bosman.KindOf(err) != bosman.KindInvalid {
		t.Fatal(err)
	}
}

func TestTokenRoundTrip(t *testing.T) {
	k := Key("0123456789abcdef0123456789abcdef")
	now := time.Unix(1_800_000_000, 0).UTC()
	in := NewEnter("rms", "testing-anna", "anna", now, time.Time{})
	s, err := Sign(k, in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Verify(k, s, Enter, "rms", "testing-anna", now.Add(EnterFor-time.Second))
	if err != nil || out != in || !out.Until.Equal(now.Add(PassFor)) {
		t.Fatalf("%+v %v, want %+v", out, err, in)
	}
	if _, err := Verify(k, s, Enter, "rms", "testing-anna", now.Add(EnterFor)); bosman.KindOf(err) != bosman.KindForbidden {
		t.Fatal(err)
	}
	if _, err := Sign(k[:8], in); err == nil {
		t.Fatal("signed with a short key")
	}
}
