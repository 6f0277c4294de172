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
	App       string        `json:"app"`
	Name      string        `json:"name"` // "live", "staging", "testing-anna"
	Kind      InstanceKind  `json:"kind"`
	Owner     string        `json:"owner,omitempty"`      // the tester of a testing instance
	Change    int           `json:"change"`               // what a testing or preview instance shows; 0 otherwise
	Release   int           `json:"release"`              // what runs (or would run, if Stopped)
	Previous  int           `json:"previous"`             // the release before, kept for the way back
	ProcessID string        `json:"process_id,omitempty"` // Spec.ID of the process set that is routed
	Stopped   bool          `json:"stopped"`              // desired: a person stopped it
	Asleep    bool          `json:"asleep"`               // Bosman stopped it because nobody used it; a request starts it again
	UsedAt    time.Time     `json:"used_at"`              // of a preview: the last request it got; zero: none was seen
	State     InstanceState `json:"state"`
	Note      string        `json:"note,omitempty"` // one sentence on the state, e.g. the last health answer
	URL       string        `json:"url,omitempty"`
	Database  Database      `json:"database"`
	Copy      CopyInfo      `json:"copy"`                // where its data came from; zero for staging and live
	ErrorKey  string        `json:"error_key,omitempty"` // public key of its SENTRY_DSN
	UID       int           `json:"uid"`                 // Unix user and group of its processes; 0: Bosman's own
	Operation int           `json:"operation"`           // the operation that owns it; 0 when none
	CreatedAt time.Time     `json:"created_at"`
	UpdatedAt time.Time     `json:"updated_at"` // of Release
	UpdatedBy string        `json:"updated_by,omitempty"`
}

// Database names one database on one server that Bosman reaches.
type Database struct {
	Engine   string `json:"engine,omitempty"`  // postgres, sqlite, mariadb; "" for none
	Cluster  string `json:"cluster,omitempty"` // "main", "scratch"; "" for sqlite
	Name     string `json:"name"`              // database name; the file's path for sqlite
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	Host     string `json:"host,omitempty"` // socket folder or host
	Port     int    `json:"port"`
	Params   string `json:"params,omitempty"` // of the URL of a database that Bosman did not make: sslmode=require
}

// CopyInfo says where an instance's data came from and how fresh it is.
type CopyInfo struct {
	From     string        `json:"from,omitempty"`     // instance it is a copy of
	TakenAt  time.Time     `json:"taken_at"`           // the moment of the source it holds
	Release  int           `json:"release"`            // the release the source ran at that moment
	Strategy string        `json:"strategy,omitempty"` // "template", "dump", "clone", "vacuum"
	Took     time.Duration `json:"took_ns"`            // of the copy as the tester met it
	Bytes    int64         `json:"bytes"`              // of the database's files; of a restored one those of its dump
	Backup   int           `json:"backup,omitempty"`   // it was restored from, to prove that one; 0: made for the copy
	Merged   string        `json:"merged,omitempty"`   // main's commit that the change was merged with, for its own release was older than the data
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
	App       string          `json:"app"`
	Number    int             `json:"number"` // d37
	Instance  string          `json:"instance,omitempty"`
	Plan      Plan            `json:"plan"`
	Release   int             `json:"release"` // to
	From      int             `json:"from"`    // the release before
	Change    int             `json:"change"`  // of a try
	Backup    int             `json:"backup"`  // made or restored
	Reverts   int             `json:"reverts"` // the operation that a revert takes back
	State     OperationState  `json:"state"`
	Auto      bool            `json:"auto"`         // asked for by a reaction, not by a person
	Exact     bool            `json:"exact"`        // of a try: the source's data of the moment it runs
	By        string          `json:"by,omitempty"` // Person, or "bosman"
	Why       string          `json:"why,omitempty"`
	Override  string          `json:"override,omitempty"` // reason given by an administrator to pass a rule
	Waits     string          `json:"waits,omitempty"`    // what it waits for now: "the window opens 09:00", ""
	Committed bool            `json:"committed"`          // its point of no return is behind it
	Error     *Error          `json:"error,omitempty"`    // why it failed or reverted
	Failure   *Failure        `json:"failure,omitempty"`
	WayBack   *WayBack        `json:"way_back,omitempty"` // how a deployment is taken back, what a revert did
	CreatedAt time.Time       `json:"created_at"`
	StartedAt time.Time       `json:"started_at"`
	EndedAt   time.Time       `json:"ended_at"`
	Steps     []OperationStep `json:"steps,omitempty"`
}

// OperationStep is one station on the road of an operation.
type OperationStep struct {
	Name      string    `json:"name"`
	State     StepState `json:"state"`
	Note      string    `json:"note,omitempty"` // one sentence: "14 MB in 1.2 s, restored and compared"
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
}

// StepAfter is the last station of a revert that the watch asked for: what
// became of the errors.
const StepAfter = "afterwards"

// WasWatchedAfter says whether that is known already.
func WasWatchedAfter(o Operation) bool {
	return len(o.Steps) > 0 && o.Steps[len(o.Steps)-1].Name == StepAfter
}

// Failure is what the failure screen of an operation shows.
type Failure struct {
	Health   string    `json:"health,omitempty"`   // last answer of the health check
	Exit     string    `json:"exit,omitempty"`     // "exit status 3", "killed by signal 9", "" while it runs
	LogTail  string    `json:"log_tail,omitempty"` // end of the application's log
	Schema   string    `json:"schema,omitempty"`   // what the schema now holds, if migrations ran
	Serving  string    `json:"serving,omitempty"`  // "live still runs r136"
	TestedAt time.Time `json:"tested_at"`
}

// Backup is a dump of an instance's database and files.
type Backup struct {
	App        string        `json:"app"`
	Number     int           `json:"number"` // k12
	Instance   string        `json:"instance,omitempty"`
	Release    int           `json:"release"`
	Operation  int           `json:"operation"`     // the deployment that asked for it; 0 for others
	Why        string        `json:"why,omitempty"` // "before d37", "by hand", "kept by restore d40"
	By         string        `json:"by,omitempty"`
	Dir        string        `json:"dir,omitempty"`      // a folder of this machine, if it is not in a target
	Where      string        `json:"where,omitempty"`    // the target: a folder or s3://bucket/prefix
	Name       string        `json:"name,omitempty"`     // in the target
	Encrypted  bool          `json:"encrypted"`          // only the server's key and the recovery key open it
	Bytes      int64         `json:"bytes"`              // that it added to where it lies
	Content    int64         `json:"content"`            // of what it holds, unpacked: the dump and all files
	Files      int           `json:"files"`              // uploaded files it holds
	Checksum   string        `json:"checksum,omitempty"` // sha256 of its manifest
	Tables     int           `json:"tables"`
	Rows       int64         `json:"rows"`
	CreatedAt  time.Time     `json:"created_at"`
	Took       time.Duration `json:"took_ns"`
	VerifiedAt time.Time     `json:"verified_at"`     // zero: not verified, does not count
	VerifyTook time.Duration `json:"verify_took_ns"`  // of the trial restore and the comparison
	Error      string        `json:"error,omitempty"` // why making or verifying failed
}

// WatchVerdict says how a new release fares.
type WatchVerdict struct {
	Well     bool   `json:"well"`
	Reason   string `json:"reason,omitempty"` // "31 of 52 requests answered 5xx (before: 0 of 480)"
	Requests int64  `json:"requests"`
	Errors   int64  `json:"errors"`
	Events   int    `json:"events"`
}
