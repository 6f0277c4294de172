package database

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
)

// writeArchive streams the folder src as tar, compressed by zstd, into the
// new file dst, and syncs it. A missing src makes an empty archive. Links are
// kept, never followed; sockets, pipes and devices are left out.
func writeArchive(ctx context.Context, src, dst string) (files int, bytes int64, err error) {
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	z, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = z.Close() }() // for when we fail; below it is closed in earnest
	t := tar.NewWriter(z)
	err = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		n, err := addFile(t, path, rel)
		if n >= 0 && !d.IsDir() {
			files++
			bytes += n
		}
		return err
	})
	if err != nil {
		return files, bytes, err
	}
	if err := t.Close(); err != nil {
		return files, bytes, err
	}
	if err := z.Close(); err != nil {
		return files, bytes, err
	}
	return files, bytes, out.Sync()
}

// addFile adds one path; it gives the size, or -1 if it was left out.
func addFile(t *tar.Writer, path, rel string) (size int64, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(path); err != nil {
			return -1, err
		}
	case !info.Mode().IsRegular() && !info.IsDir():
		return -1, nil
	}
	var in *os.File
	if info.Mode().IsRegular() {
		if in, err = os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); err != nil {
			return -1, err
		}
		defer func() { err = errors.Join(err, in.Close()) }()
		if info, err = in.Stat(); err != nil || !info.Mode().IsRegular() {
			return -1, err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return -1, err
	}
	h.Name, h.Format, h.Uname, h.Gname = rel, tar.FormatPAX, "", ""
	if info.IsDir() {
		h.Name += "/"
	}
	if err := t.WriteHeader(h); err != nil {
		return -1, err
	}
	if in == nil {
		return 0, nil
	}
	n, err := io.Copy(t, io.LimitReader(in, h.Size))
	if err != nil {
		return n, err
	}
	// A file cut short while it was read is filled up, as tar does.
	for n < h.Size {
		m, err := t.Write(make([]byte, min(h.Size-n, 1<<16)))
		if n += int64(m); err != nil {
			return n, err
		}
	}
	return n, nil
}

// readArchive unpacks what writeArchive wrote into the new folder dst.
// Nothing is written outside of it, whatever the archive says. With an empty
// dst it only reads. Everything belongs to uid, or for 0 to whom it belonged.
func readArchive(ctx context.Context, src, dst string, uid int) (files int, bytes int64, err error) {
	in, err := os.Open(src)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	z, err := zstd.NewReader(bufio.NewReaderSize(in, 1<<16), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return 0, 0, err
	}
	defer z.Close()
	var root *os.Root
	if dst != "" {
		if err := os.Mkdir(dst, 0o750); err != nil {
			return 0, 0, err
		}
		if err := chown(dst, uid, uid); err != nil {
			return 0, 0, err
		}
		if root, err = os.OpenRoot(dst); err != nil {
			return 0, 0, err
		}
		defer func() { err = errors.Join(err, root.Close()) }()
	}
	t := tar.NewReader(z)
	var folders []*tar.Header
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return files, bytes, err
		}
		if h.Typeflag == tar.TypeDir {
			folders = append(folders, h)
		} else {
			files++
			bytes += h.Size
		}
		if root == nil {
			if _, err := io.Copy(io.Discard, t); err != nil {
				return files, bytes, err
			}
			continue
		}
		if err := unpack(root, h, t, uid); err != nil {
			return files, bytes, err
		}
	}
	if _, err := io.Copy(io.Discard, z); err != nil { // the checksum at its end
		return files, bytes, err
	}
	for i := len(folders) - 1; i >= 0 && root != nil; i-- {
		h := folders[i]
		if err := errors.Join(root.Chmod(name(h), h.FileInfo().Mode().Perm()), root.Chtimes(name(h), h.ModTime, h.ModTime)); err != nil {
			return files, bytes, err
		}
	}
	return files, bytes, nil
}

func name(h *tar.Header) string { return strings.TrimSuffix(h.Name, "/") }

func unpack(root *os.Root, h *tar.Header, content io.Reader, uid int) (err error) {
	path, mode := name(h), h.FileInfo().Mode().Perm()
	u, g := h.Uid, h.Gid
	if uid != 0 {
		u, g = uid, uid
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if path != "." {
			if err := root.Mkdir(path, 0o700); err != nil {
				return err
			}
		}
	case tar.TypeSymlink:
		if err := root.Symlink(h.Linkname, path); err != nil {
			return err
		}
	case tar.TypeReg:
		f, err := root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
			return err
		}
		if err := root.Chtimes(path, h.ModTime, h.ModTime); err != nil {
			return err
		}
	default:
		return bosman.Failed("the archive holds %q, which is not a file, folder or link", h.Name)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return root.Lchown(path, u, g)
}
