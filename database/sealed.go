package database

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// A backup in a vault (format 2) is these objects; it exists when its
// manifest does, which is written last and removed first:
//
//	backups/APP/INSTANCE/NAME/backup.json    the manifest
//	backups/APP/INSTANCE/NAME/database.dump  what the engine writes, streamed
//	backups/APP/INSTANCE/NAME/files          the list of uploaded files
//	backups/APP/INSTANCE/NAME/proof          that it was restored and compared
//	files/APP/…                              packs of files, shared by backups

const (
	listFile    = "files"
	proofFile   = "proof"
	backupsRoot = "backups/"
)

// NameIn names a backup in a vault: "backups/rms/live/20261123t023000000-k12".
func NameIn(app, instance string, number int, at time.Time) string {
	return path.Join(backupsRoot+app, instance, Stamp(at)+"-"+bosman.Ref(bosman.LetterBackup, number))
}

// Streamer is an engine that hands over its backup while it is made: what
// Backup would write into a folder goes to put, file by file, under the same
// names. Restore takes a folder of these files.
type Streamer interface {
	BackupTo(ctx context.Context, d bosman.Database, put func(name string, write func(io.Writer) error) error) (BackupInfo, error)
}

// Lacking is an engine whose backups may lack something of a database.
type Lacking interface {
	// Lacks says what a backup made now would not hold, and why; "" if nothing.
	Lacks(ctx context.Context, d bosman.Database) (string, error)
}

// Versioned is an engine that knows which backups its server cannot read.
type Versioned interface {
	// Accepts fails with KindInvalid for a backup of a server too new.
	Accepts(ctx context.Context, b BackupInfo) error
}

// Backup writes a backup of s to the place at, which must be in a vault and
// free. It is there once its manifest is. It does not count before Verify.
// What the newest backup of the app that can be read holds of the files is
// used again: files that nobody touched are neither read nor written.
func (k *Keeper) Backup(ctx context.Context, s Snapshot, at Place, about About) (Manifest, error) {
	m := Manifest{Format: 2, About: about, CreatedAt: time.Now().UTC()}
	if err := errors.Join(bosman.CheckName("instance", about.Instance), bosman.CheckName("app", about.App)); err != nil {
		return m, err
	}
	if at.Vault == nil {
		return m, bosman.Internal("a backup needs a vault")
	}
	if _, err := ReadManifest(ctx, at); err == nil {
		return m, bosman.Conflict("there is a backup %s already", at.Name).WithKept("it is untouched")
	}
	if err := Remove(ctx, at); err != nil { // left by a killed run
		return m, err
	}
	p := &packer{vault: at.Vault, app: about.App, packs: map[string]Content{}}
	err := k.fill(ctx, s, at, &m, p)
	if err == nil {
		err = k.finishBackup(ctx, at, &m)
	}
	if err != nil {
		if ctx.Err() != nil {
			return m, err // a shutdown: done again, it clears up first
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = diskError("write the backup", at.Name, err)
		if rerr := Remove(end, at); rerr != nil {
			logger(k.Log).Warn("parts of a failed backup are left in the target", "backup", at.Name, "err", rerr)
		}
		return m, err
	}
	return m, faults.Point("database.backup.done")
}

func (k *Keeper) fill(ctx context.Context, s Snapshot, at Place, m *Manifest, p *packer) error {
	put := func(name string, write func(io.Writer) error) error {
		c, err := seal(ctx, at.Vault, at.Name+"/"+name, write)
		if err != nil {
			return err
		}
		c.Name = name
		m.Contents = append(m.Contents, c)
		m.Bytes += c.Bytes
		return nil
	}
	if s.Database.Engine != "" {
		if k.Engine == nil {
			return bosman.Internal("an app without database engine has the database %s", s.Database.Name)
		}
		info, err := k.backupTo(ctx, s.Database, put)
		if err != nil {
			return err
		}
		m.Database = &info
	}
	if s.Files == "" {
		return nil
	}
	return k.fillFiles(ctx, at, m, p, s.Files, put)
}

// backupTo streams the database where the engine can, and else lets it write
// into a folder first.
func (k *Keeper) backupTo(ctx context.Context, d bosman.Database, put func(string, func(io.Writer) error) error) (info BackupInfo, err error) {
	if e, ok := k.Engine.(Streamer); ok {
		return e.BackupTo(ctx, d, put)
	}
	dir, err := k.temp("backup")
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if info, err = k.Engine.Backup(ctx, d, dir); err != nil {
		return info, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return info, err
	}
	for _, e := range entries {
		if err := put(e.Name(), func(w io.Writer) error { return copyInto(w, filepath.Join(dir, e.Name())) }); err != nil {
			return info, err
		}
	}
	return info, nil
}

func copyInto(w io.Writer, file string) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(w, f)
	return err
}

