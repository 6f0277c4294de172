package bosman

import (
	"regexp"
	"time"
)

// PointInTime says what moments the databases on Bosman's own durable
// PostgreSQL server can be had at, and how keeping its log goes. It is one for
// all apps on that server.
type PointInTime struct {
	On       bool           `json:"on"`                // its log is kept
	Days     int            `json:"days"`              // how far back moments stay reachable
	Spans    []TimeSpan     `json:"spans"`             // every moment in them can be reached, oldest first
	Points   []RestorePoint `json:"points"`            // of the app, oldest first
	Shipped  time.Time      `json:"shipped"`           // up to here all is in the target; zero while nobody knows
	Base     time.Time      `json:"base"`              // of the newest base backup that was recovered from; zero for none
	Bytes    int64          `json:"bytes"`             // in the target
	Waiting  int            `json:"waiting"`           // finished segments that are not stored yet
	Trouble  string         `json:"trouble,omitempty"` // why it cannot be relied on, a sentence; "" when all is well
	Recovery *PointRecovery `json:"recovery,omitempty"`
}

// TimeSpan is a stretch of time.
type TimeSpan struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// PointWhen says on which side of an operation a restore point is.
type PointWhen string

// The sides, and what nobody named.
const (
	PointBefore PointWhen = "before" // its first change of the data: the migrations, or other data in the place
	PointAfter  PointWhen = "after"  // it switched live, and nothing else was done
	PointLast   PointWhen = "last"   // the end of the log of a server that was lost
)

// RestorePoint is a moment with a name: "rms-d37-before" and "rms-d37", on both
// sides of that deployment to live.
type RestorePoint struct {
	Name      string    `json:"name"`
	At        time.Time `json:"at"`
	When      PointWhen `json:"when"`
	Operation int       `json:"operation,omitempty"` // 0: none
	What      string    `json:"what"`                // in words: "right before d37 migrated live to r136"
	Reachable bool      `json:"reachable"`
}

// pointNamed is the form of the names that PointName gives.
var pointNamed = regexp.MustCompile(`^(.+)-(d\d+)(-before)?$`)

// PointName names the restore point on a side of an app's operation.
func PointName(app string, operation int, when PointWhen) string {
	name := app + "-" + Ref(LetterOperation, operation)
	if when == PointBefore {
		name += "-before"
	}
	return name
}

// ParsePointName reads what PointName gave; ok is false for other names.
func ParsePointName(name string) (app string, operation int, when PointWhen, ok bool) {
	m := pointNamed.FindStringSubmatch(name)
	if m == nil {
		return "", 0, "", false
	}
	operation, err := ParseRef(LetterOperation, m[2])
	if err != nil {
		return "", 0, "", false
	}
	when = PointAfter
	if m[3] != "" {
		when = PointBefore
	}
	return m[1], operation, when, true
}

// App is whose operation a restore point was named for; "" for none.
func (r RestorePoint) App() string {
	app, _, _, _ := ParsePointName(r.Name)
	return app
}

// RecoveryState is how far a recovery came.
type RecoveryState string

// The states of a recovery.
const (
	RecoveryRunning RecoveryState = "running"
	RecoveryDone    RecoveryState = "done"
	RecoveryFailed  RecoveryState = "failed"
)

// Moment is what to recover to: a time, or a restore point.
type Moment struct {
	At    time.Time `json:"at,omitzero"`
	Point string    `json:"point,omitempty"`
}

// PointRecovery is the recovery of one database at a moment. What it brings is
// kept beside the instance's own, which stays as it is.
type PointRecovery struct {
	App      string        `json:"app"`
	Instance string        `json:"instance"`
	Moment   Moment        `json:"moment"` // with At also of a restore point
	By       string        `json:"by"`
	State    RecoveryState `json:"state"`
	Note     string        `json:"note,omitempty"` // what it does now, or did
	Kept     string        `json:"kept,omitempty"` // KeptCopy.ID of what it brought
	Error    *Error        `json:"error,omitempty"`
	BegunAt  time.Time     `json:"begun_at"`
	EndedAt  time.Time     `json:"ended_at"`
}

// RecoveryPlan is what a recovery would take, said before it begins.
type RecoveryPlan struct {
	Moment   Moment        `json:"moment"`
	Base     time.Time     `json:"base"`        // of the base backup it begins with
	Segments int           `json:"segments"`    // of the log after it
	Fetch    int64         `json:"fetch"`       // bytes from the target
	Needs    int64         `json:"needs"`       // bytes on this machine while it runs, about
	Free     int64         `json:"free"`        // bytes there are
	Expected time.Duration `json:"expected_ns"` // by what the last one took; 0: not known
}
