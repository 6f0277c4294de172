package bosman

import (
	"fmt"
	"strings"
	"time"
)

// DangerKind says what sort of harm a migration may do.
type DangerKind string

// The kinds of dangers. After destructive, breaking and unknown ones the
// release before may be unable to run on the new schema.
const (
	Destructive  DangerKind = "destructive"  // data or names go away
	Breaking     DangerKind = "breaking"     // the old code's writes fail
	Irreversible DangerKind = "irreversible" // no way back is written
	Locking      DangerKind = "locking"      // others wait while it runs
	Unknown      DangerKind = "unknown"      // it could not be read
)

// ForbidsCodeRevert says whether the code alone must not go back over it.
func (k DangerKind) ForbidsCodeRevert() bool {
	return k == Destructive || k == Breaking || k == Unknown
}

// Danger is one reason to look twice at a migration.
type Danger struct {
	Migration string     `json:"migration"` // "shop.0008_a"
	Path      string     `json:"path,omitempty"`
	Line      int        `json:"line,omitempty"` // 0: the whole file
	Kind      DangerKind `json:"kind"`
	Text      string     `json:"text"` // one sentence
}

// String gives the migration and the sentence.
func (d Danger) String() string {
	if d.Migration == "" {
		return d.Text
	}
	return d.Migration + ": " + d.Text
}

// SchemaStep is what going from one release to another does to the schema, as
// far as the texts of the migrations and a rehearsal tell. Additive ones leave
// the release From able to run on the schema of To.
type SchemaStep struct {
	From       int        `json:"from"`
	To         int        `json:"to"`
	Migrations []string   `json:"migrations,omitempty"` // those that To has and From has not, or has otherwise
	Missing    []string   `json:"missing,omitempty"`    // those that From has and To has not: To is older, or lost them
	Dangers    []Danger   `json:"dangers,omitempty"`
	Rehearsal  *Rehearsal `json:"rehearsal,omitempty"` // of To, on data of From or newer; nil without one
	Known      bool       `json:"known"`               // the releases have migrations that can be read
}

// Empty says that both releases have the same migrations.
func (s SchemaStep) Empty() bool { return len(s.Migrations)+len(s.Missing) == 0 }

// Against gives the first reason why From must not run on the schema of To;
// "" if nothing speaks against it. A rehearsal that changed the schema without
// harm outweighs what the texts leave unknown, never what they know.
func (s SchemaStep) Against() string {
	rehearsed := s.Rehearsal != nil && s.Rehearsal.State == RehearsalPassed
	if rehearsed && s.Rehearsal.Destructive {
		return "rehearsed on a copy of " + s.Rehearsal.Copy.From + ": " + s.Rehearsal.Schema
	}
	if rehearsed {
		for _, d := range s.Rehearsal.Dangers { // of the SQL that really ran
			if d.Kind.ForbidsCodeRevert() && d.Kind != Unknown {
				return "rehearsed on a copy of " + s.Rehearsal.Copy.From + ": " + d.String()
			}
		}
	}
	for _, d := range s.Dangers {
		if d.Kind.ForbidsCodeRevert() && (d.Kind != Unknown || !rehearsed) {
			return d.String()
		}
	}
	return ""
}

// Floor is how far back an instance may go by its code alone.
type Floor struct {
	Release int    `json:"release"`           // the oldest release to which the code alone may go back
	Below   int    `json:"below,omitempty"`   // the newest one below the floor; 0 when there is none
	Because string `json:"because,omitempty"` // the migration that forbids going further; "" when nothing does
}

// RehearsalState is where a rehearsal stands.
type RehearsalState string

// The states of a rehearsal.
const (
	RehearsalRunning RehearsalState = "running"
	RehearsalPassed  RehearsalState = "passed"
	RehearsalFailed  RehearsalState = "failed"  // the release command failed on the copy
	RehearsalSkipped RehearsalState = "skipped" // it could not be rehearsed; Reason says why
)

