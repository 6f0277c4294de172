// Package vault keeps sealed objects in a target that may be lost, full,
// broken or read by strangers: a folder or an S3 bucket. What goes in is
// compressed with zstd, sealed with age for the server's key and the recovery
// key, and streamed in constant memory; an object appears whole or not at all
// and is never replaced. It must not know what the objects are.
//
// By hand, an object is opened with the programs age and zstd:
//
//	age -d -i KEYFILE < state/20261123T090000Z.tar.zst.age | zstd -d
//
// What is sealed cannot be read or changed unseen by whoever owns the target.
// They can delete it, offer an older object of another name for it (which is
// refused, since the name is sealed in), or hold back newer ones.
package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Options say how objects are kept.
type Options struct {
	Keys  *Keys // who may open what is put
	Plain bool  // compressed but not sealed; instead of Keys, and never by accident
	S3    S3    // how a target s3:// is reached; see S3FromEnv
}

// Store is one target.
type Store struct {
	objects objects
	target  string
	keys    *Keys // nil: plain

	mu      sync.Mutex
	putting map[string]bool
}

// Open gives the store of a target: an absolute folder, a file:// address or
// s3://bucket/prefix (?endpoint=…&region=… may follow). A folder is made if
// its parent is there; S3 is not asked before the first use. KindInvalid for
// a target or options that are not understood.
func Open(ctx context.Context, target string, o Options) (*Store, error) {
	if (o.Keys == nil) != o.Plain {
		return nil, bosman.Internal("a vault needs keys, or must be said to be plain, and not both")
	}
	s := &Store{keys: o.Keys, putting: map[string]bool{}}
	var err error
	if s.objects, s.target, err = openTarget(ctx, target, o.S3); err != nil {
		return nil, err
	}
	return s, nil
}

// Target names the place without any secret, for people.
func (s *Store) Target() string { return s.target }

// Close lets go of the target.
func (s *Store) Close() error { return s.objects.close() }

// suffixes of the objects in the target.
const (
	sealedSuffix = ".zst.age"
	plainSuffix  = ".zst"
)

func (s *Store) suffix() string {
	if s.keys == nil {
		return plainSuffix
	}
	return sealedSuffix
}

// Put streams what write gives into a new object. It appears when write and
// everything after it succeeded, and leaves nothing otherwise. KindConflict
// if the name is taken; the object there is untouched.
func (s *Store) Put(ctx context.Context, name string, write func(io.Writer) error) (bosman.SealedObject, error) {
	info := bosman.SealedObject{Name: name}
	if err := CheckName(name); err != nil {
		return info, err
	}
	if !s.begin(name) {
		return info, s.taken(name)
	}
	defer s.end(name)
	if _, err := s.Stat(ctx, name); err == nil {
		return info, s.taken(name)
	} else if bosman.KindOf(err) != bosman.KindNotFound {
		return info, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	defer stop()
	sum := &counter{hash: sha256.New(), to: w}
	content := &counter{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(s.seal(sum, name, content, write)) // nil is the end
	}()
	err := s.objects.put(ctx, name+s.suffix(), r)
	r.CloseWithError(err) // a writer that goes on is told
	<-done                // its error, if it was the first, came through the pipe
	if err != nil {
		return info, s.explain(name, err)
	}
	info.Size, info.Plain, info.SHA256, info.At = sum.n, content.n, hex.EncodeToString(sum.hash.Sum(nil)), time.Now().UTC()
	return info, faults.Point("vault.put")
}

func (s *Store) begin(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.putting[name] {
		return false
	}
	s.putting[name] = true
	return true
}

func (s *Store) end(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.putting, name)
}

func (s *Store) taken(name string) error {
	return bosman.Conflict("there is an object %s in %s already", name, s.target).WithKept("it is untouched")
}

