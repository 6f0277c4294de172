package problem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/klauspost/compress/zstd"
)

// Bodies keeps scrubbed events as zstd files: DIR/APP/ab/ab…32 hex.zst.
type Bodies struct {
	dir string
	enc *zstd.Encoder
}

var eventID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// maxStored caps what Read gives back, whatever a file claims.
const maxStored = 64 << 20

// NewBodies keeps bodies under dir, which it makes.
func NewBodies(dir string) (*Bodies, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, bosman.Unavailable("the folder for error reports cannot be made").Because(err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(2))
	if err != nil {
		return nil, bosman.Internal("zstd does not start").Because(err)
	}
	return &Bodies{dir: dir, enc: enc}, nil
}

// name is the file of an event, relative to the folder.
func (b *Bodies) name(app, id string) (string, error) {
	if !eventID.MatchString(id) || bosman.CheckName("app", app) != nil {
		return "", bosman.Invalid("%s is no event of %s", id, app)
	}
	return filepath.Join(app, id[:2], id+".zst"), nil
}

func (b *Bodies) pack(data []byte) []byte { return b.enc.EncodeAll(data, nil) }

// put writes a packed body and syncs it; one that exists is left alone, so
// that the first event of an ID wins in file and row alike.
func (b *Bodies) put(app, id string, packed []byte) (name string, err error) {
	name, err = b.name(app, id)
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.dir, name)
	if _, err := os.Lstat(path); err == nil {
		return name, nil
	}
	f, err := os.CreateTemp(b.dir, ".new-*")
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(b.dir, 0o700); err == nil {
			f, err = os.CreateTemp(b.dir, ".new-*")
		}
	}
	if err != nil {
		return "", fmt.Errorf("keep an error report: %w", err)
	}
	_, err = f.Write(packed)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
		if errors.Is(err, fs.ErrNotExist) {
			if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
				err = os.Rename(f.Name(), path)
			}
		}
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("keep an error report: %w", err), ignoreMissing(os.Remove(f.Name())))
	}
	return name, nil
}

// Read gives the scrubbed JSON of an event of bosman.ErrorEvent.Body.
func (b *Bodies) Read(name string) (data []byte, err error) {
	if !filepath.IsLocal(name) {
		return nil, bosman.Invalid("%q is no stored event", name)
	}
	f, err := os.Open(filepath.Join(b.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, bosman.NotFound("this event's details are not kept any more")
	}
	if err != nil {
		return nil, bosman.Unavailable("an error report cannot be read").Because(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxStored))
	if err != nil {
		return nil, bosman.Internal("zstd does not start").Because(err)
	}
	defer d.Close()
	if data, err = io.ReadAll(io.LimitReader(d, maxStored)); err != nil {
		return nil, bosman.Unavailable("an error report is damaged").Because(err)
	}
	return data, nil
}

// Remove forgets a body; one that is gone already is no error.
func (b *Bodies) Remove(name string) error {
	if !filepath.IsLocal(name) {
		return bosman.Invalid("%q is no stored event", name)
	}
	return ignoreMissing(os.Remove(filepath.Join(b.dir, name)))
}

// Sweep removes the bodies that keep does not want and that are older than
// age, and what a kill left half-written. It says how many went and how many
// bytes that freed. age leaves time for an event's row to be committed.
func (b *Bodies) Sweep(ctx context.Context, age time.Duration, keep func(name string) (bool, error)) (files int, bytes int64, err error) {
	oldest := time.Now().Add(-age)
	err = filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return ignoreMissing(err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		if info.ModTime().After(oldest) {
			return nil
		}
		name, err := filepath.Rel(b.dir, path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, ".zst") {
			wanted, err := keep(name)
			if err != nil || wanted {
				return err
			}
		}
		if err := os.Remove(path); err != nil {
			return ignoreMissing(err)
		}
		files++
		bytes += info.Size()
		return nil
	})
	if err != nil {
		return files, bytes, bosman.Unavailable("old error reports cannot be removed").Because(err)
	}
	return files, bytes, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
