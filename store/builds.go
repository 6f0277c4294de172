package store

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/bosman-cd/bosman"
)

// SaveBuild inserts or replaces a build, with its steps and report.
func (s *Store) SaveBuild(ctx context.Context, b bosman.Build) error {
	return save(ctx, s.db, &buildRow{Build: b}, "app, number")
}

// Build gives one build with its report.
func (s *Store) Build(ctx context.Context, app string, number int) (bosman.Build, error) {
	return one[buildRow, bosman.Build](ctx, s.db, bosman.NotFound("%s has no build %s", app, bosman.Ref(bosman.LetterBuild, number)), cond("app = ? AND number = ?", app, number))
}

// light leaves the reports out: they are large and lists do not show them.
func light(q *bun.SelectQuery) *bun.SelectQuery { return q.ExcludeColumn("report") }

// Builds gives an app's builds without reports, newest first. change < 0 means
// all, 0 those of main.
func (s *Store) Builds(ctx context.Context, app string, change, max int) ([]bosman.Build, error) {
	return many[buildRow, bosman.Build](ctx, s.db, light, cond("app = ? AND (? < 0 OR change = ?)", app, change, change), order("number DESC"), limit(max))
}

// BuildsOfRelease gives the builds that made a release or found it made,
// without reports, newest first.
func (s *Store) BuildsOfRelease(ctx context.Context, app string, release int) ([]bosman.Build, error) {
	return many[buildRow, bosman.Build](ctx, s.db, light, cond("app = ? AND release = ?", app, release), order("number DESC"))
}

// UnfinishedBuilds gives the queued and running builds of all apps, oldest
// first.
func (s *Store) UnfinishedBuilds(ctx context.Context) ([]bosman.Build, error) {
	return many[buildRow, bosman.Build](ctx, s.db, light, cond("state IN ('queued', 'running')"), order("created_at, app, number"))
}

// LatestBuild gives the newest build of a change (0: of main), with its
// report.
func (s *Store) LatestBuild(ctx context.Context, app string, change int) (bosman.Build, error) {
	return one[buildRow, bosman.Build](ctx, s.db, bosman.NotFound("%s has not been built yet", bosman.Ref(bosman.LetterChange, change)), cond("app = ? AND change = ?", app, change), order("number DESC"))
}

// BuildOfCommit gives the newest build of a commit.
func (s *Store) BuildOfCommit(ctx context.Context, app, commit string) (bosman.Build, error) {
	return one[buildRow, bosman.Build](ctx, s.db, bosman.NotFound("commit %s has not been built", bosman.Short(commit)), cond(`app = ? AND "commit" = ?`, app, commit), order("number DESC"))
}

// SaveRelease inserts or replaces a release.
func (s *Store) SaveRelease(ctx context.Context, r bosman.Release) error {
	return save(ctx, s.db, &releaseRow{Release: r}, "app, number")
}

// Release gives one release.
func (s *Store) Release(ctx context.Context, app string, number int) (bosman.Release, error) {
	return one[releaseRow, bosman.Release](ctx, s.db, bosman.NotFound("%s has no release %s", app, bosman.Ref(bosman.LetterRelease, number)).
		WithNext("bosman releases --app "+app+" lists them"), cond("app = ? AND number = ?", app, number))
}

// ReleaseByIdentity gives the newest unpruned release of a tree, definition
// and trust.
func (s *Store) ReleaseByIdentity(ctx context.Context, app, tree, definition string, trust bosman.Trust) (bosman.Release, error) {
	return one[releaseRow, bosman.Release](ctx, s.db, bosman.NotFound("tree %s has no release yet", bosman.Short(tree)),
		cond("app = ? AND tree = ? AND definition = ? AND trust = ? AND pruned_at < '0002-01-01'", app, tree, definition, trust), order("number DESC"))
}

// ReleaseOfTree gives the newest unpruned release of a tree built with trust.
func (s *Store) ReleaseOfTree(ctx context.Context, app, tree string, trust bosman.Trust) (bosman.Release, error) {
	return one[releaseRow, bosman.Release](ctx, s.db, bosman.NotFound("tree %s has no release yet", bosman.Short(tree)),
		cond("app = ? AND tree = ? AND trust = ? AND pruned_at < '0002-01-01'", app, tree, trust), order("number DESC"))
}

// Releases gives an app's releases, newest first.
func (s *Store) Releases(ctx context.Context, app string, max int) ([]bosman.Release, error) {
	return many[releaseRow, bosman.Release](ctx, s.db, cond("app = ?", app), order("number DESC"), limit(max))
}
