package archtest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Words no file may hold: hosts that an installation replaces by its own, and
// places that exist on one machine only. They are put together here so that
// this file may pass.
var unwanted = []struct {
	what    string
	pattern *regexp.Regexp
	why     string
}{
	{"a package registry", regexp.MustCompile(`(?i)\b(` + strings.Join([]string{
		"proxy.gol" + "ang.org", "sum.gol" + "ang.org", "registry.npm" + "js.org", "registry.yarn" + "pkg.com",
		"deb.deb" + "ian.org", "security.deb" + "ian.org", "py" + "pi.org", "files.python" + "hosted.org", "registry-1.dock" + "er.io",
	}, "|") + `)\b`), "the machine's own settings say where packages come from"},
	{"a path of one machine", regexp.MustCompile(`(^|[\s"'` + "`" + `(=:,])/(root/[^.]|work/|home/[a-z][a-z0-9_-]*/|Users/[A-Za-z]+/)`), "it exists on no other machine"},
}

// allowedWords names files that hold such words for a reason.
var allowedWords = map[string]string{
	"edge/files_test.go": "a path that an attacker would ask for",
}

func TestNoForeignPlaces(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains(skipped, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		rel := filepath.ToSlash(strings.TrimPrefix(name, root+"/"))
		if !d.Type().IsRegular() || allowedWords[rel] != "" || filepath.Base(rel) == "go.sum" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text[:min(len(text), 8000)], 0) >= 0 {
			return nil
		}
		seen++
		for _, problem := range foreign(string(text)) {
			t.Errorf("%s:%s", rel, problem)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 200 {
		t.Fatalf("only %d files were read: the walk is wrong", seen)
	}
}

// foreign gives "LINE: ..." for each unwanted word.
func foreign(text string) []string {
	var found []string
	for _, u := range unwanted {
		for _, at := range u.pattern.FindAllStringIndex(text, -1) {
			line := 1 + strings.Count(text[:at[1]], "\n")
			found = append(found, fmt.Sprintf("%d: names %s, %s: %s", line, u.what, strings.TrimSpace(text[at[0]:at[1]]), u.why))
		}
	}
	return found
}

func TestForeign(t *testing.T) {
	tests := []struct {
		text  string
		wrong bool
	}{
		{"see https://registry.npm" + "js.org/x", true},
		{"a\ncd /ro" + "ot/src\n", true},
		{`"/ho` + `me/anna/bosman"`, true},
		{"/Us" + "ers/anna/x", true},
		{"DATA/work/APP/b1", false},
		{"/protected/root/etc", false},
		{"ls /ro" + "ot/.ssh", false}, // a secret that a step must not see, wherever it runs
		{"/home", false},
		{"https://example.org/root/x", false},
	}
	for _, tt := range tests {
		if got := foreign(tt.text); (len(got) > 0) != tt.wrong {
			t.Errorf("%q: %q, wrong is %v", tt.text, got, tt.wrong)
		}
	}
}
