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

	held int64 // room it takes on the disk it was seen on
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
		l.Size, l.Seen, l.held = info.Size(), identify(info), allocated(info)
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
// followed, also not one that is put in the place of a folder meanwhile;
// sockets, pipes and devices are left out, and so is what vanishes. A missing
// root holds nothing.
func walk(ctx context.Context, root string) ([]leaf, error) {
	in, info, err := openTree(root)
	if in == nil || err != nil {
		return nil, err
	}
	var out []leaf
	err = walkIn(ctx, in, ".", info, &out)
	return out, errors.Join(err, in.Close())
}

// openTree opens a folder, as what lies above it says that it is; nil for a
// missing one. KindConflict for what is none, or a link to one.
func openTree(dir string) (*os.Root, fs.FileInfo, error) {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || dir == "" {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	notFolder := bosman.Conflict("%s is not a folder", dir)
	if !info.IsDir() {
		return nil, nil, notFolder
	}
	in, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	now, err := in.Stat(".")
	if err == nil && !os.SameFile(info, now) { // a link came into its place
		err = notFolder
	}
	if err != nil {
		return nil, nil, errors.Join(err, in.Close())
	}
	return in, info, nil
}

func walkIn(ctx context.Context, in *os.Root, rel string, info fs.FileInfo, out *[]leaf) error {
	*out = append(*out, newLeaf(rel, info))
	entries, err := list(in)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		path := filepath.Join(rel, e.Name())
		switch {
		case e.IsDir():
			sub, err := in.OpenRoot(e.Name())
			if err = vanished(err); err == nil {
				err = errors.Join(walkIn(ctx, sub, path, e, out), sub.Close())
			}
			if err != nil && !errors.Is(err, errVanished) {
				return err
			}
		case e.Mode()&fs.ModeSymlink != 0:
			to, err := in.Readlink(e.Name())
			if errors.Is(vanished(err), errVanished) {
				continue
			}
			if err != nil {
				return err
			}
			l := newLeaf(path, e)
			if l.Link = to; !utf8.ValidString(to) {
				l.Link, l.RawTo = "", []byte(to)
			}
			*out = append(*out, l)
		case e.Mode().IsRegular():
			*out = append(*out, newLeaf(path, e))
		}
	}
	return nil
}

// openLeaf opens a file of a folder to read it and says what it is now.
// KindNotFound if it is no file any more.
func openLeaf(root *os.Root, l *leaf) (*os.File, error) {
	if root == nil {
		return nil, bosman.NotFound("the file is gone")
	}
	f, err := openIn(root, l.path())
	if errors.Is(err, errVanished) {
		return nil, bosman.NotFound("the file is gone").Because(err)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l.Size, l.Seen, l.Time = info.Size(), identify(info), info.ModTime().UnixNano()
	return f, nil
}

// read copies the content of a file as far as it reached when it was opened,
// and sets its size and sum to what was read.
func (l *leaf) read(root *os.Root, w io.Writer) (err error) {
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
