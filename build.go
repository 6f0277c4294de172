package bosman

import "time"

// BuildState is where a build stands.
type BuildState string

// The states of a build:
//
//	queued ─► running ─► green | red | error
//	   └─────────┴─────► cancelled
//
// red: the code's own tests or build steps failed; error: Bosman or the host
// could not do it (the disk is full, the sandbox cannot start).
const (
	BuildQueued    BuildState = "queued"
	BuildRunning   BuildState = "running"
	BuildGreen     BuildState = "green"
	BuildRed       BuildState = "red"
	BuildError     BuildState = "error"
	BuildCancelled BuildState = "cancelled"
)

// Final says whether the build will not change any more.
func (s BuildState) Final() bool { return s != BuildQueued && s != BuildRunning }

// Build is one run of an app's pipeline on one tree.
type Build struct {
	App       string      `json:"app"`
	Number    int         `json:"number"`
	Change    int         `json:"change"`           // 0 for a build of main itself
	Branch    string      `json:"branch,omitempty"` // for people
	Head      string      `json:"head,omitempty"`   // the change's commit
	Base      string      `json:"base,omitempty"`   // main's commit it was merged with; "" for a build of main
	Commit    string      `json:"commit,omitempty"` // the commit built: the merge result, or main
	Tree      string      `json:"tree,omitempty"`
	Trust     Trust       `json:"trust"`
	State     BuildState  `json:"state"`
	Reason    string      `json:"reason,omitempty"` // why it is red, in error, cancelled or was not needed; one sentence
	Release   int         `json:"release"`          // the release it made or reused; 0 until sealed
	Reused    bool        `json:"reused"`           // the release had been built before
	By        string      `json:"by,omitempty"`     // who asked
	CreatedAt time.Time   `json:"created_at"`
	StartedAt time.Time   `json:"started_at"`
	EndedAt   time.Time   `json:"ended_at"`
	PrunedAt  time.Time   `json:"pruned_at"` // zero while its log and report files exist
	Steps     []BuildStep `json:"steps,omitempty"`
	Report    *Report     `json:"report,omitempty"`
}

// Unconcerned says that nothing was built, because nothing of the app changed:
// Release is the one that main had already.
func (b Build) Unconcerned() bool {
	return b.State == BuildGreen && b.Reused && b.Reason != ""
}

// StepState is where a step of a build or operation stands.
type StepState string

// The states of a step.
const (
	StepWaiting StepState = "waiting"
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepAllowed StepState = "allowed" // failed, but the manifest allows it
	StepSkipped StepState = "skipped"
	StepUndone  StepState = "undone"
)

// BuildStep is one step of a build.
type BuildStep struct {
	Name      string    `json:"name"`
	Variant   string    `json:"variant,omitempty"` // of assets; "" for most
	Test      bool      `json:"test"`              // a test or lint step; false for one that makes the release
	State     StepState `json:"state"`
	Cached    bool      `json:"cached"` // taken from the cache
	Exit      int       `json:"exit"`
	Note      string    `json:"note,omitempty"` // one sentence: why it failed, what was capped
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
	LogFrom   int64     `json:"log_from"` // byte offsets in the build's log file
	LogTo     int64     `json:"log_to"`
}

// TestState is the result of one test case.
type TestState string

// The results of a test case.
const (
	TestPassed  TestState = "passed"
	TestFailed  TestState = "failed"
	TestErrored TestState = "error"
	TestSkipped TestState = "skipped"
)

// TestCase is one test case of a report.
type TestCase struct {
	Suite   string    `json:"suite,omitempty"` // class or module
	Name    string    `json:"name"`
	State   TestState `json:"state"`
	Message string    `json:"message,omitempty"` // first lines of the failure
	Detail  string    `json:"detail,omitempty"`  // stack trace, output; capped
	Seconds float64   `json:"seconds"`
}

// Finding is something a linter says about a line.
type Finding struct {
	Path     string `json:"path,omitempty"` // relative to the repository, slashes
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Code     string `json:"code,omitempty"`     // E501, no-unused-vars
	Severity string `json:"severity,omitempty"` // error, warning, info
	Message  string `json:"message,omitempty"`
	Tool     string `json:"tool,omitempty"`
	Changed  bool   `json:"changed"` // on a line the change touched
}

// Coverage is the line coverage of a build.
type Coverage struct {
	Lines     int            `json:"lines"`
	Covered   int            `json:"covered"`
	Changed   int            `json:"changed"` // lines the change touched that count, and those covered
	ChangedOK int            `json:"changed_ok"`
	Files     []FileCoverage `json:"files,omitempty"`
}

// FileCoverage is the coverage of one file; Missed lists uncovered lines. Hit
// lists the covered ones while a report is being judged; it is not stored.
type FileCoverage struct {
	Path    string `json:"path,omitempty"`
	Lines   int    `json:"lines"`
	Covered int    `json:"covered"`
	Missed  []int  `json:"missed,omitempty"`
	Hit     []int  `json:"-"`
}

// Percent is the share of covered lines, 0 to 100; 0 when there are none.
func (c Coverage) Percent() float64 {
	if c.Lines == 0 {
		return 0
	}
	return 100 * float64(c.Covered) / float64(c.Lines)
}

// Report is what the reports of a build's steps say together.
type Report struct {
	Tests    []TestCase `json:"tests,omitempty"` // failed ones first
	Findings []Finding  `json:"findings,omitempty"`
	Coverage *Coverage  `json:"coverage,omitempty"`
	Problems []string   `json:"problems,omitempty"` // reports that were promised and are missing or unreadable
}

// Count gives the number of passed, failed (with errors) and skipped tests.
func (r *Report) Count() (passed, failed, skipped int) {
	if r == nil {
		return 0, 0, 0
	}
	for _, t := range r.Tests {
		switch t.State {
		case TestPassed:
			passed++
		case TestFailed, TestErrored:
			failed++
		case TestSkipped:
			skipped++
		}
	}
	return passed, failed, skipped
}

// TestsState says what is known of a release's tests.
type TestsState string

// The states of a release's tests.
const (
	TestsPending TestsState = "pending"
	TestsGreen   TestsState = "green"
	TestsRed     TestsState = "red"
)

// Release is what the build steps leave: an immutable, sealed tree with
// source, environment and assets. Its identity is tree hash, build definition
// and trust, so a merge that yields a tree already built reuses it.
type Release struct {
	App        string     `json:"app"`
	Number     int        `json:"number"`
	Commit     string     `json:"commit,omitempty"`
	Tree       string     `json:"tree,omitempty"`
	Definition string     `json:"definition,omitempty"` // hash of the build steps, their secrets' names and the sandbox's version
	Trust      Trust      `json:"trust"`
	Build      int        `json:"build"`
	Tests      TestsState `json:"tests"`
	Dir        string     `json:"dir,omitempty"`      // DATA/releases/APP/rN
	Variants   []string   `json:"variants,omitempty"` // asset variants held besides "default"
	SealedAt   time.Time  `json:"sealed_at"`
	PrunedAt   time.Time  `json:"pruned_at"`     // zero while its files exist
	Bad        string     `json:"bad,omitempty"` // why it was reverted; "" for a good one
	Bytes      int64      `json:"bytes"`
}

// DefaultVariant is the asset variant that always exists.
const DefaultVariant = "default"
