// Package build runs an app's pipeline on one tree: build steps make a
// release, test steps judge it. It owns the queue, the steps, the cache and the
// logs of builds. It must not know the store, the forges, the instances or who
// may ask for a build; what it needs of others it asks through the interfaces
// below.
//
//	export ─► (release of the same identity? reuse it) ─► build steps ─► seal ─► test steps ─► after ─► final
//	             │                                            └ red                 └ red
//	             └ and green: final at once
//
// A build ends green, red (the code's own steps failed), error (Bosman or its
// host could not) or cancelled (somebody said so, or a newer push of the same
// change). Bosman being stopped or killed ends no build: it is run again, under
// its number, at the next start.
package build

import (
	"context"
	"errors"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build/sandbox"
)

// Source gives the trees of an app's repository.
type Source interface {
	// ReadFile gives a file of a commit; KindNotFound if there is none.
	ReadFile(ctx context.Context, app, commit, path string) ([]byte, error)
	// Export writes the files of a commit, without .git, into the empty folder dir.
	Export(ctx context.Context, app, commit, dir string) error
	// ChangedLines gives the lines of each file that commit has and base has
	// not, as runs: first and last line, both included.
	ChangedLines(ctx context.Context, app, base, commit string) (map[string][][2]int, error)
}

// Manifests reads a bosman.yaml; its errors name line and key.
type Manifests interface {
	Parse(data []byte) (*bosman.Manifest, error)
}

// Reports reads report files.
type Reports interface {
	// Read reads the files below dir that match want. Missing or unreadable
	// reports are told in Report.Problems. Paths in them may begin with /app.
	Read(dir string, want bosman.Reports) *bosman.Report
	// MarkChanged marks the findings on changed lines (as Source.ChangedLines
	// gives them) and counts those that are covered.
	MarkChanged(r *bosman.Report, lines map[string][][2]int)
}

// Records is the memory of builds. Every call is one transaction, and returns
// when it is durable.
type Records interface {
	// SaveBuild stores the build's state, steps and report.
	SaveBuild(ctx context.Context, b bosman.Build) error
	// FindRelease gives the newest release of that identity that is not pruned,
	// with the report of the build whose tests judged it (nil if unknown);
	// KindNotFound if there is none.
	FindRelease(ctx context.Context, app, tree, definition string, trust bosman.Trust) (bosman.Release, *bosman.Report, error)
	// NextRelease gives a new release number of the app.
	NextRelease(ctx context.Context, app string) (int, error)
	// SaveRelease stores a sealed release and what is known of its tests. It is
	// called when it is sealed (Tests pending: it can be tried at once) and when
	// its tests have been judged.
	SaveRelease(ctx context.Context, r bosman.Release) error
}

// Secrets gives the values of an app's build secrets; names that are not set
// are left out.
type Secrets interface {
	ForBuild(ctx context.Context, app string, names []string) (map[string]string, error)
}

// TestDatabase provides a database for the test steps of a build.
type TestDatabase interface {
	Provide(ctx context.Context, b bosman.Build, m *bosman.Manifest) (Provided, error)
}

// Provided is a database for tests.
type Provided struct {
	Env     []string // DATABASE_URL=… and the like
	Sockets []string // folders or sockets of the host that steps may see
	Close   func(context.Context) error
}

// Releases is the store of releases.
type Releases interface {
	// Seal moves tree, and for each variant the host paths by path below /app,
	// into the store as release rel.Number. Asked again with the same identity
	// it gives what was sealed. KindInvalid: the manifest asks for what the tree
	// cannot hold.
	Seal(rel bosman.Release, tree string, variants map[string]map[string]string, m *bosman.Manifest) (bosman.Release, error)
	// Load gives a sealed release; an error if it is not on this machine.
	Load(app string, n int) (bosman.Release, error)
	// Tree is the folder of a release that is shown at /app.
	Tree(app string, n int) string
}

// Sandbox runs the commands of steps.
type Sandbox interface {
	Run(ctx context.Context, c sandbox.Command) (sandbox.Exit, error)
	Prepare(ctx context.Context, o sandbox.Overlay, uid int) error
	CanOverlay(o sandbox.Overlay) bool
	Root() bool
	Degraded() string
	Version() string
}

// Cancelled is the cause of the end of a cancelled build's context.
type Cancelled struct {
	Reason string // one sentence: who and why
}

func (c *Cancelled) Error() string { return c.Reason }

// ErrInterrupted says that Bosman is stopping: the build is not final and is
// run again at the next start.
var ErrInterrupted = errors.New("the build was interrupted and will be run again")
