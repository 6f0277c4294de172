package vault

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/bosman-cd/bosman"
)

// The content of an object is a skippable frame of zstd (RFC 8878, section
// 3.1.2) that holds its name, and the compressed frame. Programs skip the
// former; we refuse an object that lies under another's name.
const (
	labelMagic = 0x184D2A5B
	labelLimit = 4096
)

// label is what is sealed in with an object.
type label struct {
	Format int    `json:"bosman"`
	Name   string `json:"name"`
}

// counter counts and sums what passes.
type counter struct {
	n    int64
	hash hash.Hash // nil: only counted
	to   io.Writer // nil: nowhere
}

func (c *counter) Write(p []byte) (n int, err error) {
	n = len(p)
	if c.to != nil {
		n, err = c.to.Write(p)
	}
	c.n += int64(n)
	if c.hash != nil {
		_, _ = c.hash.Write(p[:n]) // a hash never fails
	}
	return n, err
}

// seal writes an object: label, compressed content, sealed.
func (s *Store) seal(to io.Writer, name string, content *counter, write func(io.Writer) error) (err error) {
	ends := []io.Closer{}
	if s.keys != nil {
		sealed, err := age.Encrypt(to, s.keys.all()...)
		if err != nil {
			return err
		}
		to, ends = sealed, append(ends, sealed)
	}
	text, err := json.Marshal(label{Format: 1, Name: name})
	if err != nil {
		return err
	}
	head := binary.LittleEndian.AppendUint32(nil, labelMagic)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(text))) //nolint:gosec // a name has at most 200 bytes
	if _, err := to.Write(append(head, text...)); err != nil {
		return err
	}
	// In one go: what is sealed comes from a program that works meanwhile, and
	// two threads of the encoder would take a quarter more of the processor.
	z, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return err
	}
	content.to = z
	if err := write(content); err != nil {
		z.Reset(nil) // its goroutines end; nothing more is written
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	for _, c := range ends {
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

// source is the object as it comes from the target. It remembers how it ended.
type source struct {
	counter
	in  io.Reader
	end error // io.EOF, or what broke
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	_, _ = s.counter.Write(p[:n]) // counts and sums only
	if err != nil {
		s.end = err
	}
	return n, err
}

// broken is an object that is not what was put.
type broken struct {
	how   string
	cause error
}

func (b *broken) Error() string { return b.how }
func (b *broken) Unwrap() error { return b.cause }

// errKey says that none of the keys fits.
var errKey = errors.New("no key fits")

// damage words an error met while an object was opened.
func (s *source) damage(err error) error {
	var wrong *age.NoIdentityMatchError
	switch {
	case s.end != nil && !errors.Is(s.end, io.EOF):
		return s.end // the target failed
	case errors.As(err, &wrong):
		return &known{errKey, err}
	case s.end != nil:
		return &broken{"it is cut off, or damaged at its end", err}
	default:
		return &broken{"it is damaged", err}
	}
}

// unseal gives the content of an object to read and, when that read to the
// end, sees that it is the end.
func (s *Store) unseal(src *source, name string, content *counter, read func(io.Reader) error) error {
	var opened io.Reader = src
	if s.keys != nil {
		var err error
		if opened, err = age.Decrypt(src, s.keys.ours()...); err != nil {
			return src.damage(err)
		}
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(opened, head); err != nil {
		return src.damage(err)
	}
	n := binary.LittleEndian.Uint32(head[4:])
	if binary.LittleEndian.Uint32(head) != labelMagic || n > labelLimit {
		return &broken{"it was not written by Bosman", nil}
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(opened, text); err != nil {
		return src.damage(err)
	}
	var l label
	if err := json.Unmarshal(text, &l); err != nil {
		return &broken{"it is damaged", err}
	}
	if l.Format != 1 {
		return bosman.Invalid("%s in %s was written by a newer Bosman", name, s.target).WithNext("upgrade Bosman")
	}
	if l.Name != name {
		return &broken{"it is another object, " + l.Name + ", under this name", nil}
	}
	z, err := zstd.NewReader(opened, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	r := &proven{z: z, opened: opened, src: src, content: content}
	err = read(r)
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		return r.err // whatever the reader made of it
	}
	return err
}

// proven reads the content; its end is said only when the object has ended
// as it should.
type proven struct {
	z       io.Reader
	opened  io.Reader
	src     *source
	content *counter
	err     error
}

func (p *proven) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.z.Read(b)
	p.content.n += int64(n)
	if errors.Is(err, io.EOF) { // zstd may have stopped before the last sealed chunk was proven
		var m int
		if m, err = io.ReadFull(p.opened, make([]byte, 1)); m != 0 {
			err = errors.New("something follows the content")
		}
	}
	if errors.Is(err, io.EOF) {
		p.err = io.EOF
	} else if err != nil {
		p.err = p.src.damage(err)
	}
	return n, p.err
}
