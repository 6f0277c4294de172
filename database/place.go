package database

import (
	"context"
	"crypto/rand"
	"io"
	"iter"
	"strings"

	bosman "github.com/bosman-cd/bosman"
)

// Vault keeps sealed objects by name, in a folder or with an object store. An
// object is there whole or not at all.
type Vault interface {
	// Put stores what write writes; nothing is there if write or the storing
	// fails.
	Put(ctx context.Context, name string, write func(io.Writer) error) (bosman.SealedObject, error)
	// Get hands over an object's content. Only when Get gives nil was all of it
	// right, and what it tells is of all of it if read went to its end.
	// KindNotFound if there is none, KindFailed if it is damaged,
	// KindForbidden if it is sealed with another key.
	Get(ctx context.Context, name string, read func(io.Reader) error) (bosman.SealedObject, error)
	// List gives the objects whose names begin with prefix, and ends after an
	// error.
	List(ctx context.Context, prefix string) iter.Seq2[bosman.SealedObject, error]
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, name string) error
}

// Listed gives the objects whose names begin with prefix: all, so that they
// may be removed meanwhile.
func Listed(ctx context.Context, v Vault, prefix string) (all []bosman.SealedObject, err error) {
	for o, err := range v.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// Place says where a backup lies: under a name in a vault, or, without one, in
// a folder of this machine.
type Place struct {
	Vault Vault
	Name  string
}

// Folder is the place of a backup that is a folder of this machine.
func Folder(dir string) Place { return Place{Name: dir} }

// VerifyInto proves the backup at a place as Verify does, restores it on the
// engine into a database of that name and leaves it there: whoever asked for
// it drops it. After an error there is none. The database is zero for a backup
// without one.
func (k *Keeper) VerifyInto(ctx context.Context, at Place, engine Engine, name string) (bosman.Database, Manifest, error) {
	m, err := k.proveFiles(ctx, at, false)
	if err != nil {
		return bosman.Database{}, m, err
	}
	var db bosman.Database
	if m.Database != nil {
		if db, err = k.restoreInto(ctx, at, m, engine, name); err != nil {
			return db, m, err
		}
	}
	return db, m, writeProof(ctx, at, m)
}

// trialName is a name for a trial restore; Recover removes what has it.
func trialName(instance string) string {
	return Beside(Base(instance), TagVerify+"_"+strings.ToLower(rand.Text()[:8]))
}
