package bosman

import (
	"fmt"
	"strings"
	"time"
)

// RevertPolicy says how an instance goes back from a release.
type RevertPolicy string

// The policies, from the harmless to the one that only a person may choose.
const (
	RevertCode    RevertPolicy = "R0" // no migration: the code goes back
	RevertAhead   RevertPolicy = "R1" // additive migrations: the code goes back, the database stays ahead
	RevertRestore RevertPolicy = "R2" // destructive, nothing written since: the data goes back too, unasked
	RevertAsk     RevertPolicy = "R3" // destructive, written since: a person confirms the loss
)

// Proof says whether the release before was seen to work on a migrated schema.
type Proof string

// The states of a proof.
const (
	ProofNone   Proof = ""       // not tried: nothing changed, or there was nothing to try
	ProofGood   Proof = "proven" // started anew on the migrated schema, it was well
	ProofFailed Proof = "failed" // it was not
)

// WayBack is what a deployment leaves for its revert, and what a revert did
// with it.
type WayBack struct {
	// Of a deployment.
	Schema      string    `json:"schema,omitempty"`     // what its migrations changed: "column public.x.y dropped"; "" for nothing
	Destructive bool      `json:"destructive"`          // they dropped, changed or tightened what the release before may need
	Proof       Proof     `json:"proof,omitempty"`      // that the release before works on the schema
	ProofNote   string    `json:"proof_note,omitempty"` // what it answered, or why it was not asked
	Held        bool      `json:"held"`                 // no request was let in while the migrations ran
	Kept        string    `json:"kept,omitempty"`       // the kept copy: the data before the deployment, ready to be swapped in
	KeptFiles   string    `json:"kept_files,omitempty"` // folder of the uploaded files beside it
	KeptBytes   int64     `json:"kept_bytes"`
	KeptNote    string    `json:"kept_note,omitempty"` // why there is no kept copy
	RestoredAt  time.Time `json:"restored_at"`         // when the data before it was put back: its migrations are gone
	Point       string    `json:"point,omitempty"`     // restore point right before its migrations; "" for none. Of a revert: before it
	PointAt     time.Time `json:"point_at,omitzero"`

	// Of a revert.
	Policy    RevertPolicy `json:"policy,omitempty"`
	Migrate   bool         `json:"migrate,omitempty"`  // of a restore: the release command is run on the data
	Confirmed bool         `json:"confirmed"`          // the loss of what was written since
	Data      int          `json:"data,omitempty"`     // of a restore of a kept copy: the release its data is of; 0: not known
	Override  string       `json:"override,omitempty"` // an administrator's reason to pass the rollback floor
	Lost      []TableRows  `json:"lost,omitempty"`     // what was written since; it is in the data that was replaced and kept
}

// NotAdditive says whether the release before may fail on the schema.
func (w *WayBack) NotAdditive() bool {
	return w != nil && w.RestoredAt.IsZero() && (w.Destructive || w.Proof == ProofFailed)
}

// TableRows is how many rows were written to a table.
type TableRows struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
}

// Written is what was written to an instance's database since the backup
// before a deployment, apart from what the release command wrote.
type Written struct {
	Known   bool        `json:"known"`   // somebody counted, in this very database
	Certain bool        `json:"certain"` // nothing can have been written that was not counted
	Tables  []TableRows `json:"tables,omitempty"`
	Other   []string    `json:"other,omitempty"` // what no count of rows shows, a clause each: "public.note was emptied or written anew"
}

// Nothing says that nothing is known to have been written.
func (w Written) Nothing() bool { return w.Known && len(w.Tables)+len(w.Other) == 0 }

// None says that nothing was written, for certain.
func (w Written) None() bool { return w.Nothing() && w.Certain }

// Total is the number of rows written.
func (w Written) Total() (rows int64) {
	for _, t := range w.Tables {
		rows += t.Rows
	}
	return rows
}

// String says in one sentence what was written: "12 rows in 2 tables were
// written since the backup: public.candidate 9, public.note 3".
func (w Written) String() string {
	switch {
	case !w.Known:
		return "how much was written since the backup is not known"
	case w.None():
		return "nothing was written since the backup"
	case len(w.Tables) == 0 && len(w.Other) > 0:
		return "since the backup " + strings.Join(w.Other, ", ")
	case len(w.Tables) == 0:
		return "nothing is known to have been written since the backup"
	}
	const shown = 8
	var list []string
	for _, t := range w.Tables[:min(len(w.Tables), shown)] {
		list = append(list, fmt.Sprintf("%s %d", t.Table, t.Rows))
	}
	if len(w.Tables) > shown {
		list = append(list, fmt.Sprintf("and %d more tables", len(w.Tables)-shown))
	}
	what := "1 row in 1 table was"
	if w.Total() != 1 {
		what = fmt.Sprintf("%d rows in %d tables were", w.Total(), len(w.Tables))
		if len(w.Tables) == 1 {
			what = fmt.Sprintf("%d rows in 1 table were", w.Total())
		}
	}
	what += " written since the backup: " + strings.Join(list, ", ")
	if len(w.Other) > 0 {
		what += "; besides, " + strings.Join(w.Other, ", ")
	}
	return what
}

// Unconfirmed is the answer to who would restore over what was written since
// the backup without saying so.
func (w Written) Unconfirmed(instance string) error {
	return Conflict("%s; going back with the data takes that out of %s", w, instance).
		WithKept("nothing was replaced").
		WithNext("to go back all the same, with what is replaced kept aside: bosman revert " + instance + " --database restore --confirm-loss; or fix it forward: push and deploy")
}

