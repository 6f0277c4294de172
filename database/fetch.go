package database

import (
	"context"

	bosman "github.com/bosman-cd/bosman"
)

// Fetch brings the files that hold the database of a backup, opened and
// compared with their checksums, into a folder of this machine that is
// the caller's until done; uploaded files are not among them.
func (k *Keeper) Fetch(ctx context.Context, at Place) (dir string, done func() error, err error) {
	m, err := ReadManifest(ctx, at)
	if err != nil {
		return "", nil, err
	}
	if m.Database == nil {
		return "", nil, bosman.NotFound("the backup holds no database")
	}
	return k.fetch(ctx, at, m)
}
