package database

import (
	"errors"
	"time"

	bosman "github.com/bosman-cd/bosman"
)

// ErrLostWithHost is the cause where a database was thrown away since the host
// crashed while its files were not on the disk.
var ErrLostWithHost = errors.New("the host stopped without warning")

// LostWithHost tells whoever looks for the database of an instance that it was
// lost so; found is when that was seen.
func LostWithHost(name string, found time.Time) error {
	return bosman.NotFound("the copy of %s was lost when the host stopped without warning (found %s)", name, found.UTC().Format("2006-01-02 15:04 UTC")).
		WithNext("take a fresh copy: bosman reset " + name).Because(ErrLostWithHost)
}
