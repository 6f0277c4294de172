package archtest

import (
	"fmt"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/bosman-cd/bosman"
	root   = "../.."
)

// file is a Go file of the tree: what these tests know of it.
type file struct {
	name    string // from the root, with slashes
	folder  string
	pkg     string
	test    bool
	doc     bool // it holds the package's doc comment
	built   bool // no build tag keeps it out on every system
	imports []string
}

// skipped folders hold what others made or what a run leaves behind.
var skipped = []string{".git", ".demo", "bin", "node_modules", ".venv", "staticfiles", "media"}

func goFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(name, root), "/"))
		if d.IsDir() {
			if slices.Contains(skipped, d.Name()) || d.Name() == "testdata" || rel == "examples" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		f, err := readGo(name)
		if err != nil {
			return err
		}
		f.name, f.folder = rel, path.Dir(rel)
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 100 {
		t.Fatalf("only %d Go files were found: the walk is wrong", len(files))
	}
	return files
}

func readGo(name string) (file, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return file{}, err
	}
	f := file{pkg: parsed.Name.Name, test: strings.HasSuffix(name, "_test.go"), built: true}
	f.doc = parsed.Doc != nil && !strings.HasSuffix(name, "_templ.go")
	for _, group := range parsed.Comments {
		for _, c := range group.List {
			if c.Pos() < parsed.Package && constraint.IsGoBuild(c.Text) {
				expr, err := constraint.Parse(c.Text)
				if err != nil {
					return file{}, err
				}
				f.built = expr.Eval(func(tag string) bool { return tag == "linux" || tag == "unix" || tag == "amd64" })
			}
		}
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, err
		}
		f.imports = append(f.imports, imported)
	}
	return f, nil
}

func TestImports(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, problem := range judge(f) {
			t.Error(problem)
		}
	}
}

// judge says which rules a file's imports break.
func judge(f file) []string {
	if !f.built {
		return nil
	}
	var problems []string
	for _, imported := range f.imports {
		why := ""
		if own, ok := ownFolder(imported); ok {
			why = judgeOwn(f, own)
		} else if strings.Contains(strings.Split(imported, "/")[0], ".") {
			why = judgeModule(f, imported)
		} else if !f.test {
			why = judgeStandard(f, imported)
		}
		if why != "" {
			problems = append(problems, fmt.Sprintf("%s imports %s: %s", f.name, imported, why))
		}
	}
	return problems
}

