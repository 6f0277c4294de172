package vault

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/bosman-cd/bosman"
)

// known is an error of a target's library under a name that explain decides on.
type known struct{ is, cause error }

func (k *known) Error() string   { return k.cause.Error() }
func (k *known) Unwrap() []error { return []error{k.is, k.cause} }

// explain words what went wrong with an object for people. Errors that are
// worded already, and a shutdown, stay as they are.
func (s *Store) explain(name string, err error) error {
	var worded *bosman.Error
	var b *broken
	switch {
	case err == nil || errors.Is(err, context.Canceled) || errors.As(err, &worded):
		return err
	case errors.As(err, &b):
		return bosman.Failed("%s in %s cannot be used: %s", name, s.target, b.how).Because(b.cause).
			WithKept("nothing was changed").WithNext("use another backup, and look after the target")
	case errors.Is(err, errKey):
		return bosman.Forbidden("none of the keys opens %s in %s: it was sealed for others, or its first bytes are damaged", name, s.target).
			WithKept("nothing was changed").WithNext("take the recovery key of the Bosman that wrote it")
	case errors.Is(err, fs.ErrNotExist):
		return bosman.NotFound("there is no %s in %s", name, s.target).Because(err)
	case errors.Is(err, fs.ErrExist):
		return s.taken(name)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return bosman.Unavailable("the backup target %s is full", s.target).Because(err).
			WithKept("nothing of the object was left there").WithNext("free space there, or keep fewer backups")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return bosman.Unavailable("the backup target %s does not let Bosman in", s.target).Because(err).
			WithKept("nothing was changed").WithNext("give Bosman the right to read, write and delete there")
	default:
		return bosman.Unavailable("the backup target %s cannot be used", s.target).Because(err).
			WithKept("nothing was changed").WithNext("see that it is there and can be written: bosman doctor")
	}
}
