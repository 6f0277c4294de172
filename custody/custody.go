// Package custody keeps Bosman's own state where it survives the loss of the
// server: rows, keys, repositories and the trees of the releases that serve,
// sealed in a vault; and brings them back into an empty folder. It must not
// know what the rows mean, how repositories are kept, nor how the data of
// instances is backed up: it is told by Sources.
//
// In the vault:
//
//	bosman/site                        whose target this is
//	bosman/state/20261123T020000.000Z  a tar: state.json, keys, bosman.db
//	bosman/git/APP/DIGEST              a bundle of a repository
//	bosman/releases/APP/r12-DIGEST     a tar of a sealed release
//
// A state names the bundles and trees it needs. It is written after them and
// they are removed after it, so what is listed is complete. Bundles and trees
// are named after their content: what did not change is written once.
package custody

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/bosman-cd/bosman/vault"
)

// names in the vault.
const (
	siteName       = "bosman/site"
	statePrefix    = "bosman/state/"
	gitPrefix      = "bosman/git/"
	releasesPrefix = "bosman/releases/"
	stampLayout    = "20060102T150405.000Z"
)

// Repo is one repository.
type Repo struct {
	App  string
	Main string // its main branch
	// Digest stands for all refs; "" when there are none.
	Digest func(context.Context) (string, error)
	// Bundle writes what a digest stands for; KindBusy if it changed meanwhile.
	Bundle func(ctx context.Context, digest string, w io.Writer) error
}

// Release is a sealed release on this machine.
type Release struct {
	App    string
	Number int
	Dir    string // its folder
}

// Sources tell what is to be kept.
type Sources interface {
	// Snapshot writes a consistent copy of the rows into a new file.
	Snapshot(ctx context.Context, file string) error
	// Mark changes whenever something worth a backup changed; urgent when a
	// backup of the state before would be of little use.
	Mark(context.Context) (mark, urgent string, err error)
	Repos(context.Context) ([]Repo, error)
	// Releases are those that instances need to serve again, and to go back.
	Releases(context.Context) ([]Release, error)
}

// Config is what a Keeper needs.
type Config struct {
	Data    string                                      // DATA
	Vault   func(context.Context) (*vault.Store, error) // the target
	Sources Sources
	Home    string   // the target as it was named; no secrets
	Files   []string // small files of DATA that are kept: keys
	Version string   // of Bosman
	Flags   []string // that serve was started with, for people; no secrets
	Log     *slog.Logger
}

// Keeper makes backups of Bosman's own state.
type Keeper struct {
	Config
	mu   sync.Mutex // one backup at a time
	name sync.Mutex // one at a time names this installation
	wake chan struct{}
}

// New makes a Keeper.
func New(c Config) *Keeper {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{Config: c, wake: make(chan struct{}, 1)}
}

// State describes one backup of Bosman's own state; it is its state.json.
type State struct {
	Format   int       `json:"format"`
	Name     string    `json:"name"` // in the vault
	Site     string    `json:"site"`
	At       time.Time `json:"at"` // of the rows
	Host     string    `json:"host"`
	Version  string    `json:"version"`
	Flags    []string  `json:"flags"`
	Target   string    `json:"target"`
	Data     string    `json:"data"` // the folder it was
	Repos    []Part    `json:"repos"`
	Releases []Part    `json:"releases"`
	Files    []FileSum `json:"files"`
}

// Part is a repository or a release of a state.
type Part struct {
	App    string `json:"app"`
	Main   string `json:"main,omitempty"`   // of a repository
	Number int    `json:"number,omitempty"` // of a release
	Digest string `json:"digest"`           // "" for a repository without refs
	Object string `json:"object,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"` // in the target
}

// FileSum is a file in the state.
type FileSum struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Status tells how the backups of the state go; it is kept in DATA.
type Status struct {
	Target   string        `json:"target"`
	Name     string        `json:"name,omitempty"` // of the newest good one
	At       time.Time     `json:"at"`
	Took     time.Duration `json:"took_ns"`
	Bytes    int64         `json:"bytes"` // all that it needs, in the target
	Mark     string        `json:"mark,omitempty"`
	Urgent   string        `json:"urgent,omitempty"`
	Key      string        `json:"key,omitempty"` // fingerprint of the recovery key it is sealed for
	FailedAt time.Time     `json:"failed_at"`     // zero: the last one was good
	Error    string        `json:"error,omitempty"`
}

// folder is where a Keeper works and notes, in DATA.
const folder = "custody"

