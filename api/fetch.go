package api

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/bosman-cd/bosman/api/wire"
)

const tarball = "application/x-tar"

// fetches hands over what a backup holds of a database.
func (s *server) fetches() {
	stream[Numbered, string](s, route{"POST", "/apps/{app}/backups/{n}/fetch", "fetch-backup", "backups", "The files of a backup's database, unsealed, as a tar file; over the server's socket alone"}, tarball,
		func(ctx context.Context, in *Numbered, r *http.Request, w http.ResponseWriter) {
			dir, done, err := s.Helm.FetchBackup(ctx, actor(ctx), in.App, in.N)
			if err != nil {
				s.refuse(w, r, err)
				return
			}
			err = sendFiles(dir, newLines(w))
			if rerr := done(); rerr != nil {
				s.Log.Warn("what was fetched of a backup was left behind; it goes at the next start", "app", in.App, "err", rerr)
			}
			if err != nil && ctx.Err() == nil { // the caller misses the last entry
				s.Log.Warn("a backup was not handed over in full", "app", in.App, "err", err)
			}
		})
}

// Write implements io.Writer for a tar file.
func (l *lines) Write(p []byte) (int, error) { return len(p), l.raw(tarball, p) }

// sendFiles sends the files of a database in dir, and in the end their
// checksums.
func sendFiles(dir string, to io.Writer) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(to, 256<<10)
	t := tar.NewWriter(out)
	sums := wire.Fetched{}
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), "database") {
			continue
		}
		if sums[e.Name()], err = sendFile(t, filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	b, err := json.Marshal(sums)
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: wire.FetchedSums, Mode: 0o600, Size: int64(len(b))}); err != nil {
		return err
	}
	if _, err := t.Write(b); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	return out.Flush()
}

func sendFile(t *tar.Writer, path string) (sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if err := t.WriteHeader(&tar.Header{Name: filepath.Base(path), Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(t, io.TeeReader(f, h)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
