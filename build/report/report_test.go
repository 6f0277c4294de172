package report

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/bosman-cd/bosman"
)

func TestReadSamples(t *testing.T) {
	for _, c := range []struct {
		name                    string
		reports                 bosman.Reports
		passed, failed, skipped int
		findings                int
		first                   bosman.Finding
	}{
		{name: "xmlrunner", reports: bosman.Reports{JUnit: "xmlrunner/*.xml"}, passed: 16},
		{name: "pytest", reports: bosman.Reports{JUnit: "pytest-junit.xml"}, passed: 36},
		{name: "lab", reports: bosman.Reports{JUnit: "lab-junit.xml"}, passed: 10, failed: 6},
		{name: "go test", reports: bosman.Reports{JUnit: "gotest.json"}, passed: 15},
		{name: "flake8 clean", reports: bosman.Reports{Lint: "flake8.txt"}},
		{
			name: "flake8", reports: bosman.Reports{Lint: "flake8-isolated.txt"}, findings: 60,
			first: bosman.Finding{Path: "reviews/apps/library/forms.py", Line: 11, Column: 80, Code: "E501", Severity: "warning", Message: "line too long (96 > 79 characters)", Tool: "flake8"},
		},
		{
			name: "pylint", reports: bosman.Reports{Lint: "pylint.txt"}, findings: 9,
			first: bosman.Finding{Path: "reviews/apps/reviews/decorators.py", Line: 16, Column: 17, Code: "raise-missing-from", Severity: "warning", Message: "Consider explicitly re-raising using 'except Exception as exc' and 'raise Http404 from exc'", Tool: "pylint"},
		},
		{
			name: "pylint parseable", reports: bosman.Reports{Lint: "pylint-parseable.txt"}, findings: 55,
			first: bosman.Finding{Path: "reviews/apps/invites/forms.py", Line: 54, Code: "no-member", Severity: "error", Message: "Class 'Invite' has no 'objects' member", Tool: "pylint"},
		},
		{name: "pylint json", reports: bosman.Reports{Lint: "pylint.json"}, findings: 20},
		{
			name: "eslint", reports: bosman.Reports{Lint: "eslint.json"}, findings: 11,
			first: bosman.Finding{Path: "srv/apps/wp/expanding.js", Line: 7, Column: 39, Code: "no-undef", Severity: "error", Message: "'define' is not defined.", Tool: "eslint"},
		},
		{
			name: "checkstyle", reports: bosman.Reports{Lint: "eslint-checkstyle.xml"}, findings: 11,
			first: bosman.Finding{Path: "srv/apps/wp/expanding.js", Line: 7, Column: 39, Code: "no-undef", Severity: "error", Message: "'define' is not defined.", Tool: "eslint"},
		},
		{
			name: "stylish", reports: bosman.Reports{Lint: "eslint-stylish.txt"}, findings: 11,
			first: bosman.Finding{Path: "srv/apps/wp/expanding.js", Line: 7, Column: 39, Code: "no-undef", Severity: "error", Message: "'define' is not defined", Tool: "eslint"},
		},
		{
			name: "staticcheck json", reports: bosman.Reports{Lint: "staticcheck.json"}, findings: 2,
			first: bosman.Finding{Path: "srv/apps/scdir/main.go", Line: 3, Column: 26, Code: "SA5009", Severity: "error", Message: "Printf format %d has arg #1 of wrong type string", Tool: "staticcheck"},
		},
		{
			name: "sarif", reports: bosman.Reports{Lint: "staticcheck.sarif"}, findings: 2,
			first: bosman.Finding{Path: "main.go", Line: 3, Column: 26, Code: "SA5009", Severity: "warning", Message: "Printf format %d has arg #1 of wrong type string", Tool: "staticcheck"},
		},
		{name: "staticcheck", reports: bosman.Reports{Lint: "staticcheck.txt"}, findings: 2},
		{
			name: "go vet", reports: bosman.Reports{Lint: "govet.txt"}, findings: 2,
			first: bosman.Finding{Path: "vetbad.go", Line: 3, Column: 51, Severity: "warning", Message: "self-assignment of a"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Read("testdata", c.reports)
			if len(r.Problems) > 0 {
				t.Errorf("problems: %v", r.Problems)
			}
			p, f, s := r.Count()
			if p != c.passed || f != c.failed || s != c.skipped {
				t.Errorf("passed %d failed %d skipped %d, want %d %d %d", p, f, s, c.passed, c.failed, c.skipped)
			}
			if len(r.Findings) != c.findings {
				t.Errorf("%d findings, want %d", len(r.Findings), c.findings)
			}
			if c.first != (bosman.Finding{}) && (len(r.Findings) == 0 || r.Findings[0] != c.first) {
				t.Errorf("first finding %+v, want %+v", r.Findings, c.first)
			}
		})
	}
}

