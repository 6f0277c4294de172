// Package database copies, backs up, verifies and restores the data of an
// instance: its database together with its uploaded files. Drivers for one
// kind of database server each live below it (postgres, sqlite) behind the
// Engine interface; what concerns both the database and the files lives here.
//
// It must not know plans, permissions, processes, storage of rows or HTTP: it
// is told names and folders and answers with what it did.
package database

import (
	"context"
	"log/slog"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
)

// Engine is one kind of database server for one app. A name is the name of an
// instance ("staging"), perhaps with a tag made by Beside ("staging__next").
//
// Every method is all or nothing: after a crash at any instant a name holds
// either what it held before or the complete new database; what was under way
// is found and removed by Recover or by the next call for that name.
type Engine interface {
	// Create makes an empty database. KindConflict if the name is taken.
	Create(ctx context.Context, name string) (bosman.Database, error)
	// Copy makes the database to with the content of from, which stays in use.
	// KindNotFound if from does not exist, KindConflict if to does.
	Copy(ctx context.Context, from bosman.Database, to string, opt CopyOptions) (bosman.Database, bosman.CopyInfo, error)
	// Backup writes the content of d into the folder dir, which exists. It
	// writes only files whose names begin with "database".
	Backup(ctx context.Context, d bosman.Database, dir string) (BackupInfo, error)
	// Restore makes the database name with the content of a backup in dir.
	// KindConflict if the name is taken.
	Restore(ctx context.Context, dir, name string) (bosman.Database, error)
	// Swap puts with in the place of d by renaming, and keeps d under a name
	// of its own. Connections to both are ended or waited for. The user,
	// password and name by which applications reach d stay as they are. If d
	// does not exist, with takes its name and kept is zero.
	Swap(ctx context.Context, d, with bosman.Database) (kept bosman.Database, err error)
	// Drop removes a database, also while it is in use. Dropping what does not
	// exist is not an error.
	Drop(ctx context.Context, d bosman.Database) error
	// Find gives the database of a name. With KindNotFound it still says what
	// that database would be.
	Find(ctx context.Context, name string) (bosman.Database, error)
	// List gives the databases of the app on this engine, kept ones included.
	List(ctx context.Context) ([]Entry, error)
	// Recover removes what killed operations left half done. It must run
	// before other work, while nothing else uses the engine.
	Recover(ctx context.Context) error
	// Inspect counts the rows of each table and describes the schema, both in
	// one snapshot.
	Inspect(ctx context.Context, d bosman.Database) (Inspection, error)
}

// Checker can look for damage inside a database (pg_amcheck, integrity_check).
type Checker interface {
	// Check fails with KindFailed if d is damaged. It may answer nil where the
	// means to check are missing.
	Check(ctx context.Context, d bosman.Database) error
}

// Owner is an engine whose databases are files that belong to a Unix user.
type Owner interface {
	// Own gives the files of d to the user and group uid.
	Own(ctx context.Context, d bosman.Database, uid int) error
}

// Refresher is an engine that hands out copies from a golden copy prepared
// in advance.
type Refresher interface {
	// Refresh makes a new generation of the golden copy of from, which runs
	// release now, unless nothing was written since the last one.
	Refresh(ctx context.Context, from bosman.Database, release int) (Golden, error)
	// Stale says whether from was written to since the newest generation. It
	// may lag ten seconds behind.
	Stale(ctx context.Context, from bosman.Database) (bool, error)
	// Goldens lists the generations of from, newest first.
	Goldens(ctx context.Context, from bosman.Database) ([]Golden, error)
	// Offered gives those of them that are masked as is asked for now, while
	// from runs release: Copy takes one of these.
	Offered(ctx context.Context, from bosman.Database, release int) ([]Golden, error)
}

// Pooler is an engine that keeps copies ready, made in advance.
type Pooler interface {
	// Fill makes copies of the newest golden copy of from until want are
	// ready, with low priority, and drops those of older ones. KindBusy while
	// another Fill of it runs. Copy hands them out.
	Fill(ctx context.Context, from bosman.Database, want int) (Pool, error)
}

// Pool says how many copies are ready, and why not more.
type Pool struct {
	Ready int
	Why   string // "the disk that holds … has 12 GB free …"; "" when nothing stands in the way
}

// ActivityCounter can tell how much was written to each table.
type ActivityCounter interface {
	// Activity gives the number of rows inserted, updated and deleted for each
	// table since the counters were reset; subtract two answers. It may lag
	// ten seconds behind.
	Activity(ctx context.Context, d bosman.Database) (map[string]int64, error)
}

// CopyOptions says which copy is wanted.
type CopyOptions struct {
	Exact   bool                   // the source as it is now, never a golden copy made earlier
	Still   bool                   // nobody writes to the source: it may be blocked, and its connections ended, until the copy is made
	MaxAge  time.Duration          // refresh a golden copy older than this that is stale and was made in seconds; 0: any age
	Release int                    // the release the source runs now; recorded with a copy made now
	Accept  func(release int) bool // which releases' data suit; nil: all
	From    string                 // the instance copied, for CopyInfo
}

