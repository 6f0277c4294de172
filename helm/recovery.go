package helm

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/notify"
	"github.com/bosman-cd/bosman/store"
)

// Custody keeps Bosman's own state where it survives the loss of the server.
type Custody interface {
	// Recovery says how things stand.
	Recovery(context.Context) (bosman.Recovery, error)
	// MakeKey makes the recovery key and gives its secret; KindConflict if
	// there is one, unless it is to be renewed.
	MakeKey(ctx context.Context, by string, renew bool) (secret string, err error)
	// ConfirmKey proves by the key or its last letters that somebody has it.
	ConfirmKey(ctx context.Context, by, answer string) error
	// BackUpState makes a backup of the state now.
	BackUpState(context.Context) error
}

// Recovery says how well Bosman would survive the loss of its server. Whoever
// is logged in may know.
func (h *Helm) Recovery(ctx context.Context) (bosman.Recovery, error) {
	return h.Custody.Recovery(ctx)
}

// MakeRecoveryKey makes the recovery key, or with renew another one in its
// place, and gives its secret: the only time that it can be seen.
func (h *Helm) MakeRecoveryKey(ctx context.Context, a bosman.Actor, renew bool) (string, error) {
	if err := h.may(ctx, a, bosman.MayAdminister, "", ""); err != nil {
		return "", err
	}
	secret, err := h.Custody.MakeKey(ctx, a.Person, renew)
	if err != nil {
		return "", err
	}
	what := "was shown the new recovery key"
	if renew {
		what = "renewed the recovery key and was shown it"
	}
	return secret, h.noteAlone(ctx, a, what)
}

// ConfirmRecoveryKey proves that somebody has the recovery key.
func (h *Helm) ConfirmRecoveryKey(ctx context.Context, a bosman.Actor, answer string) error {
	if err := h.may(ctx, a, bosman.MayAdminister, "", ""); err != nil {
		return err
	}
	if err := h.Custody.ConfirmKey(ctx, a.Person, answer); err != nil {
		return err
	}
	return h.noteAlone(ctx, a, "confirmed to have the recovery key")
}

// BackUpState makes a backup of Bosman's own state now.
func (h *Helm) BackUpState(ctx context.Context, a bosman.Actor) (bosman.Recovery, error) {
	if err := h.may(ctx, a, bosman.MayAdminister, "", ""); err != nil {
		return bosman.Recovery{}, err
	}
	if err := h.Custody.BackUpState(ctx); err != nil {
		return bosman.Recovery{}, err
	}
	return h.Custody.Recovery(ctx)
}

func (h *Helm) noteAlone(ctx context.Context, a bosman.Actor, what string) error {
	return h.Store.InTx(ctx, func(s *store.Store) error {
		return h.note(ctx, s, a, bosman.Activity{What: what})
	})
}

// stateMessage tells that Bosman's own state is not backed up.
func stateMessage(m notify.Message, e bosman.Event) notify.Message {
	m.Kind, m.Title = "backup.failed", "Bosman's own state could not be backed up"
	m.Text = e.Subject + "; until it can, a lost server loses what changed since the last good backup"
	return m
}