func ownFolder(imported string) (string, bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

func judgeOwn(f file, own string) string {
	for of, by := range nobody {
		if within(own, of) && !withinAny(f.folder, by) {
			return "only " + strings.Join(by, " and ") + " may: who ties all together must not be a part of it"
		}
	}
	support := withinAny(own, forTests)
	if support && !f.test && !withinAny(f.folder, forTests) {
		return "that package is for tests only"
	}
	r, ok := rowOf(f.folder)
	if !ok {
		return "there is no rule for the folder " + f.folder + ": add one to internal/archtest/rules_test.go and to ARCHITECTURE.md"
	}
	switch {
	case support, own == f.folder, within(own, r.folder) && r.folder != ".":
		return ""
	case within(own, "internal"):
		if r.folder == "." && !f.test {
			return r.why
		}
		return ""
	case slices.Contains(r.imports, "*"):
		return ""
	}
	if slices.ContainsFunc(r.imports, func(allowed string) bool {
		// A folder may be imported without what lies below it only if that has a rule of its own.
		if allowed == "." {
			return own == "."
		}
		below, _ := rowOf(own)
		return within(own, allowed) && within(allowed, below.folder)
	}) {
		return ""
	}
	// Tests work with real parts of other stages, but not with what stands above.
	if (f.test || withinAny(f.folder, forTests)) && !(r.why == stage && withinAny(own, upper)) {
		return ""
	}
	return "it may import " + allowedText(r) + "; " + r.why
}

func allowedText(r row) string {
	if len(r.imports) == 0 {
		return "nothing of Bosman"
	}
	return "only " + strings.Join(r.imports, ", ")
}

func judgeModule(f file, imported string) string {
	found := ""
	for name := range modules {
		if within(imported, name) && len(name) > len(found) {
			found = name
		}
	}
	o := modules[found]
	switch {
	case found == "":
		return "no rule says who may use that module: add it to internal/archtest/rules_test.go"
	case f.folder == ".":
		return rows[0].why
	case slices.Contains(o.folders, "*"), withinAny(f.folder, o.folders):
		return ""
	case (f.test || withinAny(f.folder, forTests)) && !o.strict:
		return ""
	case len(o.folders) == 0:
		return o.why
	}
	return "only " + strings.Join(o.folders, ", ") + " may; " + o.why
}

func judgeStandard(f file, imported string) string {
	for _, s := range standard {
		if f.folder == s.folder && slices.Contains(s.without, imported) {
			return s.why
		}
	}
	return ""
}

func rowOf(folder string) (row, bool) {
	var found row
	for _, r := range rows {
		if (r.folder == folder || r.folder != "." && within(folder, r.folder)) && len(r.folder) >= len(found.folder) {
			found = r
		}
	}
	return found, found.folder != ""
}

func within(folder, of string) bool { return folder == of || strings.HasPrefix(folder, of+"/") }

func withinAny(folder string, of []string) bool {
	return slices.ContainsFunc(of, func(o string) bool { return within(folder, o) })
}

// The rules themselves must bite: each of these imports is known to be wrong or right.
func TestJudge(t *testing.T) {
	tests := []struct {
		folder, imports string
		test, wrong     bool
	}{
		{"deploy", module + "/steps", false, false},
		{"deploy", module + "/edge", false, true},
		{"deploy", module + "/store", false, true},
		{"deploy", module + "/helm", true, true},
		{"build/sandbox", module + "/web/layout", false, true},
		{"build", module + "/build/report", false, false},
		{"build", module + "/manifest", true, false},
		{"build", module + "/manifest", false, true},
		{"edge", module + "/serve", true, true},
		{"edge", module + "/edge/wall", false, false},
		{"edge", module + "/internal/need", false, true},
		{"edge", module + "/internal/need", true, false},
		{".", module + "/access", false, true},
		{".", "golang.org/x/sync/errgroup", false, true},
		{".", "net/http", false, true},
		{".", "time", false, false},
		{"helm", module + "/deploy", false, true},
		{"helm", module + "/store", false, false},
		{"helm", "net/http", false, true},
		{"api", module + "/store", false, true},
		{"api", module + "/helm", false, false},
		{"api", module + "/api/wire", false, false},
		{"api/client", module + "/helm", false, true},
		{"api/client", module + "/api", false, true},
		{"api/client", module + "/api/wire", false, false},
		{"cli", module + "/api/client", false, false},
		{"cli", module + "/api", false, true},
		{"cli", module + "/helm", false, true},
		{"web/overview", module + "/helm", false, false},
		{"web/overview", module + "/deploy", false, true},
		{"web", module + "/edge", false, true},
		{"web", module + "/edge/wall", false, false},
		{"serve", module + "/deploy", false, false},
		{"serve", module + "/cli", false, true},
		{"cmd/bosman", module + "/cli", false, false},
		{"store", "github.com/uptrace/bun/dialect/sqlitedialect", false, false},
		{"serve", "github.com/uptrace/bun", false, true},
		{"deploy", "github.com/dbos-inc/dbos-transact-golang/dbos", true, true},
		{"steps", "github.com/dbos-inc/dbos-transact-golang/dbos", false, false},
		{"edge", "go.uber.org/goleak", true, false},
		{"edge", "go.uber.org/goleak", false, true},
		{"edge", "example.org/unknown", false, true},
		{"newfolder", module, false, true},
	}
	for _, tt := range tests {
		f := file{name: tt.folder + "/x.go", folder: tt.folder, test: tt.test, built: true, imports: []string{tt.imports}}
		if got := judge(f); (len(got) > 0) != tt.wrong {
			t.Errorf("%s (test %v) imports %s: judged %q, wrong is %v", tt.folder, tt.test, tt.imports, got, tt.wrong)
		}
	}
}

// Each module the program requires directly has an owner in the rules.
func TestModulesHaveOwners(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(text), -1)
	if len(required) < 10 {
		t.Fatalf("only %d requirements were read from go.mod", len(required))
	}
	for _, r := range required {
		known := false
		for name := range modules {
			known = known || within(r[1], name)
		}
		if !known {
			t.Errorf("go.mod requires %s and no rule says who may use it: add it to internal/archtest/rules_test.go", r[1])
		}
	}
}

func TestOnePackageDoc(t *testing.T) {
	docs := map[string][]string{}
	for _, f := range goFiles(t) {
		if f.test || !f.built {
			continue
		}
		if docs[f.folder] == nil {
			docs[f.folder] = []string{}
		}
		if f.doc {
			docs[f.folder] = append(docs[f.folder], f.name)
		}
	}
	for folder, names := range docs {
		switch len(names) {
		case 1:
		case 0:
			t.Errorf("%s has no package comment: say what the package does and must not know", folder)
		default:
			t.Errorf("%s has more than one package comment, in %s: keep one", folder, strings.Join(names, " and "))
		}
	}
}
