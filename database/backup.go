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
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
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
	Contents  []Content     `json:"contents"` // every file of the backup but this one and SHA256SUMS
	Bytes     int64         `json:"bytes"`    // of them together
	Checksum  string        `json:"-"`        // sha256 of backup.json, for bosman.Backup.Checksum
}

// FilesInfo describes the archive of uploaded files.
type FilesInfo struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"` // unpacked
}

// Content is one file of a backup.
type Content struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
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
}

// Backup writes a backup of s into the new folder dir. Until it is complete
// the folder is called dir.partial. It does not count before Verify.
func (k *Keeper) Backup(ctx context.Context, s Snapshot, dir string, about About) (Manifest, error) {
	begun := time.Now()
	m := Manifest{Format: 1, About: about, CreatedAt: begun.UTC()}
	if err := bosman.CheckName("instance", about.Instance); err != nil {
		return m, err
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return m, bosman.Conflict("there is a backup in %s already", dir).WithKept("it is untouched").Because(err)
	}
	work := dir + partial
	if err := os.RemoveAll(work); err != nil {
		return m, diskError("remove a half-made backup", work, err)
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return m, diskError("make a folder for the backup", work, err)
	}
	if err := k.fillBackup(ctx, s, work, &m); err != nil {
		return m, errors.Join(diskError("write the backup", dir, err), os.RemoveAll(work))
	}
	m.Took = time.Since(begun)
	if err := seal(work, &m); err != nil {
		return m, errors.Join(diskError("write the backup", dir, err), os.RemoveAll(work))
	}
	if err := faults.Point("database.backup.sealed"); err != nil {
		return m, err
	}
	if err := errors.Join(os.Rename(work, dir), syncFolder(filepath.Dir(dir))); err != nil {
		return m, diskError("finish the backup", dir, err)
	}
	return m, faults.Point("database.backup.renamed")
}

func (k *Keeper) fillBackup(ctx context.Context, s Snapshot, work string, m *Manifest) error {
	if s.Database.Engine != "" {
		if k.Engine == nil {
			return bosman.Internal("an app without database engine has the database %s", s.Database.Name)
		}
		info, err := k.Engine.Backup(ctx, s.Database, work)
		if err != nil {
			return err
		}
		m.Database = &info
	}
	if s.Files == "" {
		return nil
	}
	files, size, err := writeArchive(ctx, s.Files, filepath.Join(work, filesFile))
	m.Files = &FilesInfo{Files: files, Bytes: size}
	if err != nil {
		return err
	}
	return faults.Point("database.backup.archived")
}

// seal writes manifest and checksums over everything in dir, and syncs it.
func seal(dir string, m *Manifest) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return bosman.Internal("a backup holds %s, which is not a file", e.Name())
		}
		path := filepath.Join(dir, e.Name())
		sum, n, err := sumFile(path, true)
		if err != nil {
			return err
		}
		m.Contents = append(m.Contents, Content{Name: e.Name(), Bytes: n, SHA256: sum})
		m.Bytes += n
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	sum := sha256.Sum256(b)
	m.Checksum = hex.EncodeToString(sum[:])
	if err := atomicfile.Write(filepath.Join(dir, manifestFile), b, 0o600); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, sumsFile), sums(*m), 0o600)
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

// ReadManifest reads the manifest of the backup in dir without checking
// anything else.
func ReadManifest(dir string) (Manifest, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, bosman.NotFound("there is no backup in %s", dir).Because(err)
	}
	if err != nil {
		return Manifest{}, diskError("read the backup", dir, err)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return m, damaged(dir, manifestFile+" cannot be read").Because(err)
	}
	if m.Format != 1 {
		return m, bosman.Invalid("the backup in %s has format %d, which this Bosman does not know", dir, m.Format).WithNext("upgrade Bosman")
	}
	sum := sha256.Sum256(b)
	m.Checksum = hex.EncodeToString(sum[:])
	return m, nil
}

func damaged(dir, how string) *bosman.Error {
	return bosman.Failed("the backup in %s is damaged: %s", dir, how).
		WithKept("no data of an instance was touched").WithNext("use another backup and look after the disk")
}

// CheckSums reads every byte of the backup in dir and compares it with the
// checksums. KindFailed if anything differs, is missing or was added.
func CheckSums(ctx context.Context, dir string) (Manifest, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return m, err
	}
	have, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return m, damaged(dir, sumsFile+" cannot be read").Because(err)
	}
	if !bytes.Equal(have, sums(m)) {
		return m, damaged(dir, manifestFile+" and "+sumsFile+" do not agree")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return m, diskError("read the backup", dir, err)
	}
	known := []string{manifestFile, sumsFile}
	for _, c := range m.Contents {
		known = append(known, c.Name)
		if err := ctx.Err(); err != nil {
			return m, err
		}
		if filepath.Base(c.Name) != c.Name {
			return m, damaged(dir, "it names a file outside of it")
		}
		sum, n, err := sumFile(filepath.Join(dir, c.Name), false)
		if err != nil {
			return m, damaged(dir, c.Name+" cannot be read").Because(err)
		}
		if n != c.Bytes || sum != c.SHA256 {
			return m, damaged(dir, c.Name+" is not what was written")
		}
	}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			return m, damaged(dir, e.Name()+" does not belong to it")
		}
	}
	return m, nil
}

// Verify proves that the backup in dir can be restored: checksums, a restore
// into a database of its own that is compared and dropped, and the archive of
// files read to its end.
func (k *Keeper) Verify(ctx context.Context, dir string) (m Manifest, err error) {
	engine := k.Scratch
	if engine == nil {
		engine = k.Engine
	}
	m, err = ReadManifest(dir)
	if err != nil {
		return m, err
	}
	db, m, err := k.VerifyInto(ctx, Folder(dir), engine, trialName(m.Instance))
	if err != nil || db.Engine == "" {
		return m, err
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return m, engine.Drop(end, db)
}

// proveFiles checks all of a backup but the restore of its database.
func (k *Keeper) proveFiles(ctx context.Context, at Place) (Manifest, error) {
	m, err := CheckSums(ctx, at.Name)
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
func (k *Keeper) restoreInto(ctx context.Context, at Place, engine Engine, name string, want BackupInfo) (bosman.Database, error) {
	if engine == nil {
		return bosman.Database{}, bosman.Internal("there is no database engine to restore the backup on")
	}
	db, err := engine.Restore(ctx, at.Name, name)
	if err != nil {
		return db, err
	}
	if err := compare(ctx, engine, db, at.Name, want); err != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return bosman.Database{}, errors.Join(err, engine.Drop(end, db))
	}
	return db, nil
}

// compare says whether db holds what the backup in dir is said to hold.
func compare(ctx context.Context, engine Engine, db bosman.Database, dir string, want BackupInfo) error {
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

// Remove removes a backup or what is left of one.
func Remove(dir string) error {
	// Renamed first, so that no half-removed folder looks like a backup.
	if err := os.RemoveAll(dir + partial); err != nil {
		return diskError("remove the backup", dir, err)
	}
	if err := os.Rename(dir, dir+partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError("remove the backup", dir, err)
	}
	return diskError("remove the backup", dir, os.RemoveAll(dir+partial))
}

// RemovePartial removes the half-made backups directly in dir.
func RemovePartial(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, "*"+partial))
	if err != nil {
		return err
	}
	for _, p := range left {
		if err := os.RemoveAll(p); err != nil {
			return diskError("remove a half-made backup", p, err)
		}
	}
	return nil
}
