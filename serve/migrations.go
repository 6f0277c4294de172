package serve

import (
	"context"
	"slices"
	"sync"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/migration"
	"github.com/bosman-cd/bosman/source"
)

// migrations compares the migrations of open changes and of releases.
type migrations struct {
	repos    *source.Repos
	records  *records
	manifest func(ctx context.Context, app string) (*bosman.Manifest, error)
	ask      func(ctx context.Context, app string, release, change int) error
	due      func(ctx context.Context, app string, build int) error
	live     func(ctx context.Context, op bosman.Operation, i bosman.Instance) (string, error)

	mu       sync.Mutex
	scanners map[string]scanner // by app
}

type scanner struct {
	opt migration.Options
	*migration.Scanner
}

func newMigrations(s *server) *migrations {
	return &migrations{
		repos: s.repos, records: s.records, scanners: map[string]scanner{}, ask: s.askRehearsal, due: s.considerRehearsal, live: s.beforeLive,
		manifest: func(ctx context.Context, app string) (*bosman.Manifest, error) { return s.helm.Manifest(ctx, app) },
	}
}

// scanner gives what remembers an app's migrations. What main's bosman.yaml
// says of them holds; one that cannot be read leaves it to the texts.
func (m *migrations) scanner(ctx context.Context, app string) (*migration.Scanner, error) {
	var opt migration.Options
	if file, err := m.manifest(ctx, app); err == nil && file != nil {
		opt.Tool = file.Migration.Tool
		if file.Root != "." {
			opt.Root = file.Root
		}
	} else if err != nil && bosman.KindOf(err) != bosman.KindInvalid {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.scanners[app]; ok && known.opt.Tool == opt.Tool && known.opt.Root == opt.Root {
		return known.Scanner, nil
	}
	s, err := migration.NewScanner(opt)
	if err != nil {
		return nil, err
	}
	m.scanners[app] = scanner{opt, s}
	return s, nil
}

// Compare gives collisions and dangers by the number of the change.
func (m *migrations) Compare(ctx context.Context, app bosman.App, open []bosman.Change) (map[int]helm.Hazards, error) {
	repo, err := m.repos.Open(app.Name)
	if err != nil {
		return nil, err
	}
	scanner, err := m.scanner(ctx, app.Name)
	if err != nil {
		return nil, err
	}
	head, err := repo.Resolve(ctx, "refs/heads/"+app.MainBranch)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil, nil // nothing to compare with
	}
	if err != nil {
		return nil, err
	}
	main, err := scanner.Scan(ctx, repo, head)
	if err != nil {
		return nil, err
	}
	deltas, out := map[int]migration.Delta{}, map[int]helm.Hazards{}
	for _, c := range open { // also those of strangers: nothing of theirs is run
		d, err := scanner.Delta(ctx, repo, head, c.Head)
		switch {
		case bosman.KindOf(err) == bosman.KindNotFound: // the others are compared all the same
			out[c.Number] = helm.Hazards{Hazards: []string{"its migrations cannot be compared with main's: " + m.incomparable(ctx, repo, head, c)}}
			continue
		case err != nil:
			return nil, err
		}
		d.Called = c.Called()
		deltas[c.Number] = d
	}
	collisions := migration.Collisions(main, deltas)
	for n, d := range deltas {
		var h helm.Hazards
		for _, node := range d.Added {
			h.Migrations = append(h.Migrations, node.String())
		}
		for _, c := range collisions[n] {
			h.Collisions = append(h.Collisions, bosman.Collision{With: c.With, Blocks: c.Stale, Text: c.Text, Fix: c.Fix})
			h.Hazards = append(h.Hazards, c.String())
			if c.Stale && h.Blocked == "" {
				h.Blocked = c.Text
			}
		}
		for _, danger := range migration.Dangers(main, d.Added) {
			h.Hazards = append(h.Hazards, danger.String())
		}
		if len(h.Hazards)+len(h.Migrations) > 0 {
			out[n] = h
		}
	}
	return out, nil
}

// incomparable says why a change has nothing in common with main.
func (m *migrations) incomparable(ctx context.Context, repo *source.Repo, main string, c bosman.Change) string {
	if _, err := repo.Resolve(ctx, c.Head); err != nil {
		return "its commit " + bosman.Short(c.Head) + " is not here"
	}
	if _, err := repo.MergeResult(ctx, main, c.Head, ""); err != nil {
		return bosman.AsError(err).Message
	}
	return "git cannot tell what it changed"
}

// Between gives what going from one release to another does to the schema.
func (m *migrations) Between(ctx context.Context, app string, from, to int) (bosman.SchemaStep, error) {
	step := bosman.SchemaStep{From: from, To: to}
	before, err := m.of(ctx, app, from)
	if err != nil {
		return step, err
	}
	after, err := m.of(ctx, app, to)
	if err != nil {
		return step, err
	}
	step.Known = len(before)+len(after) > 0
	added := migration.Added(before, after)
	for _, n := range added {
		step.Migrations = append(step.Migrations, n.String())
	}
	for _, n := range migration.Added(after, before) {
		if !slices.Contains(step.Migrations, n.String()) {
			step.Missing = append(step.Missing, n.String())
		}
	}
	step.Dangers = migration.Dangers(before, added)
	return step, nil
}

// of gives the migrations of a release, from its commit: also when its files
// were pruned.
func (m *migrations) of(ctx context.Context, app string, release int) (migration.Nodes, error) {
	rel, err := m.records.store.Release(ctx, app, release)
	if err != nil {
		return nil, err
	}
	repo, err := m.repos.Open(app)
	if err != nil {
		return nil, err
	}
	scanner, err := m.scanner(ctx, app)
	if err != nil {
		return nil, err
	}
	return scanner.Scan(ctx, repo, rel.Commit)
}

// any says whether main has migrations that can be read.
func (m *migrations) any(ctx context.Context, app string) (bool, error) {
	repo, err := m.repos.Open(app)
	if err != nil {
		return false, err
	}
	noun, err := m.records.store.App(ctx, app)
	if err != nil {
		return false, err
	}
	scanner, err := m.scanner(ctx, app)
	if err != nil {
		return false, err
	}
	nodes, err := scanner.Scan(ctx, repo, "refs/heads/"+noun.MainBranch)
	return len(nodes) > 0, err
}

// Rehearse has a release rehearsed soon, also if it was before.
func (m *migrations) Rehearse(ctx context.Context, app string, release, change int) error {
	return m.ask(ctx, app, release, change)
}

// Due has the release of a build rehearsed unless it was, or brings no
// migrations.
func (m *migrations) Due(ctx context.Context, app string, build int) error {
	return m.due(ctx, app, build)
}

// BeforeLive says what a deployment to live waits for before it may migrate.
func (m *migrations) BeforeLive(ctx context.Context, op bosman.Operation, i bosman.Instance) (string, error) {
	return m.live(ctx, op, i)
}

var (
	_ helm.SchemaSteps = (*migrations)(nil)
	_ helm.Rehearser   = (*migrations)(nil)
	_ helm.LiveGuard   = (*migrations)(nil)
)
