package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Lines of a failed test's output that are shown: the last ones.
const shownLines = 200

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output, instead of Package
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string
}

// test names a test; Name is empty for the package as a whole.
type test struct{ Package, Name string }

// packageState is what is known of a package that has not ended.
type packageState struct {
	open     map[string]bool // tests that began and have not ended
	parents  map[string]bool // tests that have subtests: they count only when they fail by themselves
	passed   []string
	failed   []string
	skipped  []string
	anything bool
}

type skip struct {
	test
	reason string
}

// summary counts tests. A test with subtests is counted as its subtests.
type summary struct {
	out      io.Writer
	writeErr error
	packages map[string]*packageState
	output   map[test][]string
	builds   map[string][]string

	passed, failed int
	skips          []skip
	broken         []string // what is said of failures, in the order they came
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, packages: map[string]*packageState{}, output: map[test][]string{}, builds: map[string][]string{}}
}

func (s *summary) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(s.out, format, args...); err != nil && s.writeErr == nil {
		s.writeErr = err
	}
}

// read takes in a stream of events. Lines that are not events are printed.
func (s *summary) read(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				s.take(e)
			} else {
				s.printf("%s\n", strings.TrimRight(line, "\n"))
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading what go test says: %w", err)
		}
	}
}

func (s *summary) take(e event) {
	if e.Action == "build-output" {
		s.builds[e.ImportPath] = append(s.builds[e.ImportPath], e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	p := s.packages[e.Package]
	if p == nil {
		p = &packageState{open: map[string]bool{}, parents: map[string]bool{}}
		s.packages[e.Package] = p
	}
	t := test{e.Package, e.Test}
	if e.Action == "output" {
		s.output[t] = append(s.output[t], e.Output)
		return
	}
	if e.Test == "" {
		switch e.Action {
		case "pass", "skip", "fail":
			s.end(e, p)
		}
		return
	}
	switch e.Action {
	case "run":
		p.anything = true
		p.open[e.Test] = true
		for name := e.Test; ; {
			cut := strings.LastIndexByte(name, '/')
			if cut < 0 {
				break
			}
			name = name[:cut]
			p.parents[name] = true
		}
	case "pass":
		delete(p.open, e.Test)
		delete(s.output, t)
		p.passed = append(p.passed, e.Test)
	case "fail":
		delete(p.open, e.Test)
		p.failed = append(p.failed, e.Test)
	case "skip":
		delete(p.open, e.Test)
		p.skipped = append(p.skipped, e.Test)
	}
}

// end counts a package whose tests have all ended.
func (s *summary) end(e event, p *packageState) {
	passed, failed := 0, 0
	for _, name := range p.passed {
		if !p.parents[name] {
			passed++
		}
	}
	for _, name := range p.skipped {
		t := test{e.Package, name}
		s.skips = append(s.skips, skip{t, s.reason(t)})
		delete(s.output, t)
	}
	if e.Action == "fail" {
		// What began and never ended was cut off, by a panic or the time limit.
		p.failed = append(p.failed, slices.Sorted(maps.Keys(p.open))...)
	}
	for _, name := range p.failed {
		if p.parents[name] && hasFailedChild(p.failed, name) {
			continue
		}
		failed++
		t := test{e.Package, name}
		end := ""
		if p.open[name] {
			end = " (did not end)"
		}
		s.fail(fmt.Sprintf("FAIL %s %s%s", short(e.Package), name, end), s.output[t])
	}
	if e.Action == "fail" && failed == 0 {
		failed++
		lines := s.output[test{e.Package, ""}]
		if e.FailedBuild != "" {
			lines = append(slices.Clone(s.builds[e.FailedBuild]), lines...)
		}
		s.fail(fmt.Sprintf("FAIL %s (the package, not one of its tests)", short(e.Package)), lines)
	} else if e.Action == "fail" && len(p.open) > 0 {
		s.fail("what was said when it was cut off:", s.output[test{e.Package, ""}])
	}
	for t := range s.output {
		if t.Package == e.Package {
			delete(s.output, t)
		}
	}
	delete(s.packages, e.Package)
	s.passed += passed
	s.failed += failed
	if p.anything || e.Action == "fail" {
		mark := "ok  "
		if e.Action == "fail" {
			mark = "FAIL"
		}
		took := time.Duration(e.Elapsed * float64(time.Second)).Round(100 * time.Millisecond)
		s.printf("%s %-32s %8s  %d passed, %d failed, %d skipped\n", mark, short(e.Package), took, passed, failed, len(p.skipped))
	}
}

func hasFailedChild(failed []string, parent string) bool {
	return slices.ContainsFunc(failed, func(name string) bool { return strings.HasPrefix(name, parent+"/") })
}

func (s *summary) fail(title string, lines []string) {
	if n := len(lines) - shownLines; n > 0 {
		lines = append([]string{fmt.Sprintf("... %d lines before ...\n", n)}, lines[n:]...)
	}
	text := strings.Join(lines, "")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	s.broken = append(s.broken, title+"\n"+indent(text))
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}

// reason is what a skipped test said: its output without the frame of go test.
func (s *summary) reason(t test) string {
	var said []string
	for line := range strings.Lines(strings.Join(s.output[t], "")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		// "file_test.go:12: the reason"
		if place, rest, ok := strings.Cut(line, ": "); ok && strings.Contains(place, ".go:") {
			line = rest
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

// finish prints failures, skips and the counts, and says whether all is well.
// In a full run a skip that is not allowed, and a permission that is not
// needed, are not.
func (s *summary) finish(full bool, allowed map[test]string) bool {
	for _, name := range slices.Sorted(maps.Keys(s.packages)) {
		// go test itself ended in the middle of this package.
		if p := s.packages[name]; p.anything {
			s.end(event{Action: "fail", Package: name}, p)
		}
	}
	if len(s.broken) > 0 {
		s.printf("\n")
	}
	for _, b := range s.broken {
		s.printf("%s\n", b)
	}
	if len(s.skips) > 0 {
		s.printf("\nskipped:\n")
	}
	bad := 0
	used := map[test]bool{}
	for _, k := range s.skips {
		note := ""
		key := test{short(k.Package), k.Name}
		if full {
			if why, ok := allowed[key]; ok {
				used[key] = true
				note = "  [allowed: " + why + "]"
			} else {
				bad++
				note = "  [NOT ALLOWED in a full run: make it run, or name it in scripts/expected-skips.txt with a reason]"
			}
		}
		s.printf("    %s %s: %s%s\n", key.Package, key.Name, k.reason, note)
	}
	for key := range allowed {
		if full && !used[key] {
			s.printf("    %s %s may be skipped but was not: take it out of the list if that lasts\n", key.Package, key.Name)
		}
	}
	if bad > 0 {
		s.printf("\n%d skipped without leave\n", bad)
	}
	if s.passed+s.failed+len(s.skips) == 0 {
		s.printf("no test was run\n")
		bad++
	}
	s.printf("%d passed, %d failed", s.passed, s.failed)
	if len(s.skips) > 0 {
		s.printf(", %d skipped", len(s.skips))
	}
	s.printf("\n")
	return s.failed == 0 && bad == 0 && s.writeErr == nil
}

// short is a package's path without the module: "edge/wall".
func short(importPath string) string {
	const module = "github.com/bosman-cd/bosman"
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// parseSkips reads lines of `package Test reason`; # begins a comment.
func parseSkips(text string) (map[test]string, error) {
	allowed := map[test]string{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 3 {
			return nil, fmt.Errorf("expected skips, line %d: want `package Test reason`, have %q", n, strings.TrimSpace(line))
		}
		allowed[test{fields[0], fields[1]}] = strings.Join(fields[2:], " ")
	}
	return allowed, nil
}
