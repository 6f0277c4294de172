package bosman

import "testing"

func TestMatchGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"requirements.txt", "requirements.txt", true},
		{"requirements.txt", "sub/requirements.txt", false},
		{"assets/**", "assets/a.js", true},
		{"assets/**", "assets/x/y/a.js", true},
		{"assets/**", "other/a.js", false},
		{"**/*.py", "a.py", true},
		{"**/*.py", "x/y/a.py", true},
		{"**/*.py", "x/y/a.js", false},
		{"a/**/b", "a/b", true},
		{"a/**/b", "a/x/y/b", true},
		{"a/**/b", "a/x/y/c", false},
		{"assets", "assets/a.js", true},
		{"assets/", "assets/a.js", true},
		{"./x", "x", true},
		{".", "anything/at/all", true},
		{"*", "x/y", true}, // a folder that matches, and so what lies in it
		{"*.js", "x/a.js", false},
		{"reports/*.xml", "reports/a.xml", true},
		{"reports/*.xml", "reports/x/a.xml", false},
		{"[", "[", false},
	} {
		if got := MatchGlob(c.pattern, c.name); got != c.want {
			t.Errorf("MatchGlob(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

func TestWhichFilesMatter(t *testing.T) {
	for _, c := range []struct {
		paths   []string
		in, out []string
	}{
		{nil, []string{"README.md", "a/b"}, nil},
		{[]string{"backend/**", "lib"}, []string{"backend/x/y.py", "lib/z.py", "bosman.yaml"}, []string{"README.md", "frontend/a.js", "backend2/x"}},
		{[]string{"!docs", "!**/*.md"}, []string{"app.py", "bosman.yaml"}, []string{"docs/a.txt", "x/README.md", "README.md"}},
		{[]string{"!backend/docs", "backend"}, []string{"backend/a.py"}, []string{"backend/docs/a.py", "app.py"}},
	} {
		m := &Manifest{Paths: c.paths}
		for _, f := range c.in {
			if !m.Matters(f) {
				t.Errorf("%v: %s does not matter", c.paths, f)
			}
		}
		for _, f := range c.out {
			if m.Matters(f) {
				t.Errorf("%v: %s matters", c.paths, f)
			}
		}
	}
}
