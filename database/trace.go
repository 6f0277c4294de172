package database

import (
	"context"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// What a Tracer tells of besides tables.
const (
	TraceSchema  = "the schema"
	TraceObjects = "large objects"
)

// Tracer can tell of what changes a database and no row counter sees: tables
// that were emptied at once, large objects, the schema.
type Tracer interface {
	// Traces gives by the name of a table, TraceSchema and TraceObjects a text
	// that stays the same until that is written to in such a way. A table that
	// the server writes anew, as VACUUM FULL does, has another one too.
	Traces(ctx context.Context, d bosman.Database) (map[string]string, error)
}

// Settler can wait for the sessions of an instance's processes to end: what
// one wrote last is surely counted only then.
type Settler interface {
	// Settled waits up to a limit until no session of the instance's own role
	// is left, nor anybody else's that writes; it says whether it is so. Those
	// that began before since do not matter.
	Settled(ctx context.Context, d bosman.Database, since time.Time, limit time.Duration) (bool, error)
}

// DeletionCounter can tell how many rows were deleted from each table.
type DeletionCounter interface {
	// Deleted gives them since the counters were reset.
	Deleted(ctx context.Context, d bosman.Database) (map[string]int64, error)
}

// TraceWords says in a clause what a trace that changed means.
func TraceWords(what string) string {
	switch {
	case strings.HasSuffix(what, TraceSchema):
		return what + " was changed"
	case strings.HasSuffix(what, TraceObjects):
		return what + " were changed"
	}
	return what + " was emptied or written anew"
}
