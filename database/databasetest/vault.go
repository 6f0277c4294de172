package databasetest

import (
	"context"
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/vault"
)

// Sealed is a real vault in a folder, as backups see it.
type Sealed struct{ *vault.Store }

// Vault makes a vault in a folder, with the key that lies beside it.
func Vault(t testing.TB, dir string) Sealed {
	t.Helper()
	return vaultWith(t, dir, dir+".key")
}

// VaultInS3 makes a vault in an S3 server of the test's own.
func VaultInS3(t testing.TB) Sealed {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("bosman"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(srv.Close)
	keys, err := vault.OpenKeys(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := vault.Open(t.Context(), "s3://bosman/backups/site", vault.Options{Keys: keys, S3: vault.S3{Endpoint: srv.URL, AccessKey: "key", SecretKey: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return Sealed{s}
}

// vaultWith opens the vault in dir with the key in a file; a name without a
// folder is a key that was never used before.
func vaultWith(t testing.TB, dir, key string) Sealed {
	t.Helper()
	if filepath.Base(key) == key {
		key = filepath.Join(t.TempDir(), key)
	}
	s, err := openVault(dir, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openVault(dir, key string) (Sealed, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Sealed{}, err
	}
	keys, err := vault.OpenKeys(key)
	if err != nil {
		return Sealed{}, err
	}
	s, err := vault.Open(context.Background(), dir, vault.Options{Keys: keys})
	return Sealed{s}, err
}

// place names a backup of an instance of the app rms.
func (s Sealed) place(instance string, number int) database.Place {
	return database.Place{Vault: s, Name: database.NameIn("rms", instance, number, time.Unix(int64(number), 0))}
}

// filesIn lists the files below dir.
func filesIn(t testing.TB, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			out = append(out, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
