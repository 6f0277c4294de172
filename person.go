package bosman

import "time"

// Role bundles what a person may do; each role may do all that the one before
// it may.
type Role string

// The roles, from least to most.
const (
	RoleViewer    Role = "viewer"
	RoleDeveloper Role = "developer"
	RoleTester    Role = "tester"
	RoleAdmin     Role = "admin"
)

// Verb is something a person may be allowed to do.
type Verb string

// The verbs of the permission matrix.
const (
	MaySee        Verb = "see"
	MayPush       Verb = "push"       // branches; also build and retry
	MayTry        Verb = "try"        // fresh copy and a change on a testing instance
	MaySignOff    Verb = "sign-off"   // accept or send back
	MayMerge      Verb = "merge"      // move main
	MayDeploy     Verb = "deploy"     // per instance
	MayRevert     Verb = "revert"     // per instance
	MayOperate    Verb = "operate"    // restart, stop, start, backup
	MayRestore    Verb = "restore"    // replace data
	MayRun        Verb = "run"        // commands and tasks in an instance
	MayAdminister Verb = "administer" // apps, people, secrets, overrides
)

// Allowed is the built-in matrix: the verbs a role has on instances of a kind
// ("" for what concerns the app, not an instance). Grants add to it.
func (r Role) Allowed(v Verb, k InstanceKind) bool {
	switch r {
	case RoleAdmin:
		return true
	case RoleTester:
		switch v {
		case MaySee, MayPush, MayTry, MaySignOff, MayMerge, MayDeploy, MayRevert:
			return true
		case MayOperate, MayRun:
			return k != KindLive && k != ""
		case MayRestore, MayAdminister:
			return false
		}
	case RoleDeveloper:
		switch v {
		case MaySee, MayPush:
			return true
		case MayTry, MayOperate, MayRun:
			return k == KindPreview || k == KindTesting
		case MayDeploy, MayRevert:
			return k == KindStaging
		case MaySignOff, MayMerge, MayRestore, MayAdminister:
			return false
		}
	case RoleViewer:
		return v == MaySee
	}
	return false
}

// Roles lists the roles from least to most.
func Roles() []Role { return []Role{RoleViewer, RoleDeveloper, RoleTester, RoleAdmin} }

// Verbs lists the verbs in the order of the matrix page.
func Verbs() []Verb {
	return []Verb{MaySee, MayPush, MayTry, MaySignOff, MayMerge, MayDeploy, MayRevert, MayOperate, MayRestore, MayRun, MayAdminister}
}

// Person is somebody with a name, a role and perhaps a password and tokens.
// Role is the one everywhere; AppRoles replaces it for single apps.
type Person struct {
	Name         string          `json:"name"`
	Email        string          `json:"email,omitempty"`
	Role         Role            `json:"role"`
	AppRoles     map[string]Role `json:"app_roles,omitempty"`
	PasswordHash string          `json:"-"` // argon2id; "" means no log-in by password
	Disabled     bool            `json:"disabled"`
	CreatedAt    time.Time       `json:"created_at"`
	AtHandUntil  time.Time       `json:"at_hand_until"` // there to help until; zero: not
}

// RoleOn is the role on one app.
func (p *Person) RoleOn(app string) Role {
	if r, ok := p.AppRoles[app]; ok {
		return r
	}
	return p.Role
}

// Token lets a program act for a person. Only its hash is kept.
type Token struct {
	ID        string    `json:"id,omitempty"` // public part, shown in listings
	Hash      string    `json:"-"`
	Person    string    `json:"person,omitempty"`
	Name      string    `json:"name"` // "laptop", "ci"
	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"used_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Actor is who asks for something and from where. System actors ("bosman")
// act for reactions.
type Actor struct {
	Person string `json:"person,omitempty"`
	From   string `json:"from,omitempty"` // "cli 127.0.0.1", "web 10.0.0.3", "git", "github", "bosman"
	System bool   `json:"system"`
}

// System is Bosman acting by itself.
func System() Actor { return Actor{Person: "bosman", From: "bosman", System: true} }