// ReadStatus reads the status kept in a data folder; zero without any.
func ReadStatus(data string) (Status, error) {
	var s Status
	b, err := os.ReadFile(filepath.Join(data, folder, "status.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

func (k *Keeper) path(parts ...string) string {
	return filepath.Join(append([]string{k.Data, folder}, parts...)...)
}

func (k *Keeper) note(s Status) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.MkdirAll(k.path(), 0o700)
	}
	if err == nil {
		err = atomicfile.Write(k.path("status.json"), append(b, '\n'), 0o600)
	}
	return err
}

// Backup makes a backup of the state now, proves it by reading it back, and
// removes those that retention does not want. The status says how it went.
func (k *Keeper) Backup(ctx context.Context) (Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	was, err := ReadStatus(k.Data)
	if err != nil {
		was = Status{}
	}
	now, err := k.backup(ctx, was)
	if ctx.Err() != nil {
		return was, ctx.Err()
	}
	if err != nil {
		was.FailedAt, was.Error = time.Now().UTC(), bosman.AsError(err).Message
		return was, errors.Join(err, k.note(was))
	}
	return now, k.note(now)
}

func (k *Keeper) backup(ctx context.Context, was Status) (s Status, err error) {
	begun := time.Now()
	v, err := k.Vault(ctx)
	if err != nil {
		return s, err
	}
	work := k.path("work")
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o700)); err != nil {
		return s, bosman.Unavailable("the state cannot be gathered").Because(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	site, err := k.site(ctx, v, was.Name != "" && was.Target == k.Home)
	if err != nil {
		return s, err
	}
	if s.Mark, s.Urgent, err = k.Sources.Mark(ctx); err != nil {
		return s, err
	}
	key, err := ReadKey(filepath.Join(k.Data, RecoveryFile))
	if err != nil {
		return s, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	at := time.Now().UTC()
	st := State{
		Format: 1, Name: statePrefix + at.Format(stampLayout), Site: site, At: at, Host: host,
		Version: k.Version, Flags: k.Flags, Target: k.Home, Data: k.Data,
	}
	if err := k.Sources.Snapshot(ctx, filepath.Join(work, rowsFile)); err != nil {
		return s, err
	}
	if err := faults.Point("custody.snapshot"); err != nil {
		return s, err
	}
	if err := k.parts(ctx, v, &st); err != nil {
		return s, err
	}
	bytes, err := k.putState(ctx, v, &st, work)
	if err != nil {
		return s, err
	}
	if err := faults.Point("custody.stated"); err != nil {
		return s, err
	}
	if err := retain(ctx, v, st, at); err != nil {
		k.Log.Warn("old backups of the state were not all removed", "err", err)
	}
	for _, p := range slices.Concat(st.Repos, st.Releases) {
		bytes += p.Bytes
	}
	s.Target, s.Name, s.At, s.Took, s.Bytes, s.Key = k.Home, st.Name, at, time.Since(begun), bytes, key.Fingerprint
	return s, nil
}

// site is the name of this installation, made at the first backup. A target
// that belongs to another is refused: each would remove what the other needs.
// So is one that was used and is empty now: perhaps its disk is not mounted.
func (k *Keeper) site(ctx context.Context, v *vault.Store, used bool) (string, error) {
	k.name.Lock()
	defer k.name.Unlock()
	file := filepath.Join(k.Data, SiteFile)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		b = []byte(strings.ToLower(rand.Text()) + "\n")
		err = atomicfile.Write(file, b, 0o600)
	}
	if err != nil {
		return "", bosman.Unavailable("the name of this installation cannot be read or kept").Because(err)
	}
	site := strings.TrimSpace(string(b))
	if used {
		if _, err := v.Stat(ctx, siteName); bosman.KindOf(err) == bosman.KindNotFound {
			return "", bosman.Unavailable("the backup target %s is empty, but Bosman has backed up to it", v.Target()).WithKept("nothing was written there").
				WithNext("see whether its disk is mounted; if it was emptied on purpose, remove " + k.path("status.json"))
		}
	}
	return site, checkSite(ctx, v, site)
}

// Claim says whether the target is this installation's, before something else
// is kept there than its state. KindConflict if it is another's, KindUnavailable
// if it was used and is empty now.
func (k *Keeper) Claim(ctx context.Context, v *vault.Store) error {
	was, err := ReadStatus(k.Data)
	if err != nil {
		was = Status{} // a backup of the state writes it anew
	}
	_, err = k.site(ctx, v, was.Name != "" && was.Target == k.Home)
	return err
}

// SiteFile holds the name of this installation, in DATA.
const SiteFile = "site"

func checkSite(ctx context.Context, v *vault.Store, site string) error {
	owner, err := small(ctx, v, siteName)
	if bosman.KindOf(err) == bosman.KindNotFound {
		_, err = v.Put(ctx, siteName, func(w io.Writer) error { _, err := io.WriteString(w, site); return err })
		if bosman.KindOf(err) == bosman.KindConflict {
			return checkSite(ctx, v, site)
		}
		return err
	}
	if kind := bosman.KindOf(err); kind == bosman.KindForbidden || err == nil && string(owner) != site {
		return bosman.Conflict("the backup target %s belongs to another Bosman", v.Target()).Because(err).
			WithKept("nothing was written there").WithNext("give each Bosman a folder or prefix of its own: --backup-target")
	}
	return err
}

// small reads a small object.
func small(ctx context.Context, v *vault.Store, name string) (b []byte, err error) {
	_, err = v.Get(ctx, name, func(r io.Reader) error {
		b, err = io.ReadAll(io.LimitReader(r, 1<<20))
		return err
	})
	return b, err
}
