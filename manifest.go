package bosman

import "time"

// ManifestFile is the name of the file that says how an app is built and run.
const ManifestFile = "bosman.yaml"

// Manifest is what a bosman.yaml says. Reading it, checking it and giving its
// schema are package manifest's.
type Manifest struct {
	Timezone  string                  `yaml:"timezone"` // IANA name; "UTC" when silent
	Root      string                  `yaml:"root"`     // the app's folder, "." usually
	Paths     []string                `yaml:"paths"`    // globs: which changes matter; nil means all
	Env       map[string]string       `yaml:"env"`
	Build     []Step                  `yaml:"build"`
	Test      []Step                  `yaml:"test"`
	Processes map[string]Process      `yaml:"processes"`
	Cron      map[string]Cron         `yaml:"cron"`
	Static    map[string]string       `yaml:"static"` // URL prefix → folder of the release
	Data      []string                `yaml:"data"`   // folders that belong to the instance
	Templates map[string]string       `yaml:"templates"`
	Release   string                  `yaml:"release"` // command before the switch
	Health    string                  `yaml:"health"`  // path; "" means no promise of switching without loss
	Checks    []RequestCheck          `yaml:"checks"`
	Database  DatabaseSpec            `yaml:"database"`
	Databases map[string]DatabaseSpec `yaml:"databases"` // further ones by name: "reports" is REPORTS_DATABASE_URL
	Tasks     map[string]string       `yaml:"tasks"`
	After     []After                 `yaml:"after"`
	Instances map[string]*Policy      `yaml:"instances"` // by kind
	Migration MigrationConfig         `yaml:"migrations"`
	Guard     string                  `yaml:"guard"` // command that prints the database the app would use; detected for Django
	Sources   map[string]SourceRef    `yaml:"-"`     // where each key stands in the file, by dotted path
}

// SourceRef is a place in a file.
type SourceRef struct{ Line, Column int }

// MigrationConfig says how the app's migrations are found.
type MigrationConfig struct {
	Tool    string        `yaml:"tool"`    // one of migration.Tools, or none; "": all, each by its files
	Network bool          `yaml:"network"` // a rehearsal of the release command may use the host's network
	Time    time.Duration `yaml:"time"`    // one rehearsal takes at most; RehearsalTime when silent
}

// How long one rehearsal takes at most: where bosman.yaml says nothing, and
// what it may say. Rehearsals wait for each other.
const (
	RehearsalTime    = 10 * time.Minute
	RehearsalTimeMax = 12 * time.Hour
)

// Limit is how long one rehearsal takes at most.
func (m MigrationConfig) Limit() time.Duration {
	if m.Time == 0 {
		return RehearsalTime
	}
	return m.Time
}

// Step is one command of build: or test:.
type Step struct {
	Name         string                       `yaml:"name"`
	Run          string                       `yaml:"run"`
	Inputs       []string                     `yaml:"inputs"`  // globs; with them the step can come from the cache
	Outputs      []string                     `yaml:"outputs"` // folders or files it makes
	Secrets      []string                     `yaml:"secrets"`
	Env          map[string]string            `yaml:"env"`
	Variants     map[string]map[string]string `yaml:"variants"` // variant → environment; outputs stored apart
	Reports      Reports                      `yaml:"reports"`
	AllowFailure bool                         `yaml:"allow_failure"`
	Timeout      time.Duration                `yaml:"timeout"` // 15 min when silent
}

// Reports are globs of the report files that a test step leaves.
type Reports struct {
	JUnit    string `yaml:"junit"`
	Coverage string `yaml:"coverage"` // Cobertura XML
	Lint     string `yaml:"lint"`     // flake8, pylint, eslint, checkstyle: recognised by content
}

// Process is one long-running command of an instance. "web" gets the socket.
type Process struct {
	Run         string        `yaml:"run"`
	Count       int           `yaml:"count"`        // 1 when silent
	Off         bool          `yaml:"-"`            // count: 0 was written; Count is 0
	StopTimeout time.Duration `yaml:"stop_timeout"` // 30 s when silent
}

// WebProcess is the name of the process that answers requests.
const WebProcess = "web"

// Cron is a command run at moments of the app's time zone.
type Cron struct {
	At  string `yaml:"at"` // five fields
	Run string `yaml:"run"`
}

// RequestCheck is a smoke request made to the new processes before the switch.
type RequestCheck struct {
	Get      string `yaml:"get"`
	Status   int    `yaml:"status"` // 200 when silent
	Contains string `yaml:"contains"`
}

// After is a step after the build: When is success, failure or always.
type After struct {
	When string `yaml:"when"`
	Run  string `yaml:"run"`
}

// Policy is what holds for the instances of one kind.
type Policy struct {
	Copy    string       `yaml:"copy"`   // instance a testing one is a copy of
	Follow  string       `yaml:"follow"` // branch
	Seed    string       `yaml:"seed"`   // command on an empty database
	Max     int          `yaml:"max"`
	Idle    string       `yaml:"idle"`
	Pool    int          `yaml:"pool"` // copies made in advance
	Domains []string     `yaml:"domains"`
	Deploy  DeployPolicy `yaml:"deploy"`
	Backup  BackupPolicy `yaml:"backup"`
	Watch   WatchPolicy  `yaml:"watch"`
	Workers bool         `yaml:"workers"` // start worker and cron processes also outside live
}

// DeployPolicy says when and after what live may be deployed.
type DeployPolicy struct {
	After  string `yaml:"after"`   // instance that must have run the release
	Window string `yaml:"window"`  // "Mon-Thu 09:00-15:00"; "" means always
	AtHand int    `yaml:"at_hand"` // how many people must be at hand
}

// BackupPolicy says what is kept of an instance.
type BackupPolicy struct {
	Keep   int           `yaml:"keep"`   // how many stay
	For    time.Duration `yaml:"for"`    // younger ones stay as well
	At     string        `yaml:"at"`     // five fields: also made at these moments of the app's time zone
	Verify string        `yaml:"verify"` // before (the default) or nightly
}

// WatchPolicy says how long a new release is watched and what follows.
type WatchPolicy struct {
	For    time.Duration `yaml:"for"`
	Revert bool          `yaml:"revert"`
}

// PolicyFor gives the policy of a kind; never nil.
func (m *Manifest) PolicyFor(k InstanceKind) *Policy {
	if m != nil {
		if p := m.Instances[string(k)]; p != nil {
			return p
		}
	}
	return &Policy{}
}

// DefaultStepTimeout ends a build step that says nothing else.
const DefaultStepTimeout = 15 * time.Minute

// DefaultStopTimeout is how long a process may take to stop.
const DefaultStopTimeout = 30 * time.Second