// Get streams the content of an object to read. What read was given is proven
// only when Get returns nil: KindFailed if the object is damaged or cut off,
// KindForbidden if none of the keys opens it, KindNotFound if it is not there,
// KindUnavailable if the target is out of reach. A read that stops early and
// returns nil is no error; then what it did not read is not checked, and
// sizes and checksum are of what was read.
func (s *Store) Get(ctx context.Context, name string, read func(io.Reader) error) (info bosman.SealedObject, err error) {
	info.Name = name
	if err := CheckName(name); err != nil {
		return info, err
	}
	stat, err := s.objects.stat(ctx, name+s.suffix())
	if err != nil {
		return info, s.explain(name, err)
	}
	in, err := s.objects.get(ctx, name+s.suffix())
	if err != nil {
		return info, s.explain(name, err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	stop := context.AfterFunc(ctx, func() { _ = in.Close() }) // ends a read that hangs
	defer stop()
	src := &source{in: in, counter: counter{hash: sha256.New()}}
	content := &counter{}
	err = s.unseal(src, name, content, read)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return info, s.explain(name, err)
	}
	info.Size, info.Plain, info.SHA256, info.At = src.n, content.n, hex.EncodeToString(src.hash.Sum(nil)), stat.at
	return info, nil
}

// Verify reads an object to its end and gives its sizes and checksum. Errors
// are those of Get.
func (s *Store) Verify(ctx context.Context, name string) (bosman.SealedObject, error) {
	return s.Get(ctx, name, func(r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
}

// Stat describes an object without opening it. KindNotFound if it is not there.
func (s *Store) Stat(ctx context.Context, name string) (bosman.SealedObject, error) {
	if err := CheckName(name); err != nil {
		return bosman.SealedObject{}, err
	}
	o, err := s.objects.stat(ctx, name+s.suffix())
	if err != nil {
		return bosman.SealedObject{Name: name}, s.explain(name, err)
	}
	return bosman.SealedObject{Name: name, Size: o.size, At: o.at}, nil
}

// List gives the objects whose names begin with prefix, in the order of their
// names. What is not one of ours is passed over. It ends after an error.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[bosman.SealedObject, error] {
	return func(yield func(bosman.SealedObject, error) bool) {
		for o, err := range s.objects.list(ctx, prefix) {
			if err != nil {
				yield(bosman.SealedObject{}, s.explain(prefix, err))
				return
			}
			name, ours := strings.CutSuffix(o.name, s.suffix())
			if !ours || CheckName(name) != nil {
				continue
			}
			if !yield(bosman.SealedObject{Name: name, Size: o.size, At: o.at}, nil) {
				return
			}
		}
	}
}

// Delete takes an object away; one that is not there is no error.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return s.explain(name, s.objects.remove(ctx, name+s.suffix()))
}

// Sweep removes what unfinished puts, also of killed processes, left behind
// and is older than age. Nobody may still be writing things that old.
func (s *Store) Sweep(ctx context.Context, age time.Duration) error {
	return s.explain("", s.objects.sweep(ctx, time.Now().Add(-age)))
}

// probes is where Check writes.
const probes = "probe/"

// Check proves that the target can be written, read and cleaned: it puts a
// small object, reads it back and deletes it.
func (s *Store) Check(ctx context.Context) error {
	name, want := probes+strings.ToLower(rand.Text()), []byte(rand.Text())
	if _, err := s.Put(ctx, name, func(w io.Writer) error { _, err := w.Write(want); return err }); err != nil {
		return err
	}
	var got []byte
	_, err := s.Get(ctx, name, func(r io.Reader) (err error) { got, err = io.ReadAll(r); return err })
	if err == nil && !bytes.Equal(got, want) {
		err = bosman.Failed("%s does not give back what was written", s.target).WithNext("look after the target, or name another")
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(err, s.Delete(end, name))
}

// CheckName says whether name can name an object: parts of letters, digits,
// dots, dashes and underscores, none beginning with a dot, joined by slashes,
// at most 200 bytes.
func CheckName(name string) error {
	bad := name == "" || len(name) > 200
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
			bad = true
		}
	}
	if bad {
		return bosman.Invalid("%q cannot name an object in a vault", name).
			WithNext("use letters, digits, dots, dashes and underscores, in parts joined by slashes")
	}
	return nil
}
