package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// FileChange is one path that differs between two commits. Renames are shown
// as a deletion and an addition.
type FileChange struct {
	Path             string
	Status           byte   // 'A' added, 'M' modified, 'D' deleted, 'T' type changed
	OldBlob, NewBlob string // zero where there is none
}

// ChangedFiles gives what to changed since it left base: base...to, in order
// of path.
func (r *Repo) ChangedFiles(ctx context.Context, base, to string) ([]FileChange, error) {
	return r.diff(ctx, "...", base, to)
}

// Differences gives the paths in which the trees of from and to differ.
func (r *Repo) Differences(ctx context.Context, from, to string) ([]FileChange, error) {
	return r.diff(ctx, "..", from, to)
}

func (r *Repo) diff(ctx context.Context, dots, from, to string) ([]FileChange, error) {
	if err := checkRev(from, to); err != nil {
		return nil, err
	}
	out, err := r.git(ctx, "diff", "--raw", "-z", "--no-abbrev", "--no-renames", "--no-ext-diff", "--end-of-options", qualify(from)+dots+qualify(to), "--")
	if err != nil {
		return nil, noSuchCommit(err, r.App, []string{from, to})
	}
	list := fields(out)
	var changes []FileChange
	for ; len(list) >= 2; list = list[2:] {
		meta := strings.Fields(list[0])
		if len(meta) != 5 || meta[4] == "" {
			return nil, bosman.Internal("git's list of changed files is not understood: %q", list[0])
		}
		changes = append(changes, FileChange{Path: list[1], Status: meta[4][0], OldBlob: meta[2], NewBlob: meta[3]})
	}
	return changes, nil
}

func noSuchCommit(err error, app string, revs []string) error {
	if exitOf(err) == 128 {
		return bosman.NotFound("%s has no commit %s", app, strings.Join(revs, " or ")).Because(err)
	}
	return err
}

// Files gives all files of a commit: path and object name. Submodules are
// left out, symbolic links are in.
func (r *Repo) Files(ctx context.Context, rev string) (map[string]string, error) {
	entries, err := r.Tree(ctx, rev)
	if err != nil {
		return nil, err
	}
	files := make(map[string]string, len(entries))
	for _, e := range entries {
		if e.Kind != Submodule {
			files[e.Path] = e.Hash
		}
	}
	return files, nil
}

// ChangedBlobs is ChangedFiles as two plain shapes: the paths that were added
// or modified with their new blobs, and the deleted paths.
func (r *Repo) ChangedBlobs(ctx context.Context, base, to string) (added map[string]string, deleted []string, err error) {
	changes, err := r.ChangedFiles(ctx, base, to)
	if err != nil {
		return nil, nil, err
	}
	added = map[string]string{}
	for _, c := range changes {
		if c.Status == 'D' {
			deleted = append(deleted, c.Path)
		} else {
			added[c.Path] = c.NewBlob
		}
	}
	return added, deleted, nil
}

// EntryKind is what a path of a tree is.
type EntryKind string

// The kinds of entries.
const (
	File       EntryKind = "file"
	Executable EntryKind = "executable"
	Symlink    EntryKind = "symlink"
	Submodule  EntryKind = "submodule"
)

// Entry is one path of a tree.
type Entry struct {
	Path  string
	Kind  EntryKind
	Hash  string
	Bytes int64 // -1 for a submodule
}

