package migration

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman/internal/need"
)

// trees is a Reader in memory: commit → path → text. A change's base is
// "base" unless there is none.
type trees struct {
	commits map[string]map[string]string
	read    int
}

func blobOf(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (t *trees) Files(_ context.Context, commit string) (map[string]string, error) {
	files := map[string]string{}
	for p, text := range t.commits[commit] {
		files[p] = blobOf(text)
	}
	return files, nil
}

func (t *trees) ChangedBlobs(_ context.Context, _, head string) (map[string]string, []string, error) {
	base, added := t.commits["base"], map[string]string{}
	var deleted []string
	for p, text := range t.commits[head] {
		if old, ok := base[p]; !ok || old != text {
			added[p] = blobOf(text)
		}
	}
	for p := range base {
		if _, ok := t.commits[head][p]; !ok {
			deleted = append(deleted, p)
		}
	}
	return added, deleted, nil
}

func (t *trees) Blobs(_ context.Context, blobs []string) (map[string][]byte, error) {
	want := map[string]bool{}
	for _, b := range blobs {
		want[b] = true
	}
	got := map[string][]byte{}
	for _, files := range t.commits {
		for _, text := range files {
			if b := blobOf(text); want[b] {
				got[b] = []byte(text)
			}
		}
	}
	t.read += len(blobs)
	return got, nil
}

// mig writes a migration that follows the given ones ("0007" or "auth.0001").
func mig(parents ...string) string {
	var deps []string
	for _, p := range parents {
		app, name, ok := strings.Cut(p, ".")
		if !ok {
			app, name = "shop", p
		}
		deps = append(deps, fmt.Sprintf("(%q, %q)", app, name))
	}
	return "from django.db import migrations\n\nclass Migration(migrations.Migration):\n    dependencies = [" + strings.Join(deps, ", ") + "]\n    operations = []\n"
}

func squash(parents []string, replaces ...string) string {
	text := mig(parents...) + "    replaces = ["
	for _, r := range replaces {
		text += fmt.Sprintf("('shop', %q), ", r)
	}
	return text + "]\n"
}

type tree map[string]string

func at(name string) string { return "rms/shop/migrations/" + name + ".py" }

func with(base tree, more tree) tree {
	t := tree{}
	for p, text := range base {
		t[p] = text
	}
	for p, text := range more {
		if text == "" {
			delete(t, p)
		} else {
			t[p] = text
		}
	}
	return t
}

var shop = tree{
	"rms/shop/migrations/__init__.py": "",
	"rms/shop/models.py":              "class Migration(models.Model):\n    dependencies = [('a', 'b')]\n",
	"manage.py":                       "import sys\n",
	at("0001_initial"):                mig(),
	at("0002_x"):                      mig("0001_initial", "auth.0012"),
	at("0003_y"):                      mig("0002_x"),
}

func collide(t *testing.T, main tree, heads map[int]tree) map[int][]Collision {
	t.Helper()
	r := &trees{commits: map[string]map[string]string{"base": shop, "main": main}}
	s := NewScanner(Options{})
	nodes, err := s.Scan(t.Context(), r, "main")
	if err != nil {
		t.Fatal(err)
	}
	changes := map[int]Delta{}
	for n, files := range heads {
		commit := fmt.Sprint("c", n)
		r.commits[commit] = files
		if changes[n], err = s.Delta(t.Context(), r, "main", commit); err != nil {
			t.Fatal(err)
		}
	}
	return Collisions(nodes, changes)
}

func TestCollisions(t *testing.T) {
	for _, tt := range []struct {
		name  string
		main  tree // on top of shop
		heads map[int]tree
		want  map[int][]string
	}{
		{"one change", nil, map[int]tree{12: {at("0004_a"): mig("0003_y")}}, nil},
		{
			"two follow one", nil,
			map[int]tree{12: {at("0004_a"): mig("0003_y")}, 15: {at("0004_b"): mig("auth.0001", "0003_y")}},
			map[int][]string{
				12: {"c12 (0004_a) and c15 (0004_b) both follow shop.0003_y"},
				15: {"c12 (0004_a) and c15 (0004_b) both follow shop.0003_y"},
			},
		},
		{
			"stale", tree{at("0004_c"): mig("0003_y"), at("0005_d"): mig("0004_c")},
			map[int]tree{12: {at("0004_a"): mig("0003_y")}},
			map[int][]string{12: {"c12 is stale: 0004_a follows shop.0003_y, but main already has 0004_c there"}},
		},
		{
			"a merge migration clears it", tree{at("0004_c"): mig("0003_y")},
			map[int]tree{12: {at("0004_a"): mig("0003_y"), at("0004_c"): mig("0003_y"), at("0005_merge"): mig("0004_a", "0004_c")}}, nil,
		},
		{
			"chained over main's", tree{at("0004_c"): mig("0003_y")},
			map[int]tree{12: {at("0005_a"): mig("0003_y", "0004_c")}}, nil,
		},
		{
			"stacked changes", nil,
			map[int]tree{12: {at("0004_a"): mig("0003_y")}, 15: {at("0004_a"): mig("0003_y"), at("0005_b"): mig("0004_a")}}, nil,
		},
		{
			"a stacked change and a third", nil,
			map[int]tree{
				12: {at("0004_a"): mig("0003_y")}, 15: {at("0004_a"): mig("0003_y"), at("0005_b"): mig("0004_a")},
				16: {at("0004_z"): mig("0003_y")},
			},
			map[int][]string{
				12: {"c12 (0004_a) and c16 (0004_z) both follow shop.0003_y"},
				15: {"c15 (0004_a) and c16 (0004_z) both follow shop.0003_y"},
				16: {"c12 (0004_a) and c16 (0004_z) both follow shop.0003_y", "c15 (0004_a) and c16 (0004_z) both follow shop.0003_y"},
			},
		},
		{
			"two heads in one change", nil,
			map[int]tree{12: {at("0004_a"): mig("0003_y"), at("0004_b"): mig("0003_y")}},
			map[int][]string{12: {"in c12 0004_a and 0004_b both follow shop.0003_y"}},
		},
		{
			"the same name, other content", nil,
			map[int]tree{12: {at("0004_a"): mig("0003_y")}, 15: {at("0004_a"): mig("0003_y", "auth.0001")}},
			map[int][]string{
				12: {"c12 and c15 both add shop.0004_a, with different content"},
				15: {"c12 and c15 both add shop.0004_a, with different content"},
			},
		},
		{
			"other apps share a parent", nil,
			map[int]tree{12: {"rms/a/migrations/0001_i.py": mig("0003_y")}, 15: {"rms/b/migrations/0001_i.py": mig("0003_y")}}, nil,
		},
		{
			"two begin an app", nil,
			map[int]tree{12: {"rms/a/migrations/0001_i.py": mig()}, 15: {"rms/a/migrations/0001_j.py": mig()}},
			map[int][]string{
				12: {"c12 (0001_i) and c15 (0001_j) both start a"},
				15: {"c12 (0001_i) and c15 (0001_j) both start a"},
			},
		},
		{
			"a squash and a new one go together", nil,
			map[int]tree{
				12: {at("0001_squashed_0003_y"): squash(nil, "0001_initial", "0002_x", "0003_y")},
				15: {at("0004_a"): mig("0003_y")},
			}, nil,
		},
		{
			"one follows the squash, one what it replaces",
			tree{at("0001_squashed_0003_y"): squash(nil, "0001_initial", "0002_x", "0003_y"), at("0004_c"): mig("0001_squashed_0003_y")},
			map[int]tree{12: {at("0005_a"): mig("0004_c")}}, nil,
		},
		{
			"a parent that is nowhere", nil,
			map[int]tree{12: {at("0004_a"): mig("0003_renamed")}},
			map[int][]string{12: {"c12: 0004_a follows shop.0003_renamed, which neither main nor the change has"}},
		},
		{
			"a rewritten one", nil,
			map[int]tree{12: {at("0003_y"): "", at("0003_z"): mig("0002_x")}}, nil,
		},
		{
			"main deleted its own meanwhile", tree{at("0003_y"): ""},
			map[int]tree{12: {at("0003_y"): "", at("0003_z"): mig("0002_x")}}, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			heads := map[int]tree{}
			for n, more := range tt.heads {
				heads[n] = with(shop, more)
			}
			found := collide(t, with(shop, tt.main), heads)
			got := map[int][]string{}
			for n, list := range found {
				for _, c := range list {
					got[n] = append(got[n], c.Text)
					if c.Change != n || c.Fix == "" || c.App == "" || (c.With != 0) == c.Stale {
						t.Errorf("%+v", c)
					}
				}
				sort.Strings(got[n])
			}
			if len(got) != len(tt.want) || len(got) > 0 && !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("got %v\nwant %v", got, tt.want)
			}
		})
	}
}

