package database

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	bosman "github.com/bosman-cd/bosman"
)

// Snapshot is the data of an instance: its database and the folder of its
// uploaded files, which belong together.
type Snapshot struct {
	Database bosman.Database // Engine "" for none
	Files    string          // absolute folder; "" for none
	UID      int             // Unix user and group of the files; 0: as they are
}

// The files of a backup besides the engine's own.
const (
	manifestFile = "backup.json"
	filesFile    = "files.tar.zst"
	sumsFile     = "SHA256SUMS" // readable by sha256sum -c
	partial      = ".partial"
)

// About is what the manifest of a backup says besides its content.
type About struct {
	App      string `json:"app"`
	Instance string `json:"instance"`
	Release  int    `json:"release,omitempty"`
	Number   int    `json:"number,omitempty"` // k12
	Why      string `json:"why,omitempty"`
	By       string `json:"by,omitempty"`
}

// Manifest describes a backup; it is its backup.json.
type Manifest struct {
	Format int `json:"format"`
	About
	CreatedAt time.Time     `json:"created_at"`
	Took      time.Duration `json:"took_ns"`
	Database  *BackupInfo   `json:"database,omitempty"`
	Files     *FilesInfo    `json:"files,omitempty"`
	Contents  []Content     `json:"contents"` // all that is its own but this manifest (and, in a folder, SHA256SUMS)
	Bytes     int64         `json:"bytes"`    // that it added to the place it lies in
	Checksum  string        `json:"-"`        // sha256 of backup.json, for bosman.Backup.Checksum
}

// FilesInfo describes the uploaded files.
type FilesInfo struct {
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`               // unpacked
	Packs    []Content `json:"packs,omitempty"`     // objects that hold their content; other backups share them
	NewPacks []string  `json:"new_packs,omitempty"` // those of them that this backup wrote
	NewBytes int64     `json:"new_bytes,omitempty"` // content that no earlier backup held
}

// Content is one file or object of a backup.
type Content struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`                   // as it lies there
	Plain  int64  `json:"plain,omitempty"`         // of the content, before it was compressed and sealed
	SHA256 string `json:"sha256,omitempty"`        // of the content, if it is not sealed, or was by an earlier Bosman
	Stored string `json:"stored_sha256,omitempty"` // of an object, as it lies there
}

// Total is the number of tables and rows.
func (m Manifest) Total() (tables int, rows int64) {
	if m.Database == nil {
		return 0, 0
	}
	return m.Database.Total()
}

// Keeper copies, backs up and restores the data of an app's instances.
type Keeper struct {
	Engine  Engine // where the databases live; nil for an app without
	Scratch Engine // where backups are tried out; may be Engine
	State   string // folder for notes on swaps under way; of this keeper alone
	Log     *slog.Logger

	shelves sync.Mutex // of copies of files made in advance
}

// sums is the content of SHA256SUMS.
func sums(m Manifest) []byte {
	var b bytes.Buffer
	for _, c := range m.Contents {
		fmt.Fprintf(&b, "%s  %s\n", c.SHA256, c.Name)
	}
	fmt.Fprintf(&b, "%s  %s\n", m.Checksum, manifestFile)
	return b.Bytes()
}

func sumFile(path string, sync bool) (sum string, n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if n, err = io.Copy(h, f); err != nil {
		return "", n, err
	}
	if sync {
		err = f.Sync()
	}
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// ReadManifest reads the manifest of the backup at a place without checking
// anything else. KindNotFound if there is none.
func ReadManifest(ctx context.Context, at Place) (Manifest, error) {
	var b []byte
	var err error
	if at.Vault != nil {
		b, err = small(ctx, at.Vault, at.Name+"/"+manifestFile)
	} else if b, err = os.ReadFile(filepath.Join(at.Name, manifestFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = diskError("read the backup", at.Name, err)
	}
	if errors.Is(err, fs.ErrNotExist) || bosman.KindOf(err) == bosman.KindNotFound {
		return Manifest{}, bosman.NotFound("there is no backup %s", at.Name).Because(err)
	}
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return m, damaged(at.Name, manifestFile+" cannot be read").Because(err)
	}
	format := 1
	if at.Vault != nil {
		format = 2
	}
	if m.Format != format {
		return m, bosman.Invalid("the backup %s has format %d, which this Bosman does not know here", at.Name, m.Format).WithNext("upgrade Bosman")
	}
	m.Checksum = sumOf(b)
	return m, nil
}

func damaged(name, how string) *bosman.Error {
	return bosman.Failed("the backup %s is damaged: %s", name, how).
		WithKept("no data of an instance was touched").WithNext("use another backup and look after the disk")
}

// CheckSums reads every byte that is the backup's own and compares it with
// the checksums: not the packs of files, which others share (see Verify).
// KindFailed if anything differs, is missing or was added.
func CheckSums(ctx context.Context, at Place) (Manifest, error) {
	m, err := ReadManifest(ctx, at)
	if err != nil {
		return m, err
	}
	if at.Vault == nil {
		return m, checkFolder(ctx, at.Name, m)
	}
	for _, c := range m.Contents {
		if err := unseal(ctx, at.Vault, at.Name+"/"+c.Name, c, func(io.Reader) error { return nil }); err != nil {
			return m, err
		}
	}
	return m, nil
}

// checkFolder is CheckSums for a backup in a folder.
func checkFolder(ctx context.Context, dir string, m Manifest) error {
	have, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return damaged(dir, sumsFile+" cannot be read").Because(err)
	}
	if !bytes.Equal(have, sums(m)) {
		return damaged(dir, manifestFile+" and "+sumsFile+" do not agree")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return diskError("read the backup", dir, err)
	}
	known := []string{manifestFile, sumsFile}
	for _, c := range m.Contents {
		known = append(known, c.Name)
		if err := ctx.Err(); err != nil {
			return err
		}
		if filepath.Base(c.Name) != c.Name {
			return damaged(dir, "it names a file outside of it")
		}
		sum, n, err := sumFile(filepath.Join(dir, c.Name), false)
		if err != nil {
			return damaged(dir, c.Name+" cannot be read").Because(err)
		}
		if n != c.Bytes || sum != c.SHA256 {
			return damaged(dir, c.Name+" is not what was written")
		}
	}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			return damaged(dir, e.Name()+" does not belong to it")
		}
	}
	return nil
}

