package database

import "context"

type lowKey struct{}

// Low marks work that should yield to all else on the host: golden copies made
// on a schedule, copies made in advance.
func Low(ctx context.Context) context.Context { return context.WithValue(ctx, lowKey{}, true) }

// IsLow says whether ctx carries the mark of Low.
func IsLow(ctx context.Context) bool {
	low, ok := ctx.Value(lowKey{}).(bool)
	return ok && low
}

// InAdvance ends the name of the strategy of a copy that was made before it
// was asked for: "template, made in advance".
const InAdvance = ", made in advance"
