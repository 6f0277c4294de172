package apitest

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
)

// keeper is helm.Custody without a vault: what is asked is remembered.
type keeper struct{ r *bosman.Recovery }

func (k keeper) Recovery(context.Context) (bosman.Recovery, error) { return *k.r, nil }

func (k keeper) MakeKey(_ context.Context, by string, renew bool) (string, error) {
	if k.r.KeyMade && !renew {
		return "", bosman.Conflict("the recovery key was shown")
	}
	*k.r = bosman.Recovery{KeyMade: true, Fingerprint: "3f2a 91c0 77de 0b14", MadeBy: by, MadeAt: time.Now().UTC()}
	return "AGE-SECRET-KEY-1TEST", nil
}

func (k keeper) ConfirmKey(_ context.Context, by, answer string) error {
	if answer != "AGE-SECRET-KEY-1TEST" {
		return bosman.Invalid("that is not the recovery key")
	}
	k.r.ConfirmedAt, k.r.ConfirmedBy = time.Now().UTC(), by
	return nil
}

func (k keeper) BackUpState(context.Context) error {
	k.r.StateAt = time.Now().UTC()
	return nil
}