// RevertPolicyOf decides how to go back from a deployment, and says why. way
// is nil for one that left nothing: made by an older Bosman.
func RevertPolicyOf(way *WayBack, written Written) (RevertPolicy, string) {
	switch {
	case way == nil || way.Schema == "" && !way.NotAdditive() || !way.RestoredAt.IsZero():
		return RevertCode, "no migration changed the schema: only the code goes back"
	case !way.NotAdditive() && way.Proof == ProofGood:
		return RevertAhead, "the migrations only added, and the release before was seen to work on the new schema: the code goes back, the database stays ahead"
	case !way.NotAdditive():
		return RevertAhead, "the migrations only added: the code goes back, the database stays ahead; that the release before works on it was not proven"
	}
	why := "the migrations dropped or changed what the release before needs"
	if !way.Destructive {
		why = "the release before was not well on the new schema"
	}
	if written.None() {
		return RevertRestore, why + "; " + written.String() + ": the data goes back with the code"
	}
	return RevertAsk, why + "; " + written.String() + ": a person decides"
}

// AdoptedWhy is the reason of RevertAsk where the data would go back with the
// code, were the database Bosman's.
func (w *WayBack) AdoptedWhy(written Written) string {
	_, why := RevertPolicyOf(w, written)
	return strings.TrimSuffix(why, ": the data goes back with the code") + "; the database is not Bosman's, so its data goes back by hand: a person decides"
}

// ByItself says whether the watch may go back without a person: only where it
// is known that nothing breaks and nothing is lost.
func (p RevertPolicy) ByItself(way *WayBack) bool {
	return p == RevertCode || p == RevertRestore || p == RevertAhead && way.Proof == ProofGood
}

// KeptCopy is data that stands beside an instance's own: what a restore or a
// fresh copy replaced, the way back that a deployment left, or its database as
// it was recovered at a moment.
type KeptCopy struct {
	App       string    `json:"app"`
	Instance  string    `json:"instance"`
	ID        string    `json:"id,omitempty"`       // names what was replaced: 20261123t090000000
	At        time.Time `json:"at"`                 // when it was replaced, or recovered; of a way back, when its deployment began
	AsOf      time.Time `json:"as_of,omitzero"`     // of what was recovered: the moment it holds
	Operation int       `json:"operation"`          // of a way back: the deployment it was kept for; else 0
	Database  string    `json:"database,omitempty"` // on its server, or the file
	Files     string    `json:"files,omitempty"`    // folder
	Bytes     int64     `json:"bytes"`              // of the database
	Release   int       `json:"release"`            // that its data was last migrated to; 0: not known
	Against   string    `json:"against,omitempty"`  // why it may not fit what the instance runs: a person must confirm it then
}

// Moment is that of the data.
func (k KeptCopy) Moment() time.Time {
	if !k.AsOf.IsZero() {
		return k.AsOf
	}
	return k.At
}

// KeptPlan is what putting a kept copy in its instance's place would do,
// before anybody asks for it.
type KeptPlan struct {
	Copy    KeptCopy `json:"copy"`
	Runs    int      `json:"runs"`            // the release that the instance runs
	Written Written  `json:"written"`         // since the backup of Since, which is newer than the copy: at least that leaves
	Since   int      `json:"since,omitempty"` // a deployment; 0: nobody counted
}

// RevertPlan is what a revert of an instance would do, before anybody asks
// for it.
type RevertPlan struct {
	Instance  string        `json:"instance"`
	Release   int           `json:"release"`          // what it would go back to; 0: nowhere
	From      int           `json:"from"`             // what it runs
	Reverts   int           `json:"reverts"`          // the deployment that is taken back
	Policy    RevertPolicy  `json:"policy"`           // of the whole way, see the spec's R0 to R3
	Why       string        `json:"why"`              // the policy, in a sentence
	Schema    string        `json:"schema,omitempty"` // what the migrations changed
	Proof     Proof         `json:"proof,omitempty"`
	ProvenBy  int           `json:"proven_by"`            // the deployment that proved or disproved that Release works on the schema
	ProvenOn  string        `json:"proven_on,omitempty"`  // its instance
	ProofNote string        `json:"proof_note,omitempty"` // what was seen
	Written   Written       `json:"written"`
	Backup    int           `json:"backup"`     // that a restore takes; 0: none
	BackupAt  time.Time     `json:"backup_at"`  // the moment of its data
	Kept      bool          `json:"kept"`       // a kept copy makes the restore a change of places
	KeptBytes int64         `json:"kept_bytes"` // of it
	KeptNote  string        `json:"kept_note,omitempty"`
	Expected  time.Duration `json:"expected_ns"` // how long the data takes to go back; 0: not known
	Floor     Floor         `json:"floor"`
	Refused   string        `json:"refused,omitempty"` // why the code alone does not go back; "" if it may
	Adopted   bool          `json:"adopted,omitempty"` // the database is not Bosman's: the data does not go back by itself
	Lost      []string      `json:"lost,omitempty"`    // what Bosman cannot do with it, each with why
	ByHand    string        `json:"by_hand,omitempty"` // how a person puts the backup in its place, a line for each step
	Point     *RestorePoint `json:"point,omitempty"`   // right before the migrations, where it can be reached
}
