package helm

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/store"
)

// Fetcher is Vaults that hand over what a backup holds of a database.
type Fetcher interface {
	// Fetch gives a folder with the opened files, which stay until done.
	Fetch(ctx context.Context, b bosman.Backup) (dir string, done func() error, err error)
}

// fromSocket is where an actor asks from who is on the server's own machine.
const fromSocket = "cli"

// FetchBackup hands over the files of a backup's database, unsealed, to who
// may restore there and is on the server's own machine: they are not sent over
// any network. done removes them.
func (h *Helm) FetchBackup(ctx context.Context, a bosman.Actor, app string, n int) (dir string, done func() error, err error) {
	b, err := h.backupOf(ctx, a, bosman.MayRestore, app, n)
	if err != nil {
		return "", nil, err
	}
	ref := bosman.Ref(bosman.LetterBackup, n)
	f, ok := h.Vaults.(Fetcher)
	if a.From != fromSocket || !ok {
		return "", nil, bosman.Forbidden("what a backup holds is handed over on the server's own machine alone").
			WithKept("nothing was sent").WithNext("log in there, and say: bosman backup fetch " + ref + " --to DIR")
	}
	if dir, done, err = f.Fetch(ctx, b); err != nil {
		return "", nil, err
	}
	err = h.Store.InTx(ctx, func(s *store.Store) error {
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "take the files of " + ref + " of " + b.Instance + " out, unsealed", Subject: ref, Instance: b.Instance})
	})
	if err != nil {
		if rerr := done(); rerr != nil {
			h.Log.Warn("what was fetched of a backup was left behind; it goes at the next start", "backup", ref, "err", rerr)
		}
		return "", nil, err
	}
	return dir, done, nil
}
