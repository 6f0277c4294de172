package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman/internal/need"
)

const m = "github.com/bosman-cd/bosman/"

// lines makes events of package edge: "run TestA", "out TestA text", "pass TestA".
func lines(spec ...string) string {
	var b strings.Builder
	for _, s := range spec {
		action, rest, _ := strings.Cut(s, " ")
		name, text, _ := strings.Cut(rest, " ")
		if action == "out" {
			action = "output"
		}
		b.WriteString(`{"Action":"` + action + `","Package":"` + m + `edge"`)
		if name != "" && name != "-" {
			b.WriteString(`,"Test":"` + name + `"`)
		}
		if text != "" {
			b.WriteString(`,"Output":"` + text + `\n"`)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func TestSummary(t *testing.T) {
	tests := []struct {
		name    string
		events  string
		short   bool
		allowed string
		last    string
		ok      bool
		says    []string
		silent  []string
	}{
		{
			name:   "all pass, subtests count instead of their parents",
			events: lines("run TestA", "run TestA/one", "run TestA/two", "pass TestA/one", "pass TestA/two", "pass TestA", "run TestB", "pass TestB", "pass -"),
			last:   "3 passed, 0 failed", ok: true, says: []string{"ok   edge"},
		},
		{
			name:   "a failed subtest is shown once with its output",
			events: lines("run TestA", "run TestA/one", "out TestA/one     a_test.go:3: want 1", "run TestB", "out TestB noise", "pass TestB", "fail TestA/one", "fail TestA", "fail -"),
			last:   "1 passed, 1 failed", says: []string{"FAIL edge TestA/one\n", "    a_test.go:3: want 1"}, silent: []string{"noise", "FAIL edge TestA\n"},
		},
		{
			name:   "a parent that fails by itself counts",
			events: lines("run TestA", "run TestA/one", "pass TestA/one", "out TestA afterwards", "fail TestA", "fail -"),
			last:   "1 passed, 1 failed", says: []string{"FAIL edge TestA\n", "afterwards"},
		},
		{
			name:   "a test that is cut off is a failure",
			events: lines("run TestA", "out TestA begun", "out - panic: test timed out", "fail -"),
			last:   "0 passed, 1 failed", says: []string{"TestA (did not end)", "begun", "test timed out"},
		},
		{
			name:   "go test ended in the middle",
			events: lines("run TestA", "pass TestA", "run TestB"),
			last:   "1 passed, 1 failed", says: []string{"TestB (did not end)"},
		},
		{
			name:   "a package that fails without a test",
			events: lines("out - goleak: found a goroutine", "fail -"),
			last:   "0 passed, 1 failed", says: []string{"goleak: found a goroutine"},
		},
		{
			name: "a package that does not compile",
			events: `{"ImportPath":"x [x.test]","Action":"build-output","Output":"x.go:1:1: undefined: y\n"}` + "\n" +
				`{"ImportPath":"x [x.test]","Action":"build-fail"}` + "\n" +
				`{"Action":"fail","Package":"` + m + `edge","FailedBuild":"x [x.test]"}` + "\n",
			last: "0 passed, 1 failed", says: []string{"undefined: y"},
		},
		{
			name:   "a skip fails a full run",
			events: lines("run TestA", "out TestA     a_test.go:9: no luck", "skip TestA", "run TestB", "pass TestB", "pass -"),
			last:   "1 passed, 0 failed, 1 skipped", says: []string{"edge TestA: no luck", "NOT ALLOWED"},
		},
		{
			name:   "an allowed skip does not",
			events: lines("run TestA", "out TestA     a_test.go:9: no luck", "skip TestA", "run TestB", "pass TestB", "pass -"), allowed: "# why\nedge TestA needs a moon\n",
			last: "1 passed, 0 failed, 1 skipped", ok: true, says: []string{"allowed: needs a moon"},
		},
		{
			name:   "a skip of a short run is only listed",
			events: lines("run TestA", "out TestA     a_test.go:9: short: needs root", "skip TestA", "pass -"), short: true,
			last: "0 passed, 0 failed, 1 skipped", ok: true, says: []string{"edge TestA: short: needs root"},
		},
		{
			name:   "a leave that is not needed is mentioned",
			events: lines("run TestB", "pass TestB", "pass -"), allowed: "edge TestOld gone\n",
			last: "1 passed, 0 failed", ok: true, says: []string{"edge TestOld may be skipped but was not"},
		},
		{name: "nothing ran", events: "", last: "0 passed, 0 failed", says: []string{"no test was run"}},
		{
			name: "packages without tests and foreign lines", events: "go: downloading x\n" + lines("out - no test files", "skip -") + lines("run TestB", "pass TestB", "pass -"),
			last: "1 passed, 0 failed", ok: true, says: []string{"go: downloading x"}, silent: []string{"no test files"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			allowed, err := parseSkips(tt.allowed)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			s := newSummary(&out)
			if err := s.read(strings.NewReader(tt.events)); err != nil {
				t.Fatal(err)
			}
			if ok := s.finish(!tt.short, allowed); ok != tt.ok {
				t.Errorf("well: %v, want %v", ok, tt.ok)
			}
			all := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if last := all[len(all)-1]; last != tt.last {
				t.Errorf("last line %q, want %q", last, tt.last)
			}
			for _, want := range tt.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not say %q:\n%s", want, out.String())
				}
			}
			for _, unwanted := range tt.silent {
				if strings.Contains(out.String(), unwanted) {
					t.Errorf("says %q:\n%s", unwanted, out.String())
				}
			}
		})
	}
}

func TestLongOutputIsCut(t *testing.T) {
	var out bytes.Buffer
	s := newSummary(&out)
	events := []string{"run TestA"}
	for range 500 {
		events = append(events, "out TestA line")
	}
	events = append(events, "fail TestA", "fail -")
	if err := s.read(strings.NewReader(lines(events...))); err != nil {
		t.Fatal(err)
	}
	s.finish(true, nil)
	if n := strings.Count(out.String(), "line\n"); n != shownLines {
		t.Errorf("%d lines are shown, want %d", n, shownLines)
	}
	if !strings.Contains(out.String(), "300 lines before") {
		t.Error("the cut is not mentioned")
	}
}

func TestSkipsWithoutReasonAreRefused(t *testing.T) {
	if _, err := parseSkips("edge TestA\n"); err == nil {
		t.Error("a line without a reason was taken")
	}
}

// A module with a passing, a failing and a broken package, run by the real go.
func TestRealGo(t *testing.T) {
	need.Slow(t, "compiles a small module")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":              "module small\n\ngo 1.26\n",
		"good/good_test.go":   "package good\n\nimport \"testing\"\n\nfunc TestGood(t *testing.T) {}\n",
		"bad/bad_test.go":     "package bad\n\nimport \"testing\"\n\nfunc TestBad(t *testing.T) { t.Fatal(\"so bad\") }\n",
		"gone/gone_test.go":   "package gone\n\nimport \"testing\"\n\nfunc TestGone(t *testing.T) { missing() }\n",
		"leave/leave_test.go": "package leave\n\nimport \"testing\"\n\nfunc TestLeave(t *testing.T) { t.Skip(\"not today\") }\n",
		"skips.txt":           "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	tests := []struct {
		args []string
		code int
		last string
		says string
	}{
		{[]string{"./good"}, 0, "1 passed, 0 failed", "ok "},
		{[]string{"./good", "./bad", "./gone"}, 1, "1 passed, 2 failed", "undefined: missing"},
		{[]string{"-skips", "skips.txt", "--", "./leave"}, 1, "0 passed, 0 failed, 1 skipped", "not today"},
		{[]string{"-skips", "skips.txt", "--", "-short", "./leave"}, 0, "0 passed, 0 failed, 1 skipped", "not today"},
		{[]string{"./nowhere"}, 1, "0 passed, 1 failed", "nowhere"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var out, complaints bytes.Buffer
			code := run(context.Background(), tt.args, &out, &complaints)
			all := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if code != tt.code || all[len(all)-1] != tt.last || !strings.Contains(out.String()+complaints.String(), tt.says) {
				t.Errorf("code %d, want %d; last line %q, want %q; must say %q:\n%s%s",
					code, tt.code, all[len(all)-1], tt.last, tt.says, out.String(), complaints.String())
			}
		})
	}
}
