package deploy

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
)

// Operations keeps the rows of operations.
type Operations interface {
	Operation(ctx context.Context, app string, n int) (bosman.Operation, error)
	// Unfinished gives the operations of all apps that are not final, oldest
	// first.
	Unfinished(ctx context.Context) ([]bosman.Operation, error)
	// Change edits a row in one transaction with an event of the given kind.
	// Nothing is written when edit says that it changed nothing.
	Change(ctx context.Context, app string, n int, kind bosman.EventKind, edit func(*bosman.Operation) bool) error
	// Finish gives back the instance if the operation owns it, edits the row,
	// and, when edit says that it changed something, adds the activity line
	// and the event of the end: one transaction.
	Finish(ctx context.Context, app string, n int, edit func(*bosman.Operation) bool, line bosman.Activity) error
}

// Owners says which operation owns an instance: a unique row.
type Owners interface {
	// Take makes the operation the owner and edits its row, in one
	// transaction. KindBusy while another operation owns the instance. Taking
	// twice is no harm. An error of edit takes everything back.
	//
	// fence is greater than any number given for the instance before, so that
	// the edge can refuse whoever owned it earlier. An operation's own number
	// would not do: one that waited for its window is older than a restart
	// that came in between.
	Take(ctx context.Context, app string, n int, edit func(*bosman.Operation, bosman.Instance) error) (fence int, err error)
	// TakeOver is Take whoever owns the instance.
	TakeOver(ctx context.Context, app string, n int, edit func(*bosman.Operation, bosman.Instance) error) (fence int, err error)
	// GiveBack ends the ownership and edits the row, in one transaction.
	GiveBack(ctx context.Context, app string, n int, edit func(*bosman.Operation) bool) error
}

// InstanceRows keeps the rows of instances.
type InstanceRows interface {
	Instance(ctx context.Context, app, name string) (bosman.Instance, error)
	// UpdateInstance edits the row of op's instance in one transaction with an
	// event; KindConflict if op does not own the instance (any more).
	UpdateInstance(ctx context.Context, op bosman.Operation, edit func(*bosman.Instance)) error
	// Before gives the release that the instance ran before the given one, as
	// the last committed deployment to it says; 0 if there was none.
	Before(ctx context.Context, app, instance string, release int) (int, error)
}

// BackupRows keeps the rows of backups.
type BackupRows interface {
	// NewBackup gives a backup its number and folder and keeps the row; asking
	// again for the same operation gives the same.
	NewBackup(ctx context.Context, b bosman.Backup) (bosman.Backup, error)
	SaveBackup(ctx context.Context, b bosman.Backup) error
	Backup(ctx context.Context, app string, n int) (bosman.Backup, error)
}

// ReleaseRows keeps the rows of releases.
type ReleaseRows interface {
	// Release gives a release; KindNotFound when its files were pruned away.
	Release(ctx context.Context, app string, n int) (bosman.Release, error)
	// Commits gives the commits of which builds made r or found it made.
	Commits(ctx context.Context, r bosman.Release) ([]string, error)
	// Manifest is the bosman.yaml of a release.
	Manifest(ctx context.Context, app string, n int) (*bosman.Manifest, error)
	// MarkBad marks a release that was reverted, with an event.
	MarkBad(ctx context.Context, app string, n int, why string) error
}

// Wait says what a deployment waits for and until when; zero when it may begin.
type Wait struct {
	For   string    // one sentence
	Until time.Time // zero: until somebody acts, see Service.Wake
}

// Gate holds the rules: who, when, after what. It is helm.
type Gate interface {
	// Judge says whether a deployment may begin: an error refuses it for good,
	// a Wait says what it waits for.
	Judge(ctx context.Context, op bosman.Operation) (Wait, error)
	// Policy is what main says about the instances of a kind.
	Policy(ctx context.Context, app string, kind bosman.InstanceKind) (*bosman.Policy, error)
	// RevertByItself asks for the revert of a deployment that does badly, with
	// its data if restore says so. KindBusy if one is under way.
	RevertByItself(ctx context.Context, op bosman.Operation, restore bool, why string) (bosman.Operation, error)
	// MergeResult gives the change that op is about, merged with main as it is
	// now. What was not built yet is queued: asked is the build that op asked
	// for before, which is not asked for twice. KindConflict, with nothing
	// queued, if they conflict or the build made no release.
	MergeResult(ctx context.Context, op bosman.Operation, asked int) (MergeResult, error)
	// Forecast says what is known beforehand of a deployment's migrations.
	Forecast(ctx context.Context, op bosman.Operation) (Forecast, error)
	// Against says what speaks against going back by the code alone from one
	// release to another, as far as the texts of the migrations between them
	// and the SQL of a rehearsal tell.
	Against(ctx context.Context, app string, from, to int) (Against, error)
}