// temp makes a folder for what lies on this machine only for a while; Recover
// removes it if we are killed.
func (k *Keeper) temp(what string) (string, error) {
	dir := filepath.Join(k.State, "tmp")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", diskError("make a folder", dir, err)
	}
	dir, err := os.MkdirTemp(dir, what+"-")
	return dir, diskError("make a folder", dir, err)
}

func (k *Keeper) fillFiles(ctx context.Context, at Place, m *Manifest, p *packer, files string, put func(string, func(io.Writer) error) error) (err error) {
	if p.root, _, err = openTree(files); err != nil {
		return err
	}
	if p.root != nil {
		defer func() { err = errors.Join(err, p.root.Close()) }()
	}
	old, there, err := k.before(ctx, at.Vault, m.App, m.Instance)
	if err != nil {
		return err
	}
	if p.all, err = walk(ctx, files); err != nil {
		return err
	}
	todo, err := p.reuse(ctx, old, there)
	if err != nil {
		return err
	}
	if err := p.write(ctx, todo); err != nil {
		return err
	}
	if err := put(listFile, func(w io.Writer) error { return writeList(w, p.all) }); err != nil {
		return err
	}
	f := &FilesInfo{NewPacks: p.new, NewBytes: p.wrote}
	f.Files, f.Bytes = tally(p.all)
	for _, c := range p.packs {
		f.Packs = append(f.Packs, c)
	}
	slices.SortFunc(f.Packs, func(a, b Content) int { return strings.Compare(a.Name, b.Name) })
	for _, name := range p.new {
		m.Bytes += p.packs[name].Bytes
	}
	m.Files = f
	return faults.Point("database.backup.listed")
}

// before gives the list of files of the newest backup of an instance that can
// be read, and the packs it names that are there in full.
func (k *Keeper) before(ctx context.Context, v Vault, app, instance string) ([]leaf, map[string]Content, error) {
	names, err := Stored(ctx, v, app)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Backward(names) {
		if path.Base(path.Dir(name)) != instance {
			continue
		}
		at := Place{v, name}
		m, err := ReadManifest(ctx, at)
		if err == nil && m.Files != nil {
			var all []leaf
			if all, err = m.list(ctx, at); err == nil {
				there, err := present(ctx, v, app, m.Files.Packs)
				return all, there, err
			}
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil, err
			}
			logger(k.Log).Warn("an earlier backup cannot be read; files are written again", "backup", name, "err", err)
		}
	}
	return nil, nil, nil
}

// present gives those packs that lie in the vault with the size they had.
func present(ctx context.Context, v Vault, app string, packs []Content) (map[string]Content, error) {
	have, err := Listed(ctx, v, packFolder(app))
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(have))
	for _, o := range have {
		sizes[o.Name] = o.Size
	}
	there := make(map[string]Content, len(packs))
	for _, c := range packs {
		if size, ok := sizes[c.Name]; ok && size == c.Bytes {
			there[c.Name] = c
		}
	}
	return there, nil
}

