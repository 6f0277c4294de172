package migration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman/internal/need"
)

// Alembic itself: what it writes is read without doubt, it refuses what is
// told to collide, and the command that is offered mends it.
func TestAlembicItself(t *testing.T) {
	need.Program(t, "/usr/bin/alembic", "alembic")
	dir := t.TempDir()
	run := func(command string) (string, error) {
		cmd := exec.Command("/bin/sh", "-c", command)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1"}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(command string) string {
		t.Helper()
		out, err := run(command)
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return out
	}
	must("alembic init m && sed -i 's#^sqlalchemy.url.*#sqlalchemy.url = sqlite:///x.db#' alembic.ini")
	scan := func() Nodes {
		files := map[string]string{}
		list, err := filepath.Glob(filepath.Join(dir, "m/versions/*.py"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			files["m/versions/"+filepath.Base(f)] = string(text)
		}
		nodes, err := scannerOf(t, Options{}).Scan(t.Context(), &trees{commits: map[string]map[string]string{"x": files}}, "x")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if len(n.Unknown) > 0 {
				t.Fatalf("unknown in %s: %v", n.ID, n.Unknown)
			}
		}
		return nodes
	}
	must("alembic revision -m start --rev-id a1")
	first := scan()
	must("alembic revision -m ours --rev-id b2")
	ours := Added(first, scan())
	must("alembic revision -m theirs --rev-id c3 --head a1 --splice")
	all := scan()
	theirs := Added(append(first, ours...), all)
	if len(first) != 1 || len(ours) != 1 || len(theirs) != 1 {
		t.Fatalf("%v, %v, %v", first, ours, theirs)
	}
	found := Collisions(append(first, ours...), map[int]Delta{15: {Added: theirs}})
	out, err := run("alembic upgrade head")
	if len(found[15]) != 1 || !found[15][0].Stale || err == nil || !strings.Contains(out, "Multiple head revisions") {
		t.Fatalf("found %v; Alembic says %v %s", found, err, out)
	}
	_, command, _ := strings.Cut(found[15][0].Fix, "`")
	command, _, _ = strings.Cut(command, "`")
	must(command)
	if found = Collisions(append(first, ours...), map[int]Delta{15: {Added: Added(append(first, ours...), scan())}}); len(found) != 0 {
		t.Fatalf("found %v after %s", found, command)
	}
	must("alembic upgrade head")

	// A branch of its own has heads of its own.
	before := scan()
	must("alembic revision -m billing --rev-id d4 --head base --branch-label billing --depends-on a1")
	branch := Added(before, scan())
	if found = Collisions(before, map[int]Delta{15: {Added: branch}}); len(branch) != 1 || len(found) != 0 {
		t.Fatalf("found %v of %v", found, branch)
	}
	must("alembic upgrade heads")
	// Two follow one within it; and a circle, which Alembic refuses too.
	must("alembic revision -m e --rev-id e5 --head billing@head")
	must("sed -i \"s/^down_revision = .*/down_revision = 'e5'/; s/^branch_labels = .*/branch_labels = None/\" m/versions/d4_billing.py")
	now := scan()
	if found = Collisions(before, map[int]Delta{15: {Added: Added(before, now)}}); len(found[15]) != 1 || !strings.Contains(found[15][0].Text, "in a circle") {
		t.Fatalf("found %v of a circle", found)
	}
	if out, err = run("alembic heads"); err == nil {
		t.Fatalf("Alembic does not mind a circle: %s", out)
	}
}