// Against is what speaks against a revert of the code alone.
type Against struct {
	Why   string // the first reason; "" for nothing
	Known bool   // the migrations can be read
}

// Forecast is what staging learned of the migrations that a deployment brings.
type Forecast struct {
	NotAdditive bool   // the release that serves now may not work on the new schema
	Text        string // one sentence that says why and where it was seen; "" when nothing is known
}

// Part is which processes of a release are meant.
type Part string

// The parts.
const (
	PartWeb  Part = "web"  // answers requests
	PartWork Part = "work" // worker and cron: run for one release at a time
)

// Launch is one process set of an instance: one release at work.
type Launch struct {
	Instance bosman.Instance
	Release  int
	ID       string // "rms.live.d37", "rms.live.d37-work"
	Part     Part
	Fence    int // of the operation on whose behalf, see Owners
}

// Command is a one-off command in the surroundings of a Launch.
type Command struct {
	Label string // "release", "seed"
	Shell string
}

// Ran is how a command ended.
type Ran struct {
	OK   bool
	Exit string // "exit status 1", "killed by signal 9"
	Tail string // end of its output
	Took time.Duration
}

// Checked is what a health and smoke check found.
type Checked struct {
	Health   string // last answer: "200 {"commit": "1a2b3c4d"}"
	Requests int    // smoke requests that answered as they should
	Took     time.Duration
	Failure  *bosman.Failure // when it failed: health, exit code, end of the log
}

// Instances runs processes.
type Instances interface {
	// Start starts a process set or finds it running by its ID. It returns
	// when the processes are started, not when they are well. A part that the
	// release does not have is no error.
	Start(ctx context.Context, l Launch) error
	// Stop ends a process set; what does not run is no error.
	Stop(ctx context.Context, i bosman.Instance, id string) error
	// Running lists the IDs of the instance's process sets on the host.
	Running(ctx context.Context, i bosman.Instance) ([]string, error)
	// Check waits until the processes answer the health path, then makes the
	// smoke requests. KindFailed, with Checked.Failure, if they do not in time
	// or have ended.
	Check(ctx context.Context, l Launch) (Checked, error)
	// Run runs a command; the error is about starting it only.
	Run(ctx context.Context, l Launch, c Command) (Ran, error)
}

// Routed is where the requests for an instance go.
type Routed struct {
	Fence   int // of who routed it
	Release int
	ID      string // of the process set; "" when nothing is routed
}

// Routes tells the edge.
type Routes interface {
	// Switch routes the instance to the processes of l. KindConflict when
	// somebody with a greater fence routed it.
	Switch(ctx context.Context, l Launch) error
	// Close routes the instance to a page that says why it is stopped; fenced
	// like Switch.
	Close(ctx context.Context, i bosman.Instance, fence int, why string) error
	// Current tells the route in effect.
	Current(ctx context.Context, i bosman.Instance) (Routed, error)
	// Drain waits until no request is in flight to a process set that is no
	// longer routed; it is bounded.
	Drain(ctx context.Context, i bosman.Instance, id string) error
	// Hold keeps new requests for the instance waiting until Unhold, at most
	// until the given moment, and waits, bounded, until none is in flight.
	// Holding again with a later moment prolongs. No route is no error.
	Hold(ctx context.Context, i bosman.Instance, fence int, until time.Time) error
	// Unhold lets requests through; no hold is no error.
	Unhold(ctx context.Context, i bosman.Instance, fence int) error
}

// SchemaChange is what a release command did to the schema.
type SchemaChange struct {
	Text        string // "column public.x.y dropped"; "" for nothing
	Destructive bool   // the release before may not be able to work on it
	Harm        string // what else speaks against the release before, also when the schema is the same; "" for nothing
}

// Prepared is a database with files that was built beside an instance's own.
type Prepared struct {
	Name     string // of the database beside
	Database bosman.Database
	Copy     bosman.CopyInfo // of a fresh copy
	Note     string          // "1,045 MB in 2.3 s"
	Kept     bool            // it was a kept copy
}

// CopyOptions say which copy suits.
type CopyOptions struct {
	Operation int
	Exact     bool                   // the source's data of this moment, never a copy made earlier
	Accept    func(release int) bool // data of which releases suits; nil: any
}

