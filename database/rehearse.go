package database

import (
	"context"
	"time"

	bosman "github.com/bosman-cd/bosman"
)

// TagRehearsal marks the throw-away copy on which a release is rehearsed;
// removed by Recover.
const TagRehearsal = "rehearsal"

// Recorder is an engine that can tell what was done to a database.
type Recorder interface {
	// Record runs fn and tells what others did to d meanwhile. What fn returns
	// is given back as it is; err is about the recording. It slows d down a
	// little and is for throw-away copies only.
	Record(ctx context.Context, d bosman.Database, fn func(context.Context) error) (rec Recording, done, err error)
}

// Recording is what was done to a database.
type Recording struct {
	Statements []bosman.RanStatement // that changed the schema, in the order in which they began; they may hold several
	Others     int                   // steps of other statements, whose texts may hold people's data and are not kept
	OthersTook time.Duration
	Locks      []bosman.HeldLock // on tables that were there before, longest first
	Sessions   int               // in which others came to d
	Cut        bool              // more was done than was recorded
	Blind      string            // what an engine of this kind cannot see, one sentence; "" for nothing
}