// finishBackup writes the manifest: from then on the backup is there.
func (k *Keeper) finishBackup(ctx context.Context, at Place, m *Manifest) error {
	if err := faults.Point("database.backup.sealed"); err != nil {
		return err
	}
	m.Took = time.Since(m.CreatedAt)
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	m.Checksum = sumOf(b)
	_, err = at.Vault.Put(ctx, at.Name+"/"+manifestFile, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	return err
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// content finds a file of the backup by name.
func (m Manifest) content(name string) (Content, error) {
	for _, c := range m.Contents {
		if c.Name == name {
			return c, nil
		}
	}
	return Content{}, bosman.Failed("the manifest of the backup does not name %s", name)
}

// list reads the list of files.
func (m Manifest) list(ctx context.Context, at Place) (all []leaf, err error) {
	c, err := m.content(listFile)
	if err != nil {
		return nil, err
	}
	err = unseal(ctx, at.Vault, at.Name+"/"+listFile, c, func(r io.Reader) error {
		all, err = readList(r)
		if err != nil {
			return damaged(at.Name, "the list of files cannot be read").Because(err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if n, size := tally(all); m.Files == nil || n != m.Files.Files || size != m.Files.Bytes {
		return nil, damaged(at.Name, "the list of files and the manifest do not agree")
	}
	return all, nil
}

// fetch brings what the engine wrote into a folder of this machine, each file
// compared with its checksum. done removes it.
func (k *Keeper) fetch(ctx context.Context, at Place, m Manifest) (dir string, done func() error, err error) {
	if at.Vault == nil {
		return at.Name, func() error { return nil }, nil
	}
	var bytes int64
	for _, c := range m.Contents {
		if strings.HasPrefix(c.Name, "database") {
			bytes += c.Plain
		}
	}
	if dir, err = k.temp("restore"); err != nil {
		return "", nil, err
	}
	done = func() error { return diskError("remove what was fetched", dir, os.RemoveAll(dir)) }
	if err := Room(dir, bytes); err != nil {
		return "", nil, errors.Join(err, done())
	}
	for _, c := range m.Contents {
		if !strings.HasPrefix(c.Name, "database") || path.Base(c.Name) != c.Name {
			continue
		}
		if err := unseal(ctx, at.Vault, at.Name+"/"+c.Name, c, func(r io.Reader) error { return saveTo(filepath.Join(dir, c.Name), r) }); err != nil {
			return "", nil, errors.Join(diskError("fetch the backup", dir, err), done())
		}
	}
	if err := faults.Point("database.restore.fetched"); err != nil {
		return "", nil, errors.Join(err, done())
	}
	return dir, done, nil
}

func saveTo(file string, r io.Reader) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, r)
	return err
}

// sampled is which part of the packs that earlier backups wrote is read again
// when a backup is proven: a tenth, at least one.
const sampled = 10

// proveSealed reads the parts of a backup in a vault that are no database:
// the list, the packs this backup wrote, and all the others (every) or a
// sample of them; of the rest it sees that they are there in full.
func (k *Keeper) proveSealed(ctx context.Context, at Place, every bool) (Manifest, error) {
	m, err := ReadManifest(ctx, at)
	if err != nil || m.Files == nil {
		return m, err
	}
	all, err := m.list(ctx, at)
	if err != nil {
		return m, err
	}
	there, err := present(ctx, at.Vault, m.App, m.Files.Packs)
	if err != nil {
		return m, err
	}
	packs := map[string][]*leaf{}
	for i := range all {
		if l := &all[i]; l.Pack != "" {
			if _, ok := there[l.Pack]; !ok {
				return m, damaged(at.Name, fmt.Sprintf("%s, which holds the file %q, is not there in full", l.Pack, l.path()))
			}
			packs[l.Pack] = append(packs[l.Pack], l)
		}
	}
	var others []string
	for name := range packs {
		if !slices.Contains(m.Files.NewPacks, name) {
			others = append(others, name)
		}
	}
	if n := (len(others) + sampled - 1) / sampled; !every && n < len(others) {
		rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		others = others[:n]
	}
	for name, of := range packs {
		if slices.Contains(m.Files.NewPacks, name) || slices.Contains(others, name) {
			if err := unpackPack(ctx, at.Vault, m.App, name, of, nil, 0); err != nil {
				return m, err
			}
		}
	}
	return m, nil
}

// proof is what lies beside a backup that was restored and compared.
type proof struct {
	At       time.Time `json:"at"`
	Manifest string    `json:"manifest"` // its checksum
}

// writeProof notes in the vault that a backup counts, so that another server
// which finds it knows.
func writeProof(ctx context.Context, at Place, m Manifest) error {
	if at.Vault == nil {
		return nil
	}
	if proven, err := ProvenAt(ctx, at, m); err == nil && !proven.IsZero() {
		return nil // an object cannot be replaced: killed between, the backup would count no more
	}
	b, err := json.Marshal(proof{At: time.Now().UTC(), Manifest: m.Checksum})
	if err != nil {
		return err
	}
	if err := at.Vault.Delete(ctx, at.Name+"/"+proofFile); err != nil {
		return err
	}
	_, err = at.Vault.Put(ctx, at.Name+"/"+proofFile, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	return err
}

// ProvenAt says when the backup at a place was first restored and compared;
// zero if it never was.
func ProvenAt(ctx context.Context, at Place, m Manifest) (time.Time, error) {
	if at.Vault == nil {
		return time.Time{}, nil
	}
	b, err := small(ctx, at.Vault, at.Name+"/"+proofFile)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	var p proof
	if err := json.Unmarshal(b, &p); err != nil || p.Manifest != m.Checksum {
		return time.Time{}, nil //nolint:nilerr // a proof of something else is none
	}
	return p.At, nil
}

// small reads an object that fits into memory.
func small(ctx context.Context, v Vault, name string) (b []byte, err error) {
	_, err = v.Get(ctx, name, func(r io.Reader) error {
		b, err = io.ReadAll(r)
		return err
	})
	return b, err
}