func TestSquashHidesItsHeads(t *testing.T) {
	// 0004_b follows the replaced 0003_y, 0004_c the squash: two heads
	main := with(shop, tree{at("0001_squashed_0003_y"): squash(nil, "0001_initial", "0002_x", "0003_y"), at("0004_c"): mig("0001_squashed_0003_y")})
	found := collide(t, main, map[int]tree{12: with(shop, tree{at("0004_b"): mig("0003_y")})})
	if len(found[12]) != 1 || !found[12][0].Stale || !strings.Contains(found[12][0].Text, "0004_c") {
		t.Fatalf("found %v", found)
	}
}

func TestSquashInTheChange(t *testing.T) {
	// main went on from 0003_y while the change squashed and followed that
	main := with(shop, tree{at("0004_c"): mig("0003_y")})
	found := collide(t, main, map[int]tree{12: with(shop, tree{
		at("0001_squashed_0003_y"): squash(nil, "0001_initial", "0002_x", "0003_y"),
		at("0004_b"):               mig("0001_squashed_0003_y"),
	})})
	if len(found[12]) != 1 || !found[12][0].Stale || !strings.Contains(found[12][0].Text, "0004_c") {
		t.Fatalf("found %v", found)
	}
}

func scanText(t *testing.T, name, text string) *Node {
	t.Helper()
	r := &trees{commits: map[string]map[string]string{"x": {name: text}}}
	nodes, err := NewScanner(Options{}).Scan(t.Context(), r, "x")
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes) == 0 {
		return nil
	}
	return &nodes[0]
}

