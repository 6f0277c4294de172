package serve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build"
	"github.com/bosman-cd/bosman/build/report"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/instance"
	"github.com/bosman-cd/bosman/manifest"
	"github.com/bosman-cd/bosman/source"
)

func parse(data []byte) (*bosman.Manifest, error) { return manifest.Parse(data, bosman.ManifestFile) }

// trees gives builds the trees of the repositories.
type trees struct{ repos *source.Repos }

// ReadFile gives a file of a commit.
func (t trees) ReadFile(ctx context.Context, app, commit, path string) ([]byte, error) {
	repo, err := t.repos.Open(app)
	if err != nil {
		return nil, err
	}
	return repo.ReadFile(ctx, commit, path)
}

// Export writes the files of a commit into a folder.
func (t trees) Export(ctx context.Context, app, commit, dir string) error {
	repo, err := t.repos.Open(app)
	if err != nil {
		return err
	}
	_, err = repo.Export(ctx, commit, dir)
	return err
}

// ChangedLines gives the lines that commit has and base has not.
func (t trees) ChangedLines(ctx context.Context, app, base, commit string) (map[string][][2]int, error) {
	repo, err := t.repos.Open(app)
	if err != nil {
		return nil, err
	}
	lines, err := repo.ChangedLines(ctx, base, commit)
	if err != nil {
		return nil, err
	}
	out := make(map[string][][2]int, len(lines))
	for path, runs := range lines {
		for _, r := range runs {
			out[path] = append(out[path], [2]int{r.From, r.To})
		}
	}
	return out, nil
}

type manifests struct{}

// Parse reads a bosman.yaml.
func (manifests) Parse(data []byte) (*bosman.Manifest, error) { return parse(data) }

type reports struct{}

// Read reads report files.
func (reports) Read(dir string, want bosman.Reports) *bosman.Report { return report.Read(dir, want) }

// MarkChanged marks the findings on changed lines.
func (reports) MarkChanged(r *bosman.Report, lines map[string][][2]int) {
	ranges := make(map[string][]report.Range, len(lines))
	for path, runs := range lines {
		for _, run := range runs {
			ranges[path] = append(ranges[path], report.Range{From: run[0], To: run[1]})
		}
	}
	report.MarkChanged(r, ranges)
}

// buildSecrets gives a team's builds the secrets they name.
type buildSecrets struct{ helm *helm.Helm }

// ForBuild gives the values of the named secrets that are set.
func (b buildSecrets) ForBuild(ctx context.Context, app string, names []string) (map[string]string, error) {
	all, err := b.helm.BuildSecrets(ctx, app)
	maps.DeleteFunc(all, func(name, _ string) bool { return !slices.Contains(names, name) })
	return all, err
}

// testDatabases gives each build a database of its own.
type testDatabases struct{ databases *databases }

// Provide makes the database that an app's tests run on.
func (t testDatabases) Provide(ctx context.Context, b bosman.Build, m *bosman.Manifest) (build.Provided, error) {
	none := build.Provided{Close: func(context.Context) error { return nil }}
	switch m.Database.Engine {
	case "postgres":
	case "sqlite":
		d := bosman.Database{Engine: "sqlite", Name: "/tmp/test.sqlite3"}
		none.Env = databaseEnv(d)
		return none, nil
	case "mariadb":
		d, clean, err := t.mariaDBForBuild(ctx, fmt.Sprintf("%s-%s", b.App, bosman.Ref(bosman.LetterBuild, b.Number)))
		if err != nil {
			return none, err
		}
		return build.Provided{Env: databaseEnv(d), Sockets: []string{d.Host}, Close: clean}, nil
	default:
		return none, nil
	}
	scratch, err := t.databases.cluster(ctx, scratchCluster)
	if err != nil {
		return none, err
	}
	id := fmt.Sprintf("%s-%s", b.App, bosman.Ref(bosman.LetterBuild, b.Number))
	d, err := scratch.BuildDatabase(ctx, id)
	if err != nil {
		return none, err
	}
	if err := scratch.Extend(ctx, d.Name, m.Database.Extensions); err != nil {
		return none, errors.Join(err, scratch.CleanBuild(context.WithoutCancel(ctx), id))
	}
	env := databaseEnv(d)
	for _, name := range m.DatabaseNames() {
		more, err := scratch.BuildFurther(ctx, id, name)
		if err == nil {
			err = scratch.Extend(ctx, more.Name, m.Databases[name].Extensions)
		}
		if err != nil {
			return none, errors.Join(err, scratch.CleanBuild(context.WithoutCancel(ctx), id))
		}
		env = append(env, furtherEnv(name, more)...)
	}
	return build.Provided{Env: env, Sockets: []string{d.Host}, Close: func(ctx context.Context) error { return scratch.CleanBuild(ctx, id) }}, nil
}

// databaseEnv gives the variables that name a database, and only those.
func databaseEnv(d bosman.Database) []string {
	var out []string
	for _, kv := range instance.Environment(instance.Surroundings{Instance: bosman.Instance{Database: d}}) {
		for _, prefix := range []string{"DATABASE_", "DB_", "POSTGRES_", "PG", "MYSQL_", "MARIADB_"} {
			if strings.HasPrefix(kv, prefix) {
				out = append(out, kv)
			}
		}
	}
	return out
}