func TestFailedTestsComeFirst(t *testing.T) {
	r := Read("testdata", bosman.Reports{JUnit: "lab-junit.xml"})
	for i, tc := range r.Tests {
		if (i < 6) != (tc.State == bosman.TestFailed) {
			t.Fatalf("test %d is %s", i, tc.State)
		}
	}
	if got := r.Tests[1]; !strings.Contains(got.Message, "ENOENT") || !strings.Contains(got.Detail, "send_file_to_s3.service.test.js:101") {
		t.Errorf("failure %+v", got)
	}
}

func files(t *testing.T, list map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range list {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCoverage(t *testing.T) {
	r := Read("testdata", bosman.Reports{Coverage: "coverage.xml"})
	if len(r.Problems) > 0 || r.Coverage == nil {
		t.Fatalf("%+v", r)
	}
	byPath := map[string]bosman.FileCoverage{}
	for _, f := range r.Coverage.Files {
		byPath[f.Path] = f
	}
	urls := byPath["srv/apps/base/reviews/urls.py"]
	if urls.Lines != 28 || urls.Covered != 21 || !reflect.DeepEqual(urls.Missed, []int{123, 124, 126, 128, 130, 132, 134}) {
		t.Errorf("urls.py: %+v", urls)
	}
	if r.Coverage.Lines == 0 || r.Coverage.Percent() <= 0 || r.Coverage.Percent() >= 100 {
		t.Errorf("%+v", r.Coverage)
	}
}

func TestPathsAndChangedLines(t *testing.T) {
	cover := `<coverage><sources><source>/app/backend</source></sources><packages><package><classes>
<class filename="a.py"><lines><line number="1" hits="1"/><line number="2" hits="0"/><line number="3" hits="4"/></lines></class>
<class filename="a.py"><lines><line number="2" hits="1"/><line number="9" hits="0"/></lines></class></classes></package></packages></coverage>`
	dir := files(t, map[string]string{
		"backend/a.py": "x", "deep/b.js": "y", "coverage.xml": cover,
		"lint/one.txt":   "/app/backend/a.py:2:1: F401 unused\n./backend/a.py:7:1: E501 long\n../../etc/passwd:1:1: E1 up\n",
		"lint/sub/2.txt": "/somewhere/else/deep/b.js:3:1: error: odd\n",
	})
	r := Read(dir, bosman.Reports{Coverage: "coverage.xml", Lint: "lint/**/*.txt"})
	MarkChanged(r, map[string][]Range{"backend/a.py": {{2, 3}, {9, 20}}, "deep/b.js": {{1, 1}}})
	var got []string
	for _, f := range r.Findings {
		mark := ""
		if f.Changed {
			mark = "!"
		}
		got = append(got, f.Path+mark)
	}
	if want := []string{"backend/a.py!", "backend/a.py", "deep/b.js", "etc/passwd"}; !reflect.DeepEqual(got, want) {
		t.Errorf("paths %v, want %v", got, want)
	}
	c := r.Coverage
	if c == nil || c.Lines != 4 || c.Covered != 3 || c.Changed != 3 || c.ChangedOK != 2 {
		t.Errorf("coverage %+v, problems %v", c, r.Problems)
	}
}

// TestHostileFiles holds that a build cannot hurt whoever reads its reports.
func TestHostileFiles(t *testing.T) {
	bomb := `<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>`
	dir := files(t, map[string]string{
		"bomb.xml": bomb, "cut.xml": "<testsuite><testcase name='a'/><testcase", "page.xml": "<html></html>", "empty.xml": "",
		"noise.txt": "hello\nworld\n", "bad.json": `{"a": 1}`, "broken.json": `[{"path": `, "big.txt": strings.Repeat("x", maxFile+1),
		"outside/ok.txt": "a.py:1:1: E501 x\n",
		"control.xml":    "<testsuite><testcase name='a'><failure message='red \x1b[31m &#x1b;[0m &#27; \xff'>x</failure></testcase></testsuite>",
		"latin.xml":      "<?xml version='1.0' encoding='ISO-8859-2'?><testsuite><testcase name='\xbf\xf3\xb3w'/></testsuite>",
		"nested.xml":     "<testsuites>" + strings.Repeat("<testsuite>", 20000) + "<testcase name='deep'/>",
	})
	secret := filepath.Join(t.TempDir(), "secret.txt")
	if err := os.WriteFile(secret, []byte("a.py:1:1: E501 stolen\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "link.txt")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo.txt"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"bomb.xml": "entities", "cut.xml": "not readable", "page.xml": "<html>", "empty.xml": "empty", "noise.txt": "no line",
		"bad.json": "none that is known", "broken.json": "not readable", "big.txt": "32 MB", "link.txt": "no file matches", "fifo.txt": "not a file",
		"missing.xml": "no file matches", "../x": "no file matches", "[": "syntax error",
	} {
		r := Read(dir, bosman.Reports{JUnit: name})
		if len(r.Problems) != 1 || !strings.Contains(r.Problems[0], want) {
			t.Errorf("%s: problems %q, want %q", name, r.Problems, want)
		}
	}
	if r := Read(dir, bosman.Reports{JUnit: "control.xml"}); len(r.Problems) > 0 || len(r.Tests) != 1 || !strings.HasPrefix(r.Tests[0].Message, "red [31m [0m ") {
		t.Errorf("control characters: %+v", r)
	}
	if r := Read(dir, bosman.Reports{JUnit: "latin.xml"}); len(r.Tests) != 1 || r.Tests[0].Name != "żółw" {
		t.Errorf("ISO-8859-2: %+v", r)
	}
	if r := Read(dir, bosman.Reports{JUnit: "nested.xml"}); len(r.Tests) > 1 {
		t.Errorf("nested: %+v", r)
	}
	if r := Read(filepath.Join(dir, "nowhere"), bosman.Reports{}); len(r.Problems) != 1 {
		t.Errorf("no folder: %+v", r)
	}
}

func TestGoTestFailures(t *testing.T) {
	dir := files(t, map[string]string{"t.json": `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0.5}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"q","Output":"q.go:1: undefined: x\n"}
{"Action":"fail","Package":"q"}
{"Action":"skip","Package":"r","Test":"TestS"}
`})
	r := Read(dir, bosman.Reports{JUnit: "t.json"})
	if len(r.Tests) != 3 || r.Tests[0].Message != "a_test.go:3: wrong" || r.Tests[1].State != bosman.TestErrored || r.Tests[1].Message != "q.go:1: undefined: x" || r.Tests[2].State != bosman.TestSkipped {
		t.Errorf("%+v", r)
	}
}

func TestCompare(t *testing.T) {
	test := func(name string, s bosman.TestState) bosman.TestCase {
		return bosman.TestCase{Suite: "s", Name: name, State: s}
	}
	old := &bosman.Report{
		Tests:    []bosman.TestCase{test("known", bosman.TestFailed), test("mended", bosman.TestErrored), test("broken", bosman.TestPassed), test("gone", bosman.TestPassed)},
		Findings: []bosman.Finding{{Path: "a", Line: 1, Code: "E1", Message: "m"}, {Path: "a", Line: 2, Code: "E2", Message: "m"}},
	}
	now := &bosman.Report{
		Tests:    []bosman.TestCase{test("known", bosman.TestFailed), test("broken", bosman.TestFailed), test("fresh", bosman.TestFailed), test("mended", bosman.TestPassed)},
		Findings: []bosman.Finding{{Path: "a", Line: 8, Code: "E1", Message: "m"}, {Path: "a", Line: 9, Code: "E1", Message: "m"}},
	}
	c := Compare(old, now)
	names := func(l []bosman.TestCase) string {
		var s []string
		for _, x := range l {
			s = append(s, x.Name)
		}
		return strings.Join(s, ",")
	}
	if names(c.NewFailures) != "broken,fresh" || names(c.OldFailures) != "known" || names(c.FixedTests) != "mended" || c.Added != 1 || c.Gone != 1 {
		t.Errorf("tests %+v", c)
	}
	if len(c.NewFindings) != 1 || c.NewFindings[0].Line != 9 || len(c.FixedFindings) != 1 || c.FixedFindings[0].Code != "E2" {
		t.Errorf("findings %+v", c)
	}
	if c := Compare(nil, now); len(c.NewFailures) != 3 || c.Added != 4 {
		t.Errorf("without an old report: %+v", c)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"coverage.xml", "eslint.json", "flake8-isolated.txt", "staticcheck.sarif", "gotest.json", "lab-junit.xml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 2000)])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &collector{fsys: os.DirFS(t.TempDir()), report: &bosman.Report{}, lines: map[string]map[int]bool{}, known: map[string]string{}}
		if err := c.parse("lint", data); err != nil {
			return
		}
		c.finish()
		for _, x := range c.report.Findings {
			if strings.HasPrefix(x.Path, "/") || strings.HasPrefix(x.Path, "../") || x.Path == ".." {
				t.Fatalf("path %q leaves the repository", x.Path)
			}
		}
	})
}
