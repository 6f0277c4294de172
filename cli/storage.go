package cli

import (
	"fmt"

	"github.com/bosman-cd/bosman"
)

// StorageOptions are the flags of storage prepare.
type StorageOptions struct {
	Data       string                  `kong:"-"` // from --data
	Size       bytesFlag               `default:"20G" help:"How much may be in it; the file grows up to that."`
	Dir        string                  `placeholder:"DIR" help:"Where to mount it; DATA/storage when left out."`
	Filesystem string                  `enum:"xfs,btrfs" default:"xfs" help:"What to make: xfs or btrfs."`
	Undo       bool                    `help:"Take it away again; refused while copies of instances are in it."`
	Yes        bool                    `help:"Do not ask."`
	Ask        func(what string) error `kong:"-"` // nil error: go on
}

// bytesFlag is a size as people write it: 20G, 800M.
type bytesFlag int64

// UnmarshalText reads it.
func (b *bytesFlag) UnmarshalText(text []byte) error {
	var n int64
	unit := ""
	if _, err := fmt.Sscanf(string(text), "%d%s", &n, &unit); err != nil || n <= 0 || n > 1<<20 {
		return fmt.Errorf("%q is not a size: write it like 20G or 800M", text)
	}
	switch unit {
	case "G", "GB":
		*b = bytesFlag(n << 30)
	case "M", "MB":
		*b = bytesFlag(n << 20)
	default:
		return fmt.Errorf("%q is not a size: write it like 20G or 800M", text)
	}
	return nil
}

type storageCmd struct {
	Prepare storagePrepareCmd `cmd:"" help:"Make storage on which fresh copies take a second, whatever their size."`
}

type storagePrepareCmd struct{ StorageOptions }

// Help gives examples.
func (storagePrepareCmd) Help() string {
	return `Makes a file with a file system in it and mounts it, so that copies of
databases share what they have in common. Where the data folder's own file
system can do that (XFS, btrfs), it says that nothing is needed. Root runs it
on the server's own machine; done twice it does no harm.

Examples:
  bosman storage prepare
  bosman storage prepare --size 100G --yes
  bosman storage prepare --filesystem btrfs
  bosman storage prepare --dir /mnt/fast/bosman
  bosman storage prepare --undo`
}

// Run prepares.
func (c *storagePrepareCmd) Run(e *env) error {
	if e.roles.Storage == nil {
		return notBuiltIn("storage")
	}
	if e.global.Remote != "" {
		return bosman.Invalid("storage is prepared on the server's own machine").WithNext("log in there and leave --server out")
	}
	c.Data = e.data()
	c.Ask = func(what string) error {
		if c.Yes {
			_, err := fmt.Fprintln(e.stdout, what)
			return err
		}
		word := "prepare"
		if c.Undo {
			word = "undo"
		}
		return e.confirm(what, word, "--yes")
	}
	return e.roles.Storage(e.ctx, c.StorageOptions, e.stdout)
}
