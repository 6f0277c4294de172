package bosman

import "strings"

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

// AdoptedDatabase is the database of an instance that Bosman did not make.
type AdoptedDatabase struct {
	Instance  string    `json:"instance"`
	Name      string    `json:"name"`
	Host      string    `json:"host"`
	Port      int       `json:"port"`
	Abilities []Ability `json:"abilities"`
	Error     string    `json:"error,omitempty"` // why they are not known
}
