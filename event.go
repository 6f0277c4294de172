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
	EventWatchedAfter    EventKind = "revert.watched" // what became of the errors after a revert by the watch
	EventInstanceChanged EventKind = "instance.changed"
	EventBackupMade      EventKind = "backup.made"
	EventBackupTrouble   EventKind = "backup.trouble" // the backups of an instance cannot be relied on, or can again
	EventRehearsed       EventKind = "rehearsed"      // a release on a copy of staging's data
	EventStateUnkept     EventKind = "state.unkept"   // Bosman's own state could not be backed up; Subject says why
	EventSignedOff       EventKind = "signed-off"
	EventProblemNew      EventKind = "problem.new"
	EventProblemEvent    EventKind = "problem.event"
	EventMailCaught      EventKind = "mail.caught"
)

// Event is one thing that happened, in order of ID.
type Event struct {
	ID      int64           `json:"id"`
	App     string          `json:"app"`
	Kind    EventKind       `json:"kind"`
	Subject string          `json:"subject,omitempty"`
	Data    json.RawMessage `json:"data"` // small; nil for most
	At      time.Time       `json:"at"`
}

// Activity is a line of the append-only log of who changed what.
type Activity struct {
	ID       int64     `json:"id"`
	At       time.Time `json:"at"`
	App      string    `json:"app"` // "" for what concerns the whole installation
	Who      string    `json:"who,omitempty"`
	From     string    `json:"from,omitempty"`
	What     string    `json:"what,omitempty"`    // "deployed r137 to live"
	Subject  string    `json:"subject,omitempty"` // "d37", "live", "c12"
	Why      string    `json:"why,omitempty"`
	Instance string    `json:"instance,omitempty"`
}

// Mail is a message an instance sent and Bosman caught.
type Mail struct {
	ID       int64     `json:"id"`
	App      string    `json:"app"`
	Instance string    `json:"instance,omitempty"`
	From     string    `json:"from,omitempty"`
	To       []string  `json:"to,omitempty"`
	Subject  string    `json:"subject,omitempty"`
	Text     string    `json:"text,omitempty"`
	HTML     string    `json:"html,omitempty"`
	At       time.Time `json:"at"`
	Bytes    int       `json:"bytes"`
}
