package api

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// recovery are the verbs about the loss of the server.
func (s *server) recovery() {
	const tag = "recovery"
	add(s, route{"GET", "/recovery", "get-recovery", tag, "How well Bosman would survive the loss of its server"}, func(ctx context.Context, _ *struct{}) (bosman.Recovery, error) {
		return s.Helm.Recovery(ctx)
	})
	add(s, route{"POST", "/recovery/key", "make-recovery-key", tag, "Make the recovery key; the answer holds its secret, once"}, func(ctx context.Context, in *struct {
		Body struct {
			Renew bool `json:"renew,omitempty" doc:"another one in place of the one that nobody has any more"`
		}
	},
	) (wire.RecoveryKey, error) {
		secret, err := s.Helm.MakeRecoveryKey(ctx, actor(ctx), in.Body.Renew)
		if err != nil {
			return wire.RecoveryKey{}, err
		}
		r, err := s.Helm.Recovery(ctx)
		return wire.RecoveryKey{Secret: secret, Fingerprint: r.Fingerprint}, err
	})
	add(s, route{"POST", "/recovery/confirm", "confirm-recovery-key", tag, "Prove that somebody has the recovery key"}, func(ctx context.Context, in *struct {
		Body struct {
			Answer string `json:"answer" doc:"the key, or its last 8 letters"`
		}
	},
	) (bosman.Recovery, error) {
		if err := s.Helm.ConfirmRecoveryKey(ctx, actor(ctx), in.Body.Answer); err != nil {
			return bosman.Recovery{}, err
		}
		return s.Helm.Recovery(ctx)
	})
	add(s, route{"POST", "/recovery/backup", "back-up-state", tag, "Make a backup of Bosman's own state now"}, func(ctx context.Context, _ *struct{}) (bosman.Recovery, error) {
		return s.Helm.BackUpState(ctx, actor(ctx))
	})
}
