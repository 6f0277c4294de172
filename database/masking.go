package database

import (
	"context"
	"database/sql"
	"fmt"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/mask"
)

// Masking says what is masked in golden copies of an instance's data while it
// runs a release; an empty Spec: nothing.
type Masking func(ctx context.Context, instance string, release int) (mask.Spec, error)

// Spec gives what is masked in a golden copy of the database that an engine
// calls name, and the version of these masks. Without a Masking nothing is.
func (m Masking) Spec(ctx context.Context, name string, release int) (mask.Spec, string, error) {
	if m == nil {
		return mask.Spec{}, "", nil
	}
	s, err := m(ctx, Base(name), release)
	if err != nil {
		return s, "", err
	}
	v, err := s.Version()
	return s, v, err
}

// Masker is an engine that masks its golden copies before anybody can use
// them. Where there is no such engine, data that has to be masked is not
// copied.
type Masker interface {
	// MaskWith sets what is masked from now on; call it before other methods.
	MaskWith(Masking)
	// MaskPlan says what a spec would do to d, which it only reads.
	MaskPlan(ctx context.Context, d bosman.Database, s mask.Spec) (mask.Plan, error)
}

// The errors of golden copies that could not be masked, whatever the engine.

// MaskFailed says that a table could not be masked: why is what the server
// said, without the values it said it of.
func MaskFailed(table, why string, cause error) error {
	return bosman.Failed("the table %s cannot be masked: %s", table, why).
		WithKept("no copy was made of this data").WithNext("choose other kinds for its columns in bosman.yaml, or mask it with a file of mask_sql").Because(cause)
}

// MaskTable masks a table, all of whose rows must be reached. failed makes of
// what the server says what people are told.
func MaskTable(ctx context.Context, conn *sql.Conn, u mask.Update, failed func(table string, err error) error) error {
	var want int64
	if err := conn.QueryRowContext(ctx, u.Count).Scan(&want); err != nil {
		return fmt.Errorf("count %s: %w", u.Table, err)
	}
	done, err := conn.ExecContext(ctx, u.SQL)
	if err != nil {
		return failed(u.Table, err)
	}
	got, err := done.RowsAffected()
	if err == nil && got != want {
		err = MaskShort(u.Table, want, got)
	}
	return err
}

// MaskShort says that fewer rows of a table were masked than there are.
func MaskShort(table string, want, got int64) error {
	return bosman.Failed("of %d rows of the table %s only %d were masked", want, table, got).
		WithKept("no copy was made of this data").WithNext("see whether a rule of the table stands in the way")
}

// MaskOrphans says that a foreign key that held does not hold any more.
func MaskOrphans(name string) error {
	return bosman.Failed("masked, the foreign key %s would no longer hold", name).
		WithKept("no copy was made of this data").WithNext("give both of its columns the same kind of mask")
}

// MaskFileFailed says that a file of mask_sql did not run to its end.
func MaskFileFailed(name, why string, cause error) error {
	return bosman.Failed("%s did not run on the copy: %s", name, why).
		WithKept("no copy was made of this data").WithNext("try the file on a database of this release").Because(cause)
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