// Tree lists all paths of a commit or tree, in order, folders left out.
func (r *Repo) Tree(ctx context.Context, rev string) ([]Entry, error) {
	if err := checkRev(rev); err != nil {
		return nil, err
	}
	out, err := r.git(ctx, "ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", qualify(rev))
	if err != nil {
		return nil, noSuchCommit(err, r.App, []string{rev})
	}
	var entries []Entry
	for _, line := range fields(out) {
		meta, name, ok := strings.Cut(line, "\t")
		m := strings.Fields(meta)
		if !ok || len(m) != 4 {
			return nil, bosman.Internal("git's list of files is not understood: %q", line)
		}
		e := Entry{Path: name, Hash: m[2], Bytes: -1, Kind: File}
		switch m[0] {
		case "100755":
			e.Kind = Executable
		case "120000":
			e.Kind = Symlink
		case "160000":
			e.Kind = Submodule
		}
		if m[3] != "-" {
			if e.Bytes, err = strconv.ParseInt(m[3], 10, 64); err != nil {
				return nil, bosman.Internal("git's list of files is not understood: %q", line).Because(err)
			}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// MaxBlob is the size up to which Blobs and ReadFile read a file: 16 MiB.
const MaxBlob = 16 << 20

// ReadFile reads one file of a commit; KindNotFound if there is none.
func (r *Repo) ReadFile(ctx context.Context, rev, name string) ([]byte, error) {
	if err := checkRev(rev); err != nil {
		return nil, err
	}
	if name == "" || strings.ContainsAny(name, "\x00\n") {
		return nil, bosman.Invalid("%q does not name a file", name)
	}
	spec := qualify(rev) + ":" + name
	got, tooBig, err := r.cat(ctx, []string{spec})
	if err != nil {
		return nil, err
	}
	data, ok := got[spec]
	if tooBig {
		return nil, bosman.Invalid("the file %s is above %d MB and is not read", name, MaxBlob>>20)
	}
	if !ok {
		return nil, bosman.NotFound("%s has no file %s in %s", r.App, name, bosman.Short(rev))
	}
	return data, nil
}

// Blobs reads blobs through one git process. Hashes the repository does not
// hold and blobs above MaxBlob are left out.
func (r *Repo) Blobs(ctx context.Context, hashes []string) (map[string][]byte, error) {
	for _, h := range hashes {
		if !isHash(h) {
			return nil, bosman.Invalid("%q is no full object name", h)
		}
	}
	got, _, err := r.cat(ctx, hashes)
	return got, err
}

// cat reads blobs by name; tooBig says that some were above MaxBlob.
func (r *Repo) cat(ctx context.Context, specs []string) (got map[string][]byte, tooBig bool, err error) {
	got = make(map[string][]byte, len(specs))
	if len(specs) == 0 {
		return got, false, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.bin, "--git-dir="+r.dir, "cat-file", "--batch")
	cmd.Env = r.baseEnv()
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdin = strings.NewReader(strings.Join(specs, "\n") + "\n")
	stderr := &tail{max: 4096}
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, false, bosman.Unavailable("git cat-file cannot start").Because(err)
	}
	tooBig, readErr := readBatch(bufio.NewReaderSize(stdout, 64<<10), specs, got)
	if readErr != nil {
		cancel() // it would wait for us to read on
	}
	err = cmd.Wait()
	switch {
	case readErr != nil:
		if bosman.KindOf(readErr) == bosman.KindInternal && stderr.String() != "" {
			readErr = errors.Join(readErr, errors.New(stderr.String()))
		}
		return nil, false, readErr
	case err != nil:
		return nil, false, bosman.Unavailable("git cat-file failed on the repository of %s", r.App).Because(fmt.Errorf("%w: %s", err, stderr))
	}
	return got, tooBig, nil
}

// readBatch reads the answers "HASH TYPE SIZE\n…\n" or "SPEC missing\n".
func readBatch(in *bufio.Reader, specs []string, got map[string][]byte) (tooBig bool, err error) {
	for _, spec := range specs {
		line, err := in.ReadString('\n')
		if err != nil {
			return false, bosman.Internal("git cat-file ended early").Because(err)
		}
		line = strings.TrimSuffix(line, "\n")
		if strings.HasSuffix(line, " missing") {
			continue
		}
		parts := strings.Fields(line)
		if len(parts) != 3 {
			return false, bosman.Internal("git cat-file's answer is not understood: %q", line)
		}
		size, err := strconv.ParseInt(parts[2], 10, 64)
		if err != nil {
			return false, bosman.Internal("git cat-file's answer is not understood: %q", line).Because(err)
		}
		if size > MaxBlob {
			tooBig = true
			if _, err := io.CopyN(io.Discard, in, size+1); err != nil {
				return false, bosman.Internal("git cat-file ended early").Because(err)
			}
			continue
		}
		data := make([]byte, size+1) // and a newline
		if _, err := io.ReadFull(in, data); err != nil {
			return false, bosman.Internal("git cat-file ended early").Because(err)
		}
		if parts[1] == "blob" {
			got[spec] = data[:size]
		}
	}
	return tooBig, nil
}
