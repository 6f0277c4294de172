package store

import (
	"time"

	"github.com/uptrace/bun"

	"github.com/bosman-cd/bosman"
)

// The rows are the nouns, field by field; nested values are JSON.
type (
	appRow struct {
		bun.BaseModel `bun:"table:apps,alias:t"`
		bosman.App
	}
	changeRow struct {
		bun.BaseModel `bun:"table:changes,alias:t"`
		bosman.Change
	}
	buildRow struct {
		bun.BaseModel `bun:"table:builds,alias:t"`
		bosman.Build
	}
	releaseRow struct {
		bun.BaseModel `bun:"table:releases,alias:t"`
		bosman.Release
	}
	instanceRow struct {
		bun.BaseModel `bun:"table:instances,alias:t"`
		bosman.Instance
	}
	operationRow struct {
		bun.BaseModel `bun:"table:operations,alias:t"`
		bosman.Operation
	}
	backupRow struct {
		bun.BaseModel `bun:"table:backups,alias:t"`
		bosman.Backup
	}
	signoffRow struct {
		bun.BaseModel `bun:"table:signoffs,alias:t"`
		bosman.Signoff
	}
	personRow struct {
		bun.BaseModel `bun:"table:people,alias:t"`
		bosman.Person
	}
	tokenRow struct {
		bun.BaseModel `bun:"table:tokens,alias:t"`
		bosman.Token
	}
	eventRow struct {
		bun.BaseModel `bun:"table:events,alias:t"`
		bosman.Event
	}
	activityRow struct {
		bun.BaseModel `bun:"table:activity,alias:t"`
		bosman.Activity
	}
	problemRow struct {
		bun.BaseModel `bun:"table:problems,alias:t"`
		bosman.Problem
	}
	errorEventRow struct {
		bun.BaseModel `bun:"table:error_events,alias:t"`
		bosman.ErrorEvent
	}
	mailRow struct {
		bun.BaseModel `bun:"table:mails,alias:t"`
		bosman.Mail
	}
	secretRow struct {
		bun.BaseModel `bun:"table:secrets,alias:t"`
		SealedSecret
	}
	deliveryRow struct {
		bun.BaseModel `bun:"table:inbox,alias:t"`
		Delivery
	}
	cronRow struct {
		bun.BaseModel `bun:"table:cron_runs,alias:t"`
		CronRun
	}
	owedRow struct {
		bun.BaseModel `bun:"table:outbox,alias:t"`
		Owed
	}
)

func (r *appRow) noun() *bosman.App               { return &r.App }
func (r *changeRow) noun() *bosman.Change         { return &r.Change }
func (r *buildRow) noun() *bosman.Build           { return &r.Build }
func (r *releaseRow) noun() *bosman.Release       { return &r.Release }
func (r *instanceRow) noun() *bosman.Instance     { return &r.Instance }
func (r *operationRow) noun() *bosman.Operation   { return &r.Operation }
func (r *backupRow) noun() *bosman.Backup         { return &r.Backup }
func (r *signoffRow) noun() *bosman.Signoff       { return &r.Signoff }
func (r *personRow) noun() *bosman.Person         { return &r.Person }
func (r *tokenRow) noun() *bosman.Token           { return &r.Token }
func (r *eventRow) noun() *bosman.Event           { return &r.Event }
func (r *activityRow) noun() *bosman.Activity     { return &r.Activity }
func (r *problemRow) noun() *bosman.Problem       { return &r.Problem }
func (r *errorEventRow) noun() *bosman.ErrorEvent { return &r.ErrorEvent }
func (r *mailRow) noun() *bosman.Mail             { return &r.Mail }
func (r *secretRow) noun() *SealedSecret          { return &r.SealedSecret }
func (r *deliveryRow) noun() *Delivery            { return &r.Delivery }
func (r *cronRow) noun() *CronRun                 { return &r.CronRun }
func (r *owedRow) noun() *Owed                    { return &r.Owed }

// SealedSecret is a secret as it is kept: encrypted. Scope is "build",
// "kind:live" or "instance:testing-anna".
type SealedSecret struct {
	App    string
	Scope  string
	Name   string
	Sealed []byte
	SetAt  time.Time
	SetBy  string
}

// Delivery is a message of a forge, kept before it is answered.
type Delivery struct {
	ID        string // the forge's own id, so that repeats are seen
	Digest    string // of its content: seen again also under another id
	Source    string // the app
	Event     string
	Data      []byte
	At        time.Time
	HandledAt time.Time
}

// Owed is something to be told to the outside world, with retries. Of the
// same Kind and CoalesceKey only the newest counts.
type Owed struct {
	ID          int64
	Kind        string
	CoalesceKey string
	Data        []byte
	At          time.Time
	NextAt      time.Time
	Tries       int
	Error       string
}

// CronRun is one moment of a cron entry and what became of it: started, done,
// failed, missed or skipped.
type CronRun struct {
	App       string    `json:"app"`
	Instance  string    `json:"instance"`
	Name      string    `json:"name"`
	Moment    time.Time `json:"moment"`
	Outcome   string    `json:"outcome"`
	Note      string    `json:"note,omitempty"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
}
