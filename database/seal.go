package database

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// seal puts an object. What is summed is what the vault stored: a third of the
// content, which the vault's own checks bind to it.
func seal(ctx context.Context, v Vault, name string, write func(io.Writer) error) (Content, error) {
	c := &tallied{}
	o, err := v.Put(ctx, name, func(w io.Writer) error {
		c.to = w
		return write(c)
	})
	return Content{Name: name, Bytes: o.Size, Plain: c.n, Stored: o.SHA256}, err
}

// unseal reads an object whose content is known. What read was given is right
// only if unseal gives nil.
func unseal(ctx context.Context, v Vault, name string, c Content, read func(io.Reader) error) error {
	content := &tallied{}
	if c.Stored == "" { // by an earlier Bosman, which summed the content
		content.hash = sha256.New()
	}
	o, err := v.Get(ctx, name, func(r io.Reader) error {
		if err := read(io.TeeReader(r, content)); err != nil {
			return err
		}
		_, err := io.Copy(content, r)
		return err
	})
	if err != nil {
		return err
	}
	same := o.SHA256 == c.Stored
	if content.hash != nil {
		same = content.sum() == c.SHA256
	}
	if !same || content.n != c.Plain {
		return damaged(name, "it is not what was written")
	}
	return nil
}

// tallied counts what is written through it, and sums it if it has a hash.
type tallied struct {
	to   io.Writer // nil: nowhere
	hash hash.Hash // nil: not summed
	n    int64
}

func (t *tallied) Write(b []byte) (n int, err error) {
	n = len(b)
	if t.to != nil {
		n, err = t.to.Write(b)
	}
	t.n += int64(n)
	if t.hash != nil {
		_, _ = t.hash.Write(b[:n]) // a hash never fails
	}
	return n, err
}

func (t *tallied) sum() string {
	return hex.EncodeToString(t.hash.Sum(nil))
}
