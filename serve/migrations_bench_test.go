package serve

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/migration"
	"github.com/bosman-cd/bosman/source"
)

// BenchmarkMigrationCheck compares fifty open changes with each other and with
// main in a repository with a thousand migrations, through real git.
//
//	push        a change got a new commit: what happens on every push
//	main moved  all changes are compared with another main
//	start       nothing is remembered
//
// baseline/round is the time of the same in the plain way: for each change the
// whole tree is listed and every migration in it read and parsed.
func BenchmarkMigrationCheck(b *testing.B) {
	ctx := b.Context()
	repos, app, open := manyChanges(b, 10, 1000, 4000, 50)
	repo, err := repos.Open(app.Name)
	if err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	for _, c := range open {
		s, err := migration.NewScanner(migration.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if nodes, err := s.Scan(ctx, repo, c.Head); err != nil || len(nodes) != 1001 {
			b.Fatalf("%d migrations, %v", len(nodes), err)
		}
	}
	baseline := time.Since(begun)
	none := func(context.Context, string) (*bosman.Manifest, error) { return &bosman.Manifest{}, nil }
	compare := func(b *testing.B, m *migrations, open []bosman.Change) {
		found, err := m.Compare(ctx, app, open)
		if err != nil || len(found) != len(open) || len(found[1].Collisions) == 0 {
			b.Fatalf("%d changes, %v", len(found), err)
		}
	}
	fresh := func() *migrations {
		return &migrations{repos: repos, manifest: none, scanners: map[string]scanner{}}
	}
	ratio := func(b *testing.B) {
		b.ReportMetric(float64(baseline)/(float64(b.Elapsed())/float64(b.N)), "baseline/round")
	}
	b.Run("push", func(b *testing.B) {
		m := fresh()
		compare(b, m, open[:49])
		for n := 0; b.Loop(); n++ {
			if n > 0 { // forget what the round before learned of the change
				b.StopTimer()
				m = fresh()
				compare(b, m, open[:49])
				b.StartTimer()
			}
			compare(b, m, open)
		}
		ratio(b)
	})
	b.Run("main moved", func(b *testing.B) {
		m := fresh()
		compare(b, m, open)
		for b.Loop() {
			b.StopTimer()
			git(b, repo.Dir(), "update-ref", "refs/heads/main", git(b, repo.Dir(), "commit-tree", "-p", "main", "-m", fmt.Sprint(b.Elapsed()), "main^{tree}"))
			b.StartTimer()
			compare(b, m, open)
		}
		ratio(b)
	})
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			compare(b, fresh(), open)
		}
		ratio(b)
	})
}

func git(b testing.TB, in string, args ...string) string {
	b.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = in
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=P", "GIT_AUTHOR_EMAIL=p@example.org", "GIT_COMMITTER_NAME=P", "GIT_COMMITTER_EMAIL=p@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// manyChanges makes a repository with so many migrations and other files in
// so many apps, and branches with a migration each.
func manyChanges(b testing.TB, apps, migrations, files, changes int) (*source.Repos, bosman.App, []bosman.Change) {
	dir := b.TempDir()
	repos, err := source.New(b.Context(), filepath.Join(dir, "git"))
	if err != nil {
		b.Fatal(err)
	}
	repo, err := repos.Create(b.Context(), "big", "main")
	if err != nil {
		b.Fatal(err)
	}
	work := filepath.Join(dir, "work")
	git(b, dir, "init", "-q", "-b", "main", work)
	write := func(name, text string) {
		path := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	text := func(app, n int) string {
		deps := ""
		if n > 0 {
			deps = fmt.Sprintf("('a%d', '%04d_m')", app, n-1)
		}
		return fmt.Sprintf("from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n\n    dependencies = [%s]\n\n    operations = [\n        migrations.AddField(\n            model_name='thing', name='f%d', field=models.CharField(max_length=100, null=True),\n        ),\n    ]\n", deps, n)
	}
	for app := range apps {
		for n := range migrations / apps {
			write(fmt.Sprintf("a%d/migrations/%04d_m.py", app, n), text(app, n))
		}
	}
	for n := range files {
		write(fmt.Sprintf("lib/%d/m%d.py", n%50, n), fmt.Sprintf("def f%d():\n    return %d\n", n, n))
	}
	git(b, work, "add", "-A")
	git(b, work, "commit", "-qm", "main")
	var open []bosman.Change
	for c := 1; c <= changes; c++ {
		branch := fmt.Sprint("c", c)
		git(b, work, "checkout", "-q", "-b", branch, "main")
		write(fmt.Sprintf("a%d/migrations/%04d_c%d.py", c%apps, migrations/apps, c), text(c%apps, migrations/apps))
		git(b, work, "add", "-A")
		git(b, work, "commit", "-qm", branch)
		open = append(open, bosman.Change{App: "big", Number: c, Branch: branch, Head: git(b, work, "rev-parse", "HEAD"), Trust: bosman.TrustTeam})
	}
	git(b, repo.Dir(), "fetch", "-q", work, "+refs/heads/*:refs/heads/*")
	return repos, bosman.App{Name: "big", MainBranch: "main"}, open
}