// Verify proves that the backup at a place can be restored, by reading what
// lies there: checksums, a restore into a database of its own that is compared
// and dropped, and the files. Of files that earlier backups wrote it reads a
// sample again, or all of them when asked for every.
func (k *Keeper) Verify(ctx context.Context, at Place, every bool) (m Manifest, err error) {
	m, err = k.proveFiles(ctx, at, every)
	if err != nil {
		return m, err
	}
	if m.Database != nil {
		engine := k.Scratch
		if engine == nil {
			engine = k.Engine
		}
		db, err := k.restoreInto(ctx, at, m, engine, trialName(m.Instance))
		if err != nil {
			return m, err
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := engine.Drop(end, db); err != nil {
			return m, err
		}
	}
	return m, writeProof(ctx, at, m)
}

// proveFiles checks all of a backup but the restore of its database.
func (k *Keeper) proveFiles(ctx context.Context, at Place, every bool) (Manifest, error) {
	if at.Vault != nil {
		return k.proveSealed(ctx, at, every)
	}
	m, err := CheckSums(ctx, at)
	if err != nil || m.Files == nil {
		return m, err
	}
	n, size, err := readArchive(ctx, filepath.Join(at.Name, filesFile), "", 0)
	if err != nil {
		return m, damaged(at.Name, filesFile+" cannot be read").Because(err)
	}
	if n != m.Files.Files || size != m.Files.Bytes {
		return m, damaged(at.Name, fmt.Sprintf("%s holds %d files instead of %d", filesFile, n, m.Files.Files))
	}
	return m, nil
}

// restoreInto restores the database of a backup and compares it; it is
// dropped again if it is not what was backed up.
func (k *Keeper) restoreInto(ctx context.Context, at Place, m Manifest, engine Engine, name string) (db bosman.Database, err error) {
	if engine == nil {
		return db, bosman.Internal("there is no database engine to restore the backup on")
	}
	if v, ok := engine.(Versioned); ok {
		if err := v.Accepts(ctx, *m.Database); err != nil {
			return db, err
		}
	}
	dir, done, err := k.fetch(ctx, at, m)
	if err != nil {
		return db, err
	}
	defer func() { err = errors.Join(err, done()) }()
	if db, err = engine.Restore(ctx, dir, name); err != nil {
		return db, err
	}
	if err := Compare(ctx, engine, db, at.Name, *m.Database); err != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return bosman.Database{}, errors.Join(err, engine.Drop(end, db))
	}
	return db, nil
}

// Compare says whether db holds what the backup in dir is said to hold.
func Compare(ctx context.Context, engine Engine, db bosman.Database, dir string, want BackupInfo) error {
	got, err := engine.Inspect(ctx, db)
	if err != nil {
		return err
	}
	if diffs := Differences(want, got); len(diffs) > 0 {
		return damaged(dir, "restored, it is not what was backed up: "+strings.Join(diffs, "; "))
	}
	if c, ok := engine.(Checker); ok {
		return c.Check(ctx, db)
	}
	return nil
}

// removeFolder removes a backup in a folder, or what is left of one.
func removeFolder(dir string) error {
	// Renamed first, so that no half-removed folder looks like a backup.
	if err := os.RemoveAll(dir + partial); err != nil {
		return diskError("remove the backup", dir, err)
	}
	if err := os.Rename(dir, dir+partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError("remove the backup", dir, err)
	}
	return diskError("remove the backup", dir, os.RemoveAll(dir+partial))
}
