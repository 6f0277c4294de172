package database

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
)

// leaf is one path of the uploaded files of a backup: a line of its list.
type leaf struct {
	Path   string      `json:"p,omitempty"`
	Raw    []byte      `json:"b,omitempty"` // the path where it is not UTF-8
	Mode   fs.FileMode `json:"m"`
	Link   string      `json:"l,omitempty"`
	RawTo  []byte      `json:"lb,omitempty"` // the link where it is not UTF-8
	Size   int64       `json:"s,omitempty"`
	UID    int         `json:"u,omitempty"`
	GID    int         `json:"g,omitempty"`
	Time   int64       `json:"t"` // modified, Unix ns
	Seen   identity    `json:"i,omitzero"`
	SHA256 string      `json:"h,omitempty"`
	Pack   string      `json:"k,omitempty"` // the object that holds its content, "" for an empty file
	Offset int64       `json:"o,omitempty"`
}

// identity is how a file that nobody touched is known again without reading
// it: ctime moves with every change, and nobody can set it.
type identity struct {
	Inode uint64 `json:"n,omitempty"`
	Size  int64  `json:"s,omitempty"`
	Mtime int64  `json:"m,omitempty"`
	Ctime int64  `json:"c,omitempty"`
}

func (l *leaf) path() string {
	if l.Raw != nil {
		return string(l.Raw)
	}
	return l.Path
}

func (l *leaf) link() string {
	if l.RawTo != nil {
		return string(l.RawTo)
	}
	return l.Link
}

// newLeaf describes a path as it is.
func newLeaf(rel string, info fs.FileInfo) leaf {
	l := leaf{Path: rel, Mode: info.Mode(), Time: info.ModTime().UnixNano()}
	if !utf8.ValidString(rel) {
		l.Path, l.Raw = "", []byte(rel)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		l.UID, l.GID = int(s.Uid), int(s.Gid)
	}
	if info.Mode().IsRegular() {
		l.Size, l.Seen = info.Size(), identify(info)
	}
	return l
}

// settling is how long a file must have rested before its times are trusted:
// a change within one tick of the clock leaves them as they were.
const settling = 2 * time.Second

func identify(info fs.FileInfo) identity {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}
	}
	ctime := time.Unix(s.Ctim.Unix())
	if time.Since(ctime) < settling || time.Since(info.ModTime()) < settling {
		return identity{}
	}
	return stamped(info)
}

// stamped is the identity of a file that nobody else writes to.
func stamped(info fs.FileInfo) identity {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}
	}
	return identity{Inode: s.Ino, Size: info.Size(), Mtime: info.ModTime().UnixNano(), Ctime: time.Unix(s.Ctim.Unix()).UnixNano()}
}

// walk lists what lies in the folder root, parents first. Links are not
// followed; sockets, pipes and devices are left out, and so is what vanishes
// meanwhile. A missing root holds nothing.
func walk(ctx context.Context, root string) ([]leaf, error) {
	var out []leaf
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		l := newLeaf(rel, info)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if l.Link = to; !utf8.ValidString(to) {
				l.Link, l.RawTo = "", []byte(to)
			}
		case !info.Mode().IsRegular() && !info.IsDir():
			return nil
		}
		out = append(out, l)
		return nil
	})
	return out, err
}

// openLeaf opens a file to read it, not following a link that somebody put
// there, not waiting at a pipe, and says what it is now. KindNotFound if it
// is no file any more.
func openLeaf(root string, l *leaf) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(root, l.path()), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) {
		return nil, bosman.NotFound("the file is gone").Because(err)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !info.Mode().IsRegular() {
		return nil, errors.Join(bosman.NotFound("the file is gone"), f.Close())
	}
	l.Size, l.Seen, l.Time = info.Size(), identify(info), info.ModTime().UnixNano()
	return f, nil
}

// read copies the content of a file as far as it reached when it was opened,
// and sets its size and sum to what was read.
func (l *leaf) read(root string, w io.Writer) (err error) {
	f, err := openLeaf(root, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(f, l.Size))
	if n != l.Size {
		l.Seen = identity{} // it shrank: look again next time
	}
	l.Size, l.SHA256 = n, hex.EncodeToString(h.Sum(nil))
	return err
}

// writeList writes the list of files, a line each.
func writeList(w io.Writer, all []leaf) error {
	b := bufio.NewWriterSize(w, 1<<16)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	for i := range all {
		if err := e.Encode(&all[i]); err != nil {
			return err
		}
	}
	return b.Flush()
}

// readList reads what writeList wrote.
func readList(r io.Reader) ([]leaf, error) {
	var out []leaf
	d := json.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	for {
		var l leaf
		err := d.Decode(&l)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
}
