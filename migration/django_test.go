package migration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman/internal/need"
)

func scannerOf(t testing.TB, opt Options) *Scanner {
	t.Helper()
	s, err := NewScanner(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func scanText(t *testing.T, name, text string) *Node {
	t.Helper()
	r := &trees{commits: map[string]map[string]string{"x": {name: text}}}
	nodes, err := scannerOf(t, Options{}).Scan(t.Context(), r, "x")
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
	nodes, err := scannerOf(t, Options{Root: "./a/", Labels: map[string]string{"a/shop/migrations": "store"}}).Scan(t.Context(), r, "x")
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
	nodes, err := scannerOf(t, Options{}).Scan(t.Context(), r, "x")
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
		n := Node{Tool: "django", ID: ID{"shop", "x"}, Space: "shop/migrations", Path: at("x"), Parents: p.deps, Replaces: p.replaces, Before: p.before, Operations: p.ops, Unknown: p.unknown}
		Dangers(Nodes{n}, Nodes{n})
		Collisions(Nodes{n}, map[int]Delta{1: {Added: Nodes{n}}, 2: {Added: Nodes{n}}})
	})
}