// BackupInfo is what a backup of a database holds; it is part of the manifest.
type BackupInfo struct {
	Engine     string            `json:"engine"`
	Version    string            `json:"version"` // of the server
	Name       string            `json:"name"`
	TakenAt    time.Time         `json:"taken_at"` // the moment of the data
	Rows       map[string]int64  `json:"rows"`     // by table, in that moment
	Schema     Schema            `json:"schema"`
	Extensions map[string]string `json:"extensions,omitempty"` // name → schema
	Bytes      int64             `json:"bytes"`
	Lacks      string            `json:"lacks,omitempty"` // what of the database it does not hold, and why; "" if nothing

	// How far the writing to each database had come before it was read, in the
	// engine's own words; the main one's under "". For Promoter.
	Marks map[string]string `json:"marks,omitempty"`

	ExtensionVersions map[string]string `json:"extension_versions,omitempty"`
	Roles             []string          `json:"roles,omitempty"` // statements that make the app's roles, without passwords

	Settings map[string]string   `json:"settings,omitempty"` // of the database itself: search_path and the like
	Policies map[string][]string `json:"policies,omitempty"` // of row security that name roles: "schema table policy" → those
	Apart    []string            `json:"apart,omitempty"`    // what is in no copy and no restore: "publication debezium"
}

// Total is the number of tables and rows.
func (b BackupInfo) Total() (tables int, rows int64) {
	for _, n := range b.Rows {
		rows += n
	}
	return len(b.Rows), rows
}

// Inspection is the content of a database in numbers, in one snapshot.
type Inspection struct {
	Rows   map[string]int64
	Schema Schema
}

// Entry is one database in a listing.
type Entry struct {
	Database bosman.Database
	Name     string    // the engine's name of it: "live", "live__kept_20261123t090000000"
	KeptAt   time.Time // when it was replaced; zero if it was not
	Golden   bool
	Pool     bool // made in advance, not handed out yet
	Bytes    int64
	Copy     bosman.CopyInfo // where its data came from, if it is a copy
}

// Tags of databases that stand beside an instance's own.
const (
	TagNext   = "next"   // built to take the place
	TagMaking = "making" // not finished; removed by Recover
	TagKept   = "kept"   // replaced; with a time
	TagBack   = "back"   // recovered from the log, and never was in the place; with a time
	TagGolden = "golden" // a golden copy; with a time
	TagPool   = "pool"   // a copy made in advance; with a time
	TagVerify = "verify" // a backup on trial; removed by Recover
)

// Beside names a database that stands beside that of an instance:
// Beside("live", TagNext) is "live__next".
func Beside(name, tag string) string { return name + "__" + tag }

// KeptName names the database that was replaced at t.
func KeptName(name string, t time.Time) string { return Beside(Base(name), TagKept+"_"+Stamp(t)) }

// RecoveredName names the database that was recovered at t to stand beside that
// of an instance, as if it had been replaced.
func RecoveredName(name string, t time.Time) string { return Beside(Base(name), TagBack+"_"+Stamp(t)) }

// RecoveredAt gives the time in such a name; zero for others.
func RecoveredAt(name string) time.Time {
	_, stamp, _ := strings.Cut(name, "__"+TagBack+"_")
	t, _ := ParseStamp(stamp) // zero
	return t
}

// Stamp writes a time so that it can be part of a name, in UTC.
func Stamp(t time.Time) string {
	return strings.Replace(t.UTC().Format("20060102t150405.000"), ".", "", 1)
}

// ParseStamp reads what Stamp wrote.
func ParseStamp(s string) (time.Time, bool) {
	if len(s) != 18 {
		return time.Time{}, false
	}
	t, err := time.Parse("20060102t150405.000", s[:15]+"."+s[15:])
	return t, err == nil
}

// Base is the instance a name belongs to: Base("live__next") is "live".
func Base(name string) string {
	base, _, _ := strings.Cut(name, "__")
	return base
}

// Tags gives the tags of a name, outermost last; none for an instance's own.
func Tags(name string) []string { return strings.Split(name, "__")[1:] }

// HasTag says whether the last tag of name is tag or begins with it and "_".
func HasTag(name, tag string) bool {
	tags := Tags(name)
	if len(tags) == 0 {
		return false
	}
	last := tags[len(tags)-1]
	return last == tag || strings.HasPrefix(last, tag+"_")
}

// CheckName says whether a database may have this name.
func CheckName(name string) error {
	if err := bosman.CheckName("database", Base(name)); err != nil {
		return err
	}
	for _, tag := range Tags(name) {
		if tag == "" || len(tag) > 30 || strings.Trim(tag, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return bosman.Invalid("database name %q is not usable", name).
				WithNext("use the name of an instance: lower-case letters, digits and single dashes")
		}
	}
	return nil
}

// discard is used where no logger was given.
func logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
