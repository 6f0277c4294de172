// Package ground is what a database server of Bosman's own stands on: its
// folder and who may enter it, the Unix user it runs as, where its socket is,
// the secret that passwords are derived from, and who works on which name.
//
// It must not know any kind of server: what differs between them it is told.
package ground

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// Ground is where one server stands.
type Ground struct {
	Dir  string // absolute; holds data/, log/, tmp/, secret, boot
	What string // the server in messages: "database cluster main"
}

// Data is the server's own folder.
func (g Ground) Data() string { return filepath.Join(g.Dir, "data") }

// Log is the folder of its logs.
func (g Ground) Log() string { return filepath.Join(g.Dir, "log") }

// Tmp is for dumps on their way; only Bosman reads it.
func (g Ground) Tmp() string { return filepath.Join(g.Dir, "tmp") }

// Settle makes the folders but for the data's, for a server that runs as o and
// whose socket is to be in socketDir.
func (g Ground) Settle(o Owner, socketDir string) error {
	if err := errors.Join(os.MkdirAll(g.Dir, 0o755), os.MkdirAll(g.Tmp(), 0o700)); err != nil {
		return IOError("make the folder of "+g.What, g.Dir, err)
	}
	if o.Switched {
		if err := Reachable(g.Dir); err != nil {
			return err
		}
	}
	if err := o.Own(g.Log(), 0o750); err != nil {
		return err
	}
	if len(socketDir) > MaxSocketDir {
		return bosman.Invalid("the socket folder %s is too long for a Unix socket", socketDir).
			WithNext("choose one of at most 80 bytes")
	}
	return o.Own(socketDir, 0o755)
}

// EmptyTmp removes dumps that killed operations left on their way.
func (g Ground) EmptyTmp() error {
	left, err := os.ReadDir(g.Tmp())
	if err != nil {
		return IOError("look for left-over dumps", g.Dir, err)
	}
	for _, e := range left {
		if err := os.RemoveAll(filepath.Join(g.Tmp(), e.Name())); err != nil {
			return IOError("remove a left-over dump", g.Dir, err)
		}
	}
	return nil
}

// MaxSocketDir leaves room for a socket's name ("/.s.PGSQL.5432.lock") within
// the 108 bytes of unix(7).
const MaxSocketDir = 80

// SocketDir is dir/socket where that is short enough, else a folder named by a
// hash of dir under /run/bosman, or under the user's own temporary folder.
func SocketDir(dir string) string {
	socket := filepath.Join(dir, "socket")
	if len(socket) <= MaxSocketDir {
		return socket
	}
	sum := sha256.Sum256([]byte(dir))
	short := hex.EncodeToString(sum[:6])
	if os.Geteuid() == 0 {
		return filepath.Join("/run/bosman", short)
	}
	if run := os.Getenv("XDG_RUNTIME_DIR"); run != "" && len(run) < 50 {
		return filepath.Join(run, "bosman-"+short)
	}
	return filepath.Join("/tmp", "bosman-"+strconv.Itoa(os.Geteuid())+"-"+short)
}

// Secret reads what passwords are derived from, and makes it for a new server.
// KindConflict if it is damaged, or missing although the server holds data.
func (g Ground) Secret(holds func() bool) (string, error) {
	path := filepath.Join(g.Dir, "secret")
	b, err := os.ReadFile(path)
	switch {
	case err == nil && len(b) >= 32:
		return strings.TrimSpace(string(b)), nil
	case err == nil:
		return "", bosman.Conflict("the password file %s of %s is damaged", path, g.What).
			WithKept("the databases are untouched").WithNext("put it back from a backup")
	case !errors.Is(err, fs.ErrNotExist):
		return "", IOError("read the password of "+g.What, g.Dir, err)
	}
	if holds() {
		return "", bosman.Conflict("the password file %s of %s is missing", path, g.What).
			WithKept("the databases are untouched").WithNext("put it back from a backup")
	}
	secret := rand.Text() + rand.Text()
	if err := atomicfile.Write(path, []byte(secret+"\n"), 0o600); err != nil {
		return "", IOError("write the password of "+g.What, g.Dir, err)
	}
	return secret, nil
}

// Password derives the password of whom ("role app") from a secret, so that
// asking twice gives the same and nothing needs to be stored.
func Password(secret, whom string) string {
	h := hmac.New(sha256.New, []byte(secret))
	_, _ = h.Write([]byte(whom)) // a hash never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:20]))
}
