package bosman

import (
	"fmt"
	"time"
)

// Recovery says how well Bosman itself would survive the loss of its server:
// the recovery key and the backups of its own state.
type Recovery struct {
	Target      string    `json:"target"`                // where backups go, without secrets
	SameDisk    bool      `json:"same_disk"`             // the target is a folder on the data folder's own disk
	KeyMade     bool      `json:"key_made"`              // its secret was shown once
	Fingerprint string    `json:"fingerprint,omitempty"` // of the recovery key: "3f2a 91c0 77de 0b14"
	MadeAt      time.Time `json:"made_at"`
	MadeBy      string    `json:"made_by,omitempty"`
	ConfirmedAt time.Time `json:"confirmed_at"` // zero: nobody has proved to have it
	ConfirmedBy string    `json:"confirmed_by,omitempty"`
	StateAt     time.Time `json:"state_at"`    // the newest good backup of the state; zero without one
	StateBytes  int64     `json:"state_bytes"` // all it needs, in the target
	FailedAt    time.Time `json:"failed_at"`   // zero: the last attempt was good
	Error       string    `json:"error,omitempty"`
}

// StateOverdue is how old the newest good backup of Bosman's own state may be.
const StateOverdue = 26 * time.Hour

// Reminders are what an operator is to be reminded of, worst first; none when
// all is well at a moment.
func (r Recovery) Reminders(now time.Time, overdue time.Duration) []string {
	var all []string
	switch {
	case !r.FailedAt.IsZero():
		all = append(all, "the last backup of Bosman's own state failed: "+r.Error)
	case !r.StateAt.IsZero() && now.Sub(r.StateAt) > overdue:
		all = append(all, fmt.Sprintf("the newest backup of Bosman's own state is %d hours old", int(now.Sub(r.StateAt).Hours())))
	}
	switch {
	case !r.KeyMade:
		all = append(all, "there is no recovery key: without it backups are lost with this server; make it: bosman recovery show")
	case r.ConfirmedAt.IsZero():
		all = append(all, "nobody has proved to have the recovery key; prove it: bosman recovery confirm")
	}
	if r.SameDisk {
		all = append(all, "backups lie on the same disk as the data; name another place: bosman serve --backup-target")
	}
	return all
}