func TestScan(t *testing.T) {
	text, err := os.ReadFile("testdata/0001_initial.py")
	if err != nil {
		t.Fatal(err)
	}
	n := scanText(t, at("0001_initial"), string(text))
	if n == nil || len(n.Unknown) != 0 || !reflect.DeepEqual(n.Parents, []ID{{"contenttypes", "0002_remove_content_type_name"}}) {
		t.Fatalf("scanned %+v", n)
	}
	op := n.Operations[0]
	if op.Name != "CreateModel" || op.Model != "Customer" || len(op.fields) != 5 || op.fields[1].def != (definition{kind: "CharField", length: "100"}) || !op.fields[2].def.null {
		t.Fatalf("scanned %+v", op)
	}
}

func TestUnknownIsNeverFine(t *testing.T) {
	head := "from django.db import migrations\nNAMES = [('shop', '1')]\nclass Migration(migrations.Migration):\n"
	for _, tt := range []struct{ name, body string }{
		{"a name", "    dependencies = NAMES\n"},
		{"a sum", "    dependencies = [('shop', '1')] + NAMES\n"},
		{"a computed string", "    dependencies = [('shop', '1' + x)]\n"},
		{"a format", "    dependencies = [('shop', f'{x}')]\n"},
		{"a percent", "    dependencies = [('shop', '%s' % 1)]\n"},
		{"a call", "    dependencies = deps()\n"},
		{"an unpacking", "    dependencies = [*NAMES]\n"},
		{"a comprehension", "    dependencies = [(a, b) for a, b in NAMES]\n"},
		{"an addition", "    dependencies = []\n    dependencies += NAMES\n"},
		{"a call on it", "    dependencies = []\n    dependencies.append(NAMES[0])\n"},
		{"a condition", "    if True:\n        dependencies = []\n"},
		{"a ternary", "    dependencies = [] if x else NAMES\n"},
		{"set twice", "    dependencies = []\n    dependencies = []\n"},
		{"changed outside", "    dependencies = []\nMigration.dependencies.append(NAMES[0])\n"},
		{"three in a tuple", "    dependencies = [('a', 'b', 'c')]\n"},
		{"an unclosed bracket", "    dependencies = [('a', 'b'\n"},
		{"replaces", "    replaces = NAMES\n"},
		{"operations", "    operations = make()\n"},
		{"an operation", "    operations = [op]\n"},
		{"a starred operation", "    operations = [*ops]\n"},
		{"an operation's model", "    operations = [migrations.DeleteModel(name=X)]\n"},
		{"database operations", "    operations = [migrations.SeparateDatabaseAndState(database_operations=ops)]\n"},
	} {
		n := scanText(t, at("0002_x"), head+tt.body)
		if n == nil || len(n.Unknown) == 0 {
			t.Errorf("%s: nothing is unknown in %+v", tt.name, n)
			continue
		}
		if d := Dangers(nil, Nodes{*n}); len(d) == 0 || d[0].Kind != Unknown || Additive(d) {
			t.Errorf("%s: dangers %v", tt.name, d)
		}
	}
	if n := scanText(t, at("0002_x"), "class Migration(OtherMigration):\n    pass\n"); n == nil || len(n.Unknown) == 0 {
		t.Errorf("another base class: %+v", n)
	}
	if n := scanText(t, at("0002_x"), "class Migration(make()):\n    pass\n"); n == nil || len(n.Unknown) == 0 {
		t.Errorf("a made base class: %+v", n)
	}
	if n := scanText(t, at("0002_x"), "class Migration(migrations.Migration): dependencies = [('a', 'b')]\n"); n == nil || len(n.Unknown) == 0 {
		t.Errorf("one line: %+v", n)
	}
}

