package archtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// What the documents say is compared with the code where a machine can.

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// matrix is the table of docs/roles.md.
func matrix() string {
	kinds := []bosman.InstanceKind{bosman.KindTesting, bosman.KindPreview, bosman.KindStaging, bosman.KindLive}
	var b strings.Builder
	b.WriteString("| may")
	for _, r := range bosman.Roles() {
		b.WriteString(" | " + string(r))
	}
	b.WriteString(" |\n|---" + strings.Repeat("|---", len(bosman.Roles())) + "|\n")
	for _, v := range bosman.Verbs() {
		b.WriteString("| " + string(v))
		for _, r := range bosman.Roles() {
			var on []string
			for _, k := range kinds {
				if r.Allowed(v, k) {
					on = append(on, string(k))
				}
			}
			switch {
			case len(on) == len(kinds):
				b.WriteString(" | yes")
			case len(on) == 0 && !r.Allowed(v, ""):
				b.WriteString(" | –")
			default:
				b.WriteString(" | " + strings.Join(on, ", "))
			}
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

func TestRolesAreDocumented(t *testing.T) {
	if want := matrix(); !strings.Contains(read(t, "docs/roles.md"), want) {
		t.Errorf("docs/roles.md does not hold the matrix of person.go; it must say\n%s", want)
	}
}

// Each key that bosman.yaml may hold stands in docs/bosman-yaml.md as `key`.
func TestManifestKeysAreDocumented(t *testing.T) {
	var schema any
	if err := json.Unmarshal([]byte(read(t, "manifest/schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	keys := propertyNames(schema)
	if len(keys) < 40 {
		t.Fatalf("only %d keys were found in the schema: %v", len(keys), keys)
	}
	text := read(t, "docs/bosman-yaml.md")
	for _, k := range keys {
		if !strings.Contains(text, "`"+k+"`") && !strings.Contains(text, "."+k+"`") {
			t.Errorf("docs/bosman-yaml.md does not explain `%s`", k)
		}
	}
}

func propertyNames(node any) []string {
	var names []string
	switch n := node.(type) {
	case map[string]any:
		for key, value := range n {
			if properties, ok := value.(map[string]any); ok && key == "properties" {
				for name := range properties {
					names = append(names, name)
				}
			}
			names = append(names, propertyNames(value)...)
		}
	case []any:
		for _, value := range n {
			names = append(names, propertyNames(value)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var (
	testName = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)`")
	ownPath  = regexp.MustCompile("`((?:[a-z]+/)*[A-Za-z0-9_.-]+\\.(?:go|md|sh|yaml|txt|sql))`")
	link     = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
)

// Tests, files and links that the documents name exist.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	known := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
	for _, f := range goFiles(t) {
		if f.test {
			for _, m := range declaration.FindAllStringSubmatch(read(t, f.name), -1) {
				known[m[1]] = true
			}
		}
	}
	documents := []string{"README.md", "ARCHITECTURE.md"}
	more, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range more {
		documents = append(documents, "docs/"+filepath.Base(d))
	}
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
		return err == nil
	}
	for _, d := range documents {
		text := read(t, d)
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			if !known[m[1]] {
				t.Errorf("%s names the test %s, which is not there", d, m[1])
			}
		}
		for _, m := range ownPath.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "/") && !exists(m[1]) {
				t.Errorf("%s names the file %s, which is not there", d, m[1])
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := filepath.ToSlash(filepath.Join(filepath.Dir(d), m[1]))
			// Pictures are made by make screenshots.
			if !strings.HasPrefix(target, "docs/screenshots/") && !exists(target) {
				t.Errorf("%s links to %s, which is not there", d, m[1])
			}
		}
	}
}
