package bosman

import (
	"strings"
	"time"
)

// Ability is something that Bosman can, or cannot, do with a database.
type Ability struct {
	Name string `json:"name"` // one of the Can constants
	OK   bool   `json:"ok"`
	Why  string `json:"why,omitempty"` // why not, or how else
}

// What can be done with an instance's database. Of one that Bosman made, all.
const (
	CanBackup  = "backup"  // dumped, encrypted, kept
	CanVerify  = "verify"  // a backup is restored on trial
	CanCopy    = "copy"    // testers get copies of it
	CanCount   = "count"   // rows written since a moment are counted
	CanKeep    = "keep"    // a kept copy makes the way back a swap
	CanRestore = "restore" // a backup takes its place
	CanRoles   = "roles"   // roles are part of a backup
	CanCreate  = "create"  // made and dropped with its instance
	CanExtend  = "extend"  // extensions that only a superuser may add
	CanCheck   = "amcheck" // looked through for damage
	CanWhole   = "all"     // copies and restores hold all objects and settings
)

// Lost gives a sentence for each thing that cannot be done.
func Lost(all []Ability) []string {
	var out []string
	for _, a := range all {
		if !a.OK {
			out = append(out, strings.TrimSuffix(a.Name+": "+a.Why, ": "))
		}
	}
	return out
}

// LostToRevert gives those of Lost that matter when something is to be taken
// back.
func LostToRevert(all []Ability) []string {
	var out []Ability
	for _, a := range all {
		if a.Name == CanKeep || a.Name == CanRestore || a.Name == CanBackup || a.Name == CanVerify {
			out = append(out, a)
		}
	}
	return Lost(out)
}

// AdoptedPrefix begins Database.Cluster of a database that Bosman did not make.
const AdoptedPrefix = "adopted:"

// Adopted says whether Bosman did not make this database.
func (d Database) Adopted() bool { return strings.HasPrefix(d.Cluster, AdoptedPrefix) }

// NotOurs is the answer to who would replace the database of an instance that
// Bosman did not make. byHand says how a person does it, "" when not known.
func NotOurs(instance, byHand string) error {
	e := Invalid("%s is not Bosman's own database: Bosman puts no backup in its place", instance).WithKept("nothing was changed")
	if byHand == "" {
		byHand = "restore by hand: get the backup's files with bosman backup fetch k12 --to DIR, and let whoever runs the server put them in its place"
	}
	return e.WithNext(byHand)
}

// AdoptedDatabase is the database of an instance that Bosman did not make.
type AdoptedDatabase struct {
	Instance  string    `json:"instance"`
	Name      string    `json:"name"`
	Host      string    `json:"host"`
	Port      int       `json:"port"`
	Abilities []Ability `json:"abilities"`
	Error     string    `json:"error,omitempty"`   // why they are not known, or not as of now
	ByHand    string    `json:"by_hand,omitempty"` // how a person puts a backup in its place, a line for each step
	At        time.Time `json:"at,omitzero"`       // when the abilities were looked at
}
