package database

import (
	"context"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/mask"
)

// Masking says what is masked in golden copies of an instance's data while it
// runs a release; an empty Spec: nothing.
type Masking func(ctx context.Context, instance string, release int) (mask.Spec, error)

// Masker is an engine that masks its golden copies before anybody can use
// them. Where there is no such engine, data that has to be masked is not
// copied.
type Masker interface {
	// MaskWith sets what is masked from now on; call it before other methods.
	MaskWith(Masking)
	// MaskPlan says what a spec would do to d, which it only reads.
	MaskPlan(ctx context.Context, d bosman.Database, s mask.Spec) (mask.Plan, error)
}

// Extender is an engine whose databases take extensions that an application
// may not add itself.
type Extender interface {
	// Extend makes the extensions that d lacks. KindUnavailable names what
	// has to be installed.
	Extend(ctx context.Context, d bosman.Database, names []string) error
}

// Limited is an engine for a database that it did not make.
type Limited interface {
	// Abilities says what can be done with d and what not, each with why.
	Abilities(ctx context.Context, d bosman.Database) ([]bosman.Ability, error)
}