// Rehearsal is a release's command run on a throw-away copy of staging's
// database before anybody else's meets it.
type Rehearsal struct {
	App         string         `json:"app"`
	Release     int            `json:"release"`
	Change      int            `json:"change"` // on whose behalf; 0: main
	State       RehearsalState `json:"state"`
	Reason      string         `json:"reason,omitempty"` // why it failed or was skipped
	Copy        CopyInfo       `json:"copy"`             // the data it ran on
	Took        time.Duration  `json:"took_ns"`          // of the command; 0: it did not run to its end
	Statements  []RanStatement `json:"statements,omitempty"`
	Others      int            `json:"others"`         // statements that were counted but not kept: they change rows, not the schema
	OthersTook  time.Duration  `json:"others_took_ns"` // all of them together
	Locks       []HeldLock     `json:"locks,omitempty"`
	Dangers     []Danger       `json:"dangers,omitempty"`  // of the statements that ran
	Schema      string         `json:"schema,omitempty"`   // what became of it: "column public.x.y dropped"; "" for no change
	Destructive bool           `json:"destructive"`        // tables or columns were dropped, changed or tightened
	Sessions    int            `json:"sessions"`           // with which the command came to the copy; 0: it went elsewhere, or nowhere
	Outside     []string       `json:"outside,omitempty"`  // what else it tried to reach, in vain: "10.0.0.5:5432", "db.example.com"
	Closed      bool           `json:"closed"`             // nothing but the copy could be reached; false: its network was the host's
	Blind       string         `json:"blind,omitempty"`    // what could not be seen on this kind of database, and why; "" for nothing
	Output      string         `json:"output,omitempty"`   // end of what the command said
	Accepted    string         `json:"accepted,omitempty"` // who let the release pass although it failed, or never came to the copy, and why
	StartedAt   time.Time      `json:"started_at"`
	EndedAt     time.Time      `json:"ended_at"`
}

// Elsewhere says that the command ran to its end and never came to the
// database it was given.
func (r *Rehearsal) Elsewhere() bool {
	return r != nil && r.State == RehearsalPassed && r.Sessions == 0
}

// Strayed says in a clause where a command that ran to its end may have gone
// instead of, or besides, the database it was given; "" for nowhere.
func (r *Rehearsal) Strayed() string {
	switch {
	case r == nil || r.State != RehearsalPassed:
		return ""
	case len(r.Outside) > 0:
		return "the release command " + r.Tried()
	case r.Elsewhere():
		return "the release command never came to the database it was given"
	}
	return ""
}

// Astray says in a clause why live must not be migrated with the release; ""
// if it may: the command was seen at the database it was given and at no
// other, also if it failed there or took too long, or it reached none at all.
func (r *Rehearsal) Astray() string {
	switch {
	case r.Accepted != "":
		return ""
	case len(r.Outside) > 0:
		return "the release command " + r.Tried()
	case r.Sessions > 0:
		return ""
	case r.Took == 0: // it did not run to its end
		return "it was not seen which database the release command uses: " + r.Reason
	case !r.Closed:
		return "the release command never came to the database it was given, and where else it went could not be seen"
	}
	return ""
}

// Tried says what else the command tried to reach; "" for nothing.
func (r *Rehearsal) Tried() string {
	if r == nil || len(r.Outside) == 0 {
		return ""
	}
	what := strings.Join(r.Outside[:min(3, len(r.Outside))], ", ")
	if more := len(r.Outside) - 3; more > 0 {
		what += fmt.Sprintf(" and %d more", more)
	}
	return "tried to reach " + what + ": not this instance's database"
}

// Stops says in a clause why what was rehearsed must not go on; "" if it may.
func (r *Rehearsal) Stops() string {
	if r == nil || r.State != RehearsalFailed || r.Accepted != "" {
		return ""
	}
	why := Ref(LetterRelease, r.Release) + " fails on a copy of staging's data: " + r.Reason
	for _, s := range r.Statements {
		if s.Failed {
			sql := strings.Join(strings.Fields(s.SQL), " ")
			if len(sql) > 200 {
				sql = strings.ToValidUTF8(sql[:200], "") + " …"
			}
			if _, said, _ := strings.Cut(s.Error, ": "); s.Error != "" && !strings.Contains(why, s.Error) && (said == "" || !strings.Contains(why, said)) {
				sql += ": " + s.Error
			}
			return why + " (" + sql + ")"
		}
	}
	return why
}

// RanStatement is one statement that changed the schema.
type RanStatement struct {
	SQL    string        `json:"sql"` // cut at 2,000 bytes
	Took   time.Duration `json:"took_ns"`
	Failed bool          `json:"failed,omitempty"` // the server refused it
	Error  string        `json:"error,omitempty"`  // what it said then: "error 1091: Can't DROP COLUMN …"
}

// HeldLock is the strongest lock that was seen on a table, and how long.
type HeldLock struct {
	Table string        `json:"table"` // "public.users"
	Mode  string        `json:"mode"`  // "AccessExclusiveLock"
	For   time.Duration `json:"for_ns"`
	Stops string        `json:"stops"` // what others could not do meanwhile: "reads and writes", "writes", "" for nothing of theirs
}

// Collision is why a change does not go together with main or with another
// change.
type Collision struct {
	With   int    `json:"with"`   // the other change; 0: main, or the change itself
	Blocks bool   `json:"blocks"` // it must be mended before the change is merged
	Text   string `json:"text"`   // "PR 12 (0008_a) and PR 15 (0008_b) both follow shop.0007"
	Fix    string `json:"fix"`    // what to do, with the command
}

// String gives both sentences.
func (c Collision) String() string { return c.Text + "; " + c.Fix }
