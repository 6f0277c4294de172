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
	App       string
	Number    int
	Change    int    // 0 for a build of main itself
	Branch    string // for people
	Head      string // the change's commit
	Base      string // main's commit it was merged with; "" for a build of main
	Commit    string // the commit built: the merge result, or main
	Tree      string
	Trust     Trust
	State     BuildState
	Reason    string // why it is red, in error or cancelled; one sentence
	Release   int    // the release it made or reused; 0 until sealed
	Reused    bool   // the release had been built before
	By        string // who asked
	CreatedAt time.Time
	StartedAt time.Time
	EndedAt   time.Time
	Steps     []BuildStep
	Report    *Report
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
	Name      string
	Variant   string // of assets; "" for most
	Test      bool   // a test or lint step; false for one that makes the release
	State     StepState
	Cached    bool // taken from the cache
	Exit      int
	Note      string // one sentence: why it failed, what was capped
	StartedAt time.Time
	EndedAt   time.Time
	LogFrom   int64 // byte offsets in the build's log file
	LogTo     int64
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
	Suite   string // class or module
	Name    string
	State   TestState
	Message string // first lines of the failure
	Detail  string // stack trace, output; capped
	Seconds float64
}

// Finding is something a linter says about a line.
type Finding struct {
	Path     string // relative to the repository, slashes
	Line     int
	Column   int
	Code     string // E501, no-unused-vars
	Severity string // error, warning, info
	Message  string
	Tool     string
	Changed  bool // on a line the change touched
}

// Coverage is the line coverage of a build.
type Coverage struct {
	Lines, Covered     int
	Changed, ChangedOK int // lines the change touched that count, and those covered
	Files              []FileCoverage
}

// FileCoverage is the coverage of one file; Missed lists uncovered lines. Hit
// lists the covered ones while a report is being judged; it is not stored.
type FileCoverage struct {
	Path           string
	Lines, Covered int
	Missed         []int
	Hit            []int `json:"-"`
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
	Tests    []TestCase // failed ones first
	Findings []Finding
	Coverage *Coverage
	Problems []string // reports that were promised and are missing or unreadable
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
	App        string
	Number     int
	Commit     string
	Tree       string
	Definition string // hash of the build steps, their secrets' names and the sandbox's version
	Trust      Trust
	Build      int
	Tests      TestsState
	Dir        string   // DATA/releases/APP/rN
	Variants   []string // asset variants held besides "default"
	SealedAt   time.Time
	PrunedAt   time.Time // zero while its files exist
	Bad        string    // why it was reverted; "" for a good one
	Bytes      int64
}

// DefaultVariant is the asset variant that always exists.
const DefaultVariant = "default"
