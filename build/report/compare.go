package report

import "github.com/bosman-cd/bosman"

// Range is a run of lines of a file, both ends included, counted from 1.
type Range struct{ From, To int }

// MarkChanged marks the findings on the lines that a change touched and counts
// how many of those lines are covered. lines maps a path relative to the
// repository to its changed lines in the new version.
func MarkChanged(r *bosman.Report, lines map[string][]Range) {
	if r == nil {
		return
	}
	in := func(path string, line int) bool {
		for _, x := range lines[path] {
			if line >= x.From && line <= x.To {
				return true
			}
		}
		return false
	}
	for i := range r.Findings {
		r.Findings[i].Changed = in(r.Findings[i].Path, r.Findings[i].Line)
	}
	if r.Coverage == nil {
		return
	}
	r.Coverage.Changed, r.Coverage.ChangedOK = 0, 0
	for _, f := range r.Coverage.Files {
		for _, line := range f.Hit {
			if in(f.Path, line) {
				r.Coverage.Changed++
				r.Coverage.ChangedOK++
			}
		}
		for _, line := range f.Missed {
			if in(f.Path, line) {
				r.Coverage.Changed++
			}
		}
	}
}

// Comparison is what one report says that another did not.
type Comparison struct {
	NewFindings, FixedFindings []bosman.Finding
	NewFailures                []bosman.TestCase // fail now and passed, were skipped or did not exist
	FixedTests                 []bosman.TestCase // failed and pass now
	OldFailures                []bosman.TestCase // fail now and failed then
	Added, Gone                int               // tests that are new, and that no longer exist
}

// Compare compares the report of main (old) with that of a change (now).
// Findings are matched by path, code and message, not by line, so that lines
// that moved are not new. A nil report is an empty one.
func Compare(old, now *bosman.Report) Comparison {
	if old == nil {
		old = &bosman.Report{}
	}
	if now == nil {
		now = &bosman.Report{}
	}
	var c Comparison
	c.NewFindings = without(now.Findings, old.Findings)
	c.FixedFindings = without(old.Findings, now.Findings)
	type key struct{ suite, name string }
	was, is := map[key]bosman.TestCase{}, map[key]bool{}
	for _, t := range old.Tests {
		k := key{t.Suite, t.Name}
		if before, twice := was[k]; !twice || !failed(before) {
			was[k] = t
		}
	}
	for _, t := range now.Tests {
		k := key{t.Suite, t.Name}
		before, known := was[k]
		if !known && !is[k] {
			c.Added++
		}
		is[k] = true
		switch {
		case failed(t) && known && failed(before):
			c.OldFailures = append(c.OldFailures, t)
		case failed(t):
			c.NewFailures = append(c.NewFailures, t)
		case t.State == bosman.TestPassed && known && failed(before):
			c.FixedTests = append(c.FixedTests, t)
		}
	}
	for k := range was {
		if !is[k] {
			c.Gone++
		}
	}
	return c
}

func failed(t bosman.TestCase) bool {
	return t.State == bosman.TestFailed || t.State == bosman.TestErrored
}

// without gives the findings of list that other does not hold, counting
// repeated ones.
func without(list, other []bosman.Finding) []bosman.Finding {
	type key struct{ path, code, message string }
	count := map[key]int{}
	for _, f := range other {
		count[key{f.Path, f.Code, f.Message}]++
	}
	var rest []bosman.Finding
	for _, f := range list {
		k := key{f.Path, f.Code, f.Message}
		if count[k] > 0 {
			count[k]--
			continue
		}
		rest = append(rest, f)
	}
	return rest
}
