package bosman

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// BackupSchedule is when backups are made of live, where backups are kept and
// nothing else is said: at night, in the app's time zone.
const BackupSchedule = "30 2 * * *"

// Kept says whether backups are kept at all.
func (p BackupPolicy) Kept() bool { return p.Keep > 0 || p.For > 0 || p.At != "" }

// Schedule is when backups of instances of a kind are made: five fields of
// cron; "" for never.
func (p BackupPolicy) Schedule(k InstanceKind) string {
	if p.At == "" && k == KindLive && p.Kept() {
		return BackupSchedule
	}
	return p.At
}

// BackupContents is what a backup holds, as its manifest says.
type BackupContents struct {
	Backup     Backup            `json:"backup"`
	Engine     string            `json:"engine,omitempty"`
	Version    string            `json:"version,omitempty"`  // of the database server
	TakenAt    time.Time         `json:"taken_at"`           // the moment of the data
	Rows       map[string]int64  `json:"rows"`               // by table
	Extensions map[string]string `json:"extensions"`         // name → version
	Roles      []string          `json:"roles"`              // statements that make the app's roles, without passwords
	Settings   map[string]string `json:"settings,omitempty"` // of the database itself: search_path and the like
	Apart      []string          `json:"apart,omitempty"`    // what a restore does not bring back: "publication debezium"
	Files      int               `json:"files"`
	FileBytes  int64             `json:"file_bytes"`
	NewBytes   int64             `json:"new_bytes"`       // of files that no earlier backup held
	Objects    int               `json:"objects"`         // in the target, shared ones included
	Lacks      string            `json:"lacks,omitempty"` // what of the database it does not hold, and why; "" if nothing
}

// BackupHealth says whether an instance's backups can be relied on.
type BackupHealth struct {
	App      string    `json:"app"`
	Instance string    `json:"instance"`
	Where    string    `json:"where"`             // the target of new backups
	Newest   int       `json:"newest"`            // that counts; 0 for none
	At       time.Time `json:"at"`                // when it was made
	Next     time.Time `json:"next"`              // the next by schedule; zero for never
	Trouble  string    `json:"trouble,omitempty"` // a sentence; "" when all is well
	Bad      []int     `json:"bad,omitempty"`     // that do not count but may hold data: they stay until somebody removes them
	BadBytes int64     `json:"bad_bytes"`         // that these added to where they lie
	Log      string    `json:"log,omitempty"`     // why not every moment can be recovered, though it was asked for; "" when all is well
}

// Worst is what an operator is to be told first; "" when all is well.
func (b BackupHealth) Worst() string {
	if b.Trouble == "" && b.Log != "" {
		return "not every moment can be recovered: " + b.Log
	}
	return b.Trouble
}

// CountedBackup gives the newest verified backup.
func CountedBackup(all []Backup) (Backup, bool) {
	var best Backup
	for _, b := range all {
		if !b.VerifiedAt.IsZero() && b.CreatedAt.After(best.CreatedAt) {
			best = b
		}
	}
	return best, !best.CreatedAt.IsZero()
}

// clockSlack is how far clocks may differ before a time counts as one of the
// future.
const clockSlack = 10 * time.Minute

// PastBackups leaves out those that seem to be of the future: the clock was
// ahead when they were made, and they tell nothing of how old the newest one is.
func PastBackups(all []Backup, now time.Time) []Backup {
	return slices.DeleteFunc(slices.Clone(all), func(b Backup) bool { return b.CreatedAt.After(now.Add(clockSlack)) })
}

// BackupTrouble says in a sentence why the backups of an instance cannot be
// relied on; "" when they can. due is the moment of the schedule that must be
// behind them by now (zero: none), since is when the instance began to run
// what it runs.
func BackupTrouble(all []Backup, due, since time.Time) string {
	good, counts := CountedBackup(all)
	var last Backup // that ended, one way or the other
	for _, b := range all {
		if (b.Error != "" || !b.VerifiedAt.IsZero()) && b.CreatedAt.After(last.CreatedAt) {
			last = b
		}
	}
	switch {
	case last.Error != "":
		return fmt.Sprintf("the newest backup, %s, failed: %s", Ref(LetterBackup, last.Number), last.Error)
	case due.IsZero() || since.After(due):
		return ""
	case !counts:
		return "there is no backup that counts, and one was due on " + due.UTC().Format("2 Jan 15:04 UTC")
	case good.CreatedAt.Before(due):
		return fmt.Sprintf("the newest backup that counts, %s, is of %s, and one was due on %s", Ref(LetterBackup, good.Number),
			good.CreatedAt.UTC().Format("2 Jan 15:04 UTC"), due.UTC().Format("2 Jan 15:04 UTC"))
	}
	return ""
}

// RemovalBegan is the Error of a backup whose removal began: it is ended by
// the next one who looks.
const RemovalBegan = "its removal began and did not end"

// Bad says whether a backup that holds something does not count: its proof
// failed, or it could not be read when it was found. Perhaps the disk reads
// well again, an extension is installed, or another key opens it: such a one
// is removed by hand only.
func (b Backup) Bad() bool {
	return b.Error != "" && b.Error != RemovalBegan && (b.Checksum != "" || b.Operation == 0)
}

// BadBackups gives those that are Bad, and the bytes that they added to where
// they lie.
func BadBackups(all []Backup) (numbers []int, bytes int64) {
	for _, b := range all {
		if b.Bad() {
			numbers, bytes = append(numbers, b.Number), bytes+b.Bytes
		}
	}
	return numbers, bytes
}

// failedStay is how long the row of a backup that could not be made stays
// after a better one was made.
const failedStay = 7 * 24 * time.Hour

// SurplusBackups gives those backups of an instance that need not stay, oldest
// first. What stays: the newest Keep that count, those younger than For, the
// newest that counts whatever its age, all made after it, those needed, and
// what is Bad, which counts towards nothing.
// Without Keep and For all stay. Clocks may have been wrong: what seems to be of
// the future takes no place of others, and what was made last, by its number,
// stays if it counts.
func SurplusBackups(all []Backup, p BackupPolicy, now time.Time, needed func(Backup) bool) []Backup {
	if p.Keep <= 0 && p.For <= 0 {
		return nil
	}
	last := 0
	rank := func(b Backup) (n int) { // of the future: behind the others
		if b.CreatedAt.After(now.Add(clockSlack)) {
			n = 1
		}
		return n
	}
	all = slices.SortedFunc(slices.Values(all), func(a, b Backup) int { // newest first
		return cmp.Or(cmp.Compare(rank(a), rank(b)), b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.Number, a.Number))
	})
	for _, b := range all {
		if !b.VerifiedAt.IsZero() {
			last = max(last, b.Number)
		}
	}
	var out []Backup
	good := 0
	for _, b := range all {
		counts := b.VerifiedAt.After(time.Time{})
		if counts {
			good++
		}
		age := now.Sub(b.CreatedAt)
		switch {
		case b.Bad():
		case b.Error == RemovalBegan:
			out = append(out, b)
		case good == 0, counts && good == 1, counts && b.Number == last, needed(b): // nothing newer counts
		case !counts && b.Error == "" && age < 24*time.Hour: // perhaps under way
		case !counts && b.Error != "":
			if age > failedStay {
				out = append(out, b)
			}
		case p.Keep > 0 && good <= p.Keep, p.For > 0 && age < p.For:
		default:
			out = append(out, b)
		}
	}
	slices.Reverse(out)
	return out
}
