package bosman

import (
	"encoding/json"
	"time"
)

// EventKind names what happened. Reactions and live pages read events.
type EventKind string

// The kinds of events. Subject is a Ref ("c12", "b412", "d37") or an
// instance's name.
const (
	EventAppAdded        EventKind = "app.added"
	EventAppRemoved      EventKind = "app.removed"
	EventMainMoved       EventKind = "main.moved" // Data: MainMoved
	EventChangeUpdated   EventKind = "change.updated"
	EventChangeMerged    EventKind = "change.merged"
	EventChangeClosed    EventKind = "change.closed"
	EventBuildQueued     EventKind = "build.queued"
	EventBuildUpdated    EventKind = "build.updated"
	EventBuildEnded      EventKind = "build.ended"
	EventReleaseSealed   EventKind = "release.sealed"
	EventReleaseMarked   EventKind = "release.marked" // bad, or cleared
	EventOperationQueued EventKind = "operation.queued"
	EventOperationStep   EventKind = "operation.step"
	EventOperationEnded  EventKind = "operation.ended"
	EventInstanceChanged EventKind = "instance.changed"
	EventBackupMade      EventKind = "backup.made"
	EventSignedOff       EventKind = "signed-off"
	EventProblemNew      EventKind = "problem.new"
	EventProblemEvent    EventKind = "problem.event"
	EventMailCaught      EventKind = "mail.caught"
)

// Event is one thing that happened, in order of ID.
type Event struct {
	ID      int64
	App     string
	Kind    EventKind
	Subject string
	Data    json.RawMessage // small; nil for most
	At      time.Time
}

// Activity is a line of the append-only log of who changed what.
type Activity struct {
	ID       int64
	At       time.Time
	App      string // "" for what concerns the whole installation
	Who      string
	From     string
	What     string // "deployed r137 to live"
	Subject  string // "d37", "live", "c12"
	Why      string
	Instance string
}

// Mail is a message an instance sent and Bosman caught.
type Mail struct {
	ID       int64
	App      string
	Instance string
	From     string
	To       []string
	Subject  string
	Text     string
	HTML     string
	At       time.Time
	Bytes    int
}
