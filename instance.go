package bosman

import "time"

// InstanceKind says what an instance is for; it decides policy.
type InstanceKind string

// The kinds of instances.
const (
	KindTesting InstanceKind = "testing" // one for each tester, on a fresh copy of staging
	KindPreview InstanceKind = "preview" // one for a change
	KindStaging InstanceKind = "staging" // follows main
	KindLive    InstanceKind = "live"
)

// AssetVariant is the variant of the assets an instance of this kind serves,
// if the release holds it: staging runs what live runs.
func (k InstanceKind) AssetVariant() string {
	if k == KindLive || k == KindStaging {
		return "live"
	}
	return DefaultVariant
}

// InstanceState is what an instance does now, as last observed.
type InstanceState string

// The states of an instance:
//
//	empty ─► starting ─► running ⇄ unwell
//	             └─► failed          └─► stopped
//	unknown: its host cannot be reached; never counted as failed
const (
	InstanceEmpty    InstanceState = "empty" // nothing was ever deployed
	InstanceStarting InstanceState = "starting"
	InstanceRunning  InstanceState = "running"
	InstanceUnwell   InstanceState = "unwell" // runs, but its health check fails or it restarts in a loop
	InstanceStopped  InstanceState = "stopped"
	InstanceFailed   InstanceState = "failed"
	InstanceUnknown  InstanceState = "unknown"
)

// Instance is a running copy of an app with a database, uploaded files,
// secrets, address, processes, log and error key of its own.
type Instance struct {
	App       string
	Name      string // "live", "staging", "testing-anna"
	Kind      InstanceKind
	Owner     string // the tester of a testing instance
	Change    int    // what a testing or preview instance shows; 0 otherwise
	Release   int    // what runs (or would run, if Stopped)
	Previous  int    // the release before, kept for the way back
	ProcessID string // Spec.ID of the process set that is routed
	Stopped   bool   // desired: a person stopped it
	State     InstanceState
	Note      string // one sentence on the state, e.g. the last health answer
	URL       string
	Database  Database
	Copy      CopyInfo // where its data came from; zero for staging and live
	ErrorKey  string   // public key of its SENTRY_DSN
	UID       int      // Unix user and group of its processes; 0: Bosman's own
	Operation int      // the operation that owns it; 0 when none
	CreatedAt time.Time
	UpdatedAt time.Time // of Release
	UpdatedBy string
}

// Database names one database on one server that Bosman reaches.
type Database struct {
	Engine   string // postgres, sqlite; "" for none
	Cluster  string // "main", "scratch"; "" for sqlite
	Name     string // database name; the file's path for sqlite
	User     string
	Password string
	Host     string // socket folder or host
	Port     int
}

// CopyInfo says where an instance's data came from and how fresh it is.
type CopyInfo struct {
	From     string        // instance it is a copy of
	TakenAt  time.Time     // the moment of the source it holds
	Release  int           // the release the source ran at that moment
	Strategy string        // "template", "dump", "clone", "vacuum"
	Took     time.Duration // of the copy as the tester met it
	Bytes    int64
}

// Plan names a durable operation on an instance.
type Plan string

// The plans.
const (
	PlanDeploy  Plan = "deploy"  // forward to a release
	PlanRevert  Plan = "revert"  // back to the release before
	PlanTry     Plan = "try"     // fresh copy, a change's release, running
	PlanRestore Plan = "restore" // a backup takes the place of the database and files
	PlanBackup  Plan = "backup"
	PlanRestart Plan = "restart"
	PlanStop    Plan = "stop"
	PlanStart   Plan = "start"
)

// OperationState is where an operation stands.
type OperationState string

// The states of an operation:
//
//	queued ─► running ─► watching ─► done
//	   │         │           └─► reverted
//	   │         └─► failed (undone: the previous state still serves)
//	   └─► superseded | cancelled (it had not begun)
const (
	OpQueued     OperationState = "queued"
	OpRunning    OperationState = "running"
	OpWatching   OperationState = "watching" // switched; may still be reverted by itself
	OpDone       OperationState = "done"
	OpFailed     OperationState = "failed"
	OpReverted   OperationState = "reverted" // a revert took it back
	OpSuperseded OperationState = "superseded"
	OpCancelled  OperationState = "cancelled"
)

// Final says whether the operation will not change any more.
func (s OperationState) Final() bool {
	return s != OpQueued && s != OpRunning && s != OpWatching
}

// Operation is a durable plan at work on one instance: a deployment, a revert,
// a fresh copy and so on. At most one owns an instance.
type Operation struct {
	App       string
	Number    int // d37
	Instance  string
	Plan      Plan
	Release   int // to
	From      int // the release before
	Change    int // of a try
	Backup    int // made or restored
	Reverts   int // the operation that a revert takes back
	State     OperationState
	Auto      bool   // asked for by a reaction, not by a person
	By        string // Person, or "bosman"
	Why       string
	Override  string // reason given by an administrator to pass a rule
	Waits     string // what it waits for now: "the window opens 09:00", ""
	Committed bool   // its point of no return is behind it
	Error     *Error // why it failed or reverted
	Failure   *Failure
	CreatedAt time.Time
	StartedAt time.Time
	EndedAt   time.Time
	Steps     []OperationStep
}

// OperationStep is one station on the road of an operation.
type OperationStep struct {
	Name      string
	State     StepState
	Note      string // one sentence: "14 MB in 1.2 s, restored and compared"
	StartedAt time.Time
	EndedAt   time.Time
}

// Failure is what the failure screen of an operation shows.
type Failure struct {
	Health   string // last answer of the health check
	Exit     string // "exit status 3", "killed by signal 9", "" while it runs
	LogTail  string // end of the application's log
	Schema   string // what the schema now holds, if migrations ran
	Serving  string // "live still runs r136"
	TestedAt time.Time
}

// Backup is a dump of an instance's database and files.
type Backup struct {
	App        string
	Number     int // k12
	Instance   string
	Release    int
	Operation  int    // the deployment that asked for it; 0 for others
	Why        string // "before d37", "by hand", "kept by restore d40"
	By         string
	Dir        string
	Bytes      int64
	Checksum   string // sha256 of its manifest
	Tables     int
	Rows       int64
	CreatedAt  time.Time
	Took       time.Duration
	VerifiedAt time.Time // zero: not verified, does not count
	Error      string    // why making or verifying failed
}

// WatchVerdict says how a new release fares.
type WatchVerdict struct {
	Well     bool
	Reason   string // "31 of 52 requests answered 5xx (before: 0 of 480)"
	Requests int64
	Errors   int64
	Events   int
}