func TestWhereMigrationsAre(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       string // "" is no migration
	}{
		{"shop/migrations/0001_a.py", mig(), "shop.0001_a"},
		{"shop/changes/0001_a.py", mig(), "shop.0001_a"},
		{"shop/migrations/__init__.py", mig(), ""},
		{"shop/migrations/_old.py", mig(), ""},
		{"shop/migrations/helpers.py", "def f(): pass\n", ""},
		{"shop/models.py", "class Migration(models.Model):\n    pass\n", ""},
		{"shop/migrations/0001_a.txt", mig(), ""},
	} {
		n := scanText(t, tt.name, tt.text)
		got := ""
		if n != nil {
			got = n.String()
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	r := &trees{commits: map[string]map[string]string{"x": {"a/shop/migrations/0001.py": mig(), "b/shop/migrations/0001.py": mig()}}}
	nodes, err := NewScanner(Options{Root: "./a/", Labels: map[string]string{"a/shop/migrations": "store"}}).Scan(t.Context(), r, "x")
	if err != nil || len(nodes) != 1 || nodes[0].String() != "store.0001" {
		t.Fatalf("nodes %v, %v", nodes, err)
	}
}

func TestDangers(t *testing.T) {
	r := &trees{commits: map[string]map[string]string{"x": {}}}
	for _, name := range []string{"0001_initial", "0002_dangerous"} {
		text, err := os.ReadFile("testdata/" + name + ".py")
		if err != nil {
			t.Fatal(err)
		}
		r.commits["x"][at(name)] = string(text)
	}
	nodes, err := NewScanner(Options{}).Scan(t.Context(), r, "x")
	if err != nil || len(nodes) != 2 {
		t.Fatalf("%v, %v", nodes, err)
	}
	if !reflect.DeepEqual(nodes[1].Parents, []ID{{"shop", "0001_initial"}}) || len(nodes[1].Unknown) > 0 {
		t.Fatalf("scanned %+v", nodes[1])
	}
	if d := Dangers(nil, nodes[:1]); len(d) > 0 || !Additive(d) {
		t.Fatalf("a first migration is harmless, not %v", d)
	}
	var got []string
	for _, d := range Dangers(nodes[:1], Added(nodes[:1], nodes)) {
		got = append(got, fmt.Sprintf("%d %s %s", d.Line, d.Kind, strings.SplitN(d.Text, ":", 2)[0]))
	}
	want := []string{
		"19 destructive removes customer.status",
		"20 destructive renames customer.nick to nickname",
		"21 destructive renames Customer to Client",
		"22 destructive deletes Old",
		"23 breaking adds order.paid, which must not be null and has no default in the database",
		"30 destructive changes customer.name from CharField to TextField",
		"31 breaking changes the length of customer.status from 1 to 9",
		"32 locking adds an index to order while writes wait",
		"37 irreversible RunSQL has no reverse",
		"39 irreversible RunPython has no reverse",
		"41 irreversible RunPython has no reverse",
		"43 irreversible RunSQL has no reverse",
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRememberedByBlob(t *testing.T) {
	r := &trees{commits: map[string]map[string]string{"base": shop, "main": shop, "c1": with(shop, tree{at("0004_a"): mig("0003_y")})}}
	s := NewScanner(Options{})
	for range 3 {
		if _, err := s.Scan(t.Context(), r, "main"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Delta(t.Context(), r, "main", "c1"); err != nil {
			t.Fatal(err)
		}
	}
	if r.read != 5 { // 0001 to 0004 and models.py
		t.Fatalf("%d blobs were read, want 5", r.read)
	}
}

// What Django's own tools write must be read without doubt.
func TestDjangoItself(t *testing.T) {
	need.Program(t, "/usr/bin/python3", "python3")
	need.File(t, "/usr/lib/python3/dist-packages/django/__init__.py", "python3-django")
	dir := t.TempDir()
	run := func(args ...string) string {
		cmd := exec.Command("/usr/bin/python3", append([]string{"manage.py"}, args...)...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	write := func(name, text string) {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("manage.py", "import os, sys\nos.environ['DJANGO_SETTINGS_MODULE'] = 'conf'\nfrom django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n")
	write("conf.py", "SECRET_KEY = 'x'\nINSTALLED_APPS = ['django.contrib.contenttypes', 'django.contrib.auth', 'shop']\nDATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'db'}}\nDEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\n")
	write("shop/__init__.py", "")
	write("shop/migrations/__init__.py", "")
	model := "from django.conf import settings\nfrom django.db import models\nclass Order(models.Model):\n    note = models.TextField(help_text=\"it's \\\"so\\\"\")\n    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)\n"
	scan := func() Nodes {
		files := map[string]string{}
		list, err := filepath.Glob(filepath.Join(dir, "shop/migrations/*.py"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			files["shop/migrations/"+filepath.Base(f)] = string(text)
		}
		nodes, err := NewScanner(Options{}).Scan(t.Context(), &trees{commits: map[string]map[string]string{"x": files}}, "x")
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
	write("shop/models.py", model)
	run("makemigrations", "shop")
	first := scan()
	write("shop/models.py", model+"    paid = models.BooleanField(default=False)\n")
	run("makemigrations", "shop", "-n", "paid")
	paid := Added(first, scan())
	if d := Dangers(first, paid); len(paid) != 1 || len(d) != 1 || d[0].Kind != Breaking {
		t.Fatalf("added %v, dangers %v", paid, Dangers(first, paid))
	}
	// the other developer did not see it
	if err := os.Rename(filepath.Join(dir, "shop/migrations/0002_paid.py"), filepath.Join(dir, "aside")); err != nil {
		t.Fatal(err)
	}
	write("shop/models.py", model+"    sent = models.DateField(null=True)\n")
	run("makemigrations", "shop", "-n", "sent")
	sent := Added(first, scan())
	found := Collisions(first, map[int]Delta{12: {Added: paid}, 15: {Added: sent}})
	if len(found[12]) != 1 || found[12][0].Text != "c12 (0002_paid) and c15 (0002_sent) both follow shop.0001_initial" {
		t.Fatalf("found %v", found)
	}
	// Django says the same, and its merge migration clears it
	if err := os.Rename(filepath.Join(dir, "aside"), filepath.Join(dir, "shop/migrations/0002_paid.py")); err != nil {
		t.Fatal(err)
	}
	write("shop/models.py", model+"    paid = models.BooleanField(default=False)\n    sent = models.DateField(null=True)\n")
	run("makemigrations", "--merge", "--noinput", "shop")
	all := scan()
	if len(all) != 4 {
		t.Fatalf("migrations %v", all)
	}
	if found = Collisions(append(first, paid...), map[int]Delta{15: {Added: Added(append(first, paid...), all)}}); len(found) != 0 {
		t.Fatalf("found %v after the merge migration", found)
	}
	run("migrate", "--plan")
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/0001_initial.py", "testdata/0002_dangerous.py"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(squash([]string{"a"}, "b", "c"))
	f.Add("class Migration(migrations.Migration):\n  dependencies = ((((\n\t'''\\")
	f.Add("class Migration(migrations.Migration):\n  operations = [a(b=c(d=[{1:2}]))]")
	f.Fuzz(func(t *testing.T, text string) {
		p := parse(text)
		if !p.class && (len(p.deps) > 0 || len(p.ops) > 0) {
			t.Fatal("dependencies without a class")
		}
		n := Node{ID: ID{"shop", "x"}, Path: at("x"), Parents: p.deps, Replaces: p.replaces, Before: p.before, Operations: p.ops, Unknown: p.unknown}
		Dangers(Nodes{n}, Nodes{n})
		Collisions(Nodes{n}, map[int]Delta{1: {Added: Nodes{n}}, 2: {Added: Nodes{n}}})
	})
}

// Fifty open changes over a thousand migrations, each with one that collides
// with all others and with main.
func BenchmarkCollisions(b *testing.B) {
	main := tree{}
	for app := range 10 {
		for i := range 100 {
			text := mig()
			if i > 0 {
				text = mig(fmt.Sprintf("a%d.%04d", app, i-1))
			}
			main[fmt.Sprintf("a%d/migrations/%04d.py", app, i)] = text
		}
	}
	r := &trees{commits: map[string]map[string]string{"base": main, "main": main}}
	for c := range 50 {
		r.commits[fmt.Sprint("c", c)] = with(main, tree{
			fmt.Sprintf("a%d/migrations/0100_%d.py", c%10, c):     mig(fmt.Sprintf("a%d.0099", c%10)),
			fmt.Sprintf("a%d/migrations/0051_%d.py", (c+1)%10, c): mig(fmt.Sprintf("a%d.0050", (c+1)%10)),
		})
	}
	s := NewScanner(Options{})
	b.ResetTimer()
	for b.Loop() {
		nodes, err := s.Scan(b.Context(), r, "main")
		if err != nil {
			b.Fatal(err)
		}
		changes := map[int]Delta{}
		for c := range 50 {
			added, _, err := r.ChangedBlobs(b.Context(), "main", fmt.Sprint("c", c))
			if err != nil {
				b.Fatal(err)
			}

			n, err := s.nodes(b.Context(), r, added)
			if err != nil {
				b.Fatal(err)
			}
			changes[c+1] = Delta{Added: n}
		}
		if found := Collisions(nodes, changes); len(found) != 50 {
			b.Fatalf("%d changes collide", len(found))
		}
	}
}