// Databases looks after an instance's database and files.
type Databases interface {
	// Ensure makes the instance's own database unless it is there. The answer
	// is zero for an app without one.
	Ensure(ctx context.Context, i bosman.Instance, release int) (bosman.Database, error)
	// Drop takes away the database of an instance that never ran.
	Drop(ctx context.Context, i bosman.Instance) error
	// Guard asks the application which database it would use; KindConflict
	// unless that is the instance's own.
	Guard(ctx context.Context, l Launch) error
	// Schema describes the schema as it is, for Changed.
	Schema(ctx context.Context, i bosman.Instance) (string, error)
	// Changed tells what is different since.
	Changed(ctx context.Context, i bosman.Instance, before string) (SchemaChange, error)
	// Foresee says what a backup will take, as far as earlier ones tell; "" when
	// nothing is known. KindUnavailable, before anything is written, if there
	// is no room for it or for its proof.
	Foresee(ctx context.Context, i bosman.Instance, verify bool) (string, error)
	// Backup dumps database and files to where b lies, restores the dump into a
	// scratch database unless verify is false, and gives b filled in. One that
	// is complete already is given as it is.
	Backup(ctx context.Context, i bosman.Instance, b bosman.Backup, verify bool) (bosman.Backup, error)
	// Mark remembers how much was written to each table of i until now, for
	// Written. The first mark of a moment counts, of MomentMigrated the last.
	Mark(ctx context.Context, i bosman.Instance, operation int, m Moment) error
	// Removed says in a clause from which tables rows went away between
	// MomentMigrate and MomentMigrated of an operation; "" for none, or when
	// nobody counts. It may have been others, unless MomentHeld was marked.
	Removed(ctx context.Context, i bosman.Instance, operation int) (string, error)
	// Settled waits, bounded, until no process of i is left that is connected
	// to its database, and says whether it is so; those connected before since
	// do not matter. Only then is everything counted.
	Settled(ctx context.Context, i bosman.Instance, since time.Time) (bool, error)
	// Written tells what was written since MomentBackup of an operation, apart
	// from what came between MomentMigrate and MomentMigrated.
	Written(ctx context.Context, i bosman.Instance, operation int) (bosman.Written, error)
}

// Moment is when writes are counted.
type Moment string

// The moments of a deployment.
const (
	MomentBackup   Moment = "backup"   // before the dump
	MomentMigrate  Moment = "migrate"  // before the release command
	MomentMigrated Moment = "migrated" // after it
	MomentHeld     Moment = "held"     // no request was let in between those two
)

// Kept is a copy of an instance's data that stands ready to take its place.
type Kept struct {
	Name  string // of the database, or of the files where there is none; "" when no copy was made
	Files string // folder of the uploaded files beside it; "" for none
	Bytes int64
	Took  time.Duration
	Note  string // why no copy was made
}

// Copies builds data beside an instance's own and changes places. All calls
// may be repeated.
type Copies interface {
	// Offered gives the releases whose data a copy of from could hold now,
	// newest first; exact is as in CopyOptions. None for an app without a
	// database: any release can use its files.
	Offered(ctx context.Context, i, from bosman.Instance, exact bool) ([]int, error)
	// Copy copies another instance's database and files. KindConflict when no
	// copy suits o.Accept.
	Copy(ctx context.Context, i, from bosman.Instance, o CopyOptions) (Prepared, error)
	// Restore builds the content of a backup.
	Restore(ctx context.Context, i bosman.Instance, b bosman.Backup, operation int) (Prepared, error)
	// Swap puts p in place and keeps what was there, if it held anything of
	// its own; kept names it, "" if there was nothing.
	Swap(ctx context.Context, i bosman.Instance, p Prepared) (kept string, err error)
	// Unswap takes a Swap back and drops p. It does nothing when p was not put
	// in place, and when kept is "" looks itself whether there was something.
	Unswap(ctx context.Context, i bosman.Instance, p Prepared, kept string) error
	// Discard drops what was built and not used. A kept copy stays.
	Discard(ctx context.Context, i bosman.Instance, p Prepared) error

	// Keep restores b on trial beside the data of i, compares it, and keeps it
	// as the way back of an operation: proof and way back are one run. Without
	// a Name in the answer there was no room. An error is one of the backup.
	Keep(ctx context.Context, i bosman.Instance, b bosman.Backup, operation int) (Kept, error)
	// TakeKept readies a kept copy to take the place of the data of i; ok is
	// false when it is not there any more.
	TakeKept(ctx context.Context, i bosman.Instance, k Kept) (p Prepared, ok bool, err error)
	// Forget drops the ways back of i that operations left: that of one of
	// them, or of all but one.
	Forget(ctx context.Context, i bosman.Instance, which func(operation int) bool) error
}

// Source is the app's git repository.
type Source interface {
	// Tag sets a tag; one that is there already on the commit is no error.
	Tag(ctx context.Context, app, name, commit, message string) error
	// IsAncestor says whether commit older is part of newer.
	IsAncestor(ctx context.Context, app, older, newer string) (bool, error)
}

// Watching says what is watched.
type Watching struct {
	Operation bosman.Operation
	Instance  bosman.Instance
	ID        string    // of the new processes
	Since     time.Time // of the switch
	Until     time.Time
}

// Watcher watches a new release and gives its verdict: at Until, or as soon
// as it does badly.
type Watcher interface {
	Watch(ctx context.Context, w Watching) (bosman.WatchVerdict, error)
}
