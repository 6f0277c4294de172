// Package report reads the report files that test steps leave (JUnit,
// Cobertura, the formats of linters) into one bosman.Report. Files are
// recognised by their content and treated as hostile: sizes are capped, XML
// entities are refused and nothing outside the given folder is opened. It
// must not know builds, stores or processes.
package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"

	"github.com/bosman-cd/bosman"
)

// Caps on what is read; what is over them is said in Problems.
const (
	maxFile     = 32 << 20
	maxFiles    = 5000
	maxWalked   = 300_000
	maxTests    = 100_000
	maxFindings = 20_000
	maxDetail   = 64 << 10
	maxMessage  = 1000
)

// Read reads the reports promised by r under dir, the folder of the app as the
// steps left it. It never fails as a whole: what is missing or unreadable is a
// sentence in Problems. Failed tests come first; paths are relative to dir.
func Read(dir string, r bosman.Reports) *bosman.Report {
	rep := &bosman.Report{}
	root, err := os.OpenRoot(dir)
	if err != nil {
		rep.Problems = append(rep.Problems, fmt.Sprintf("the folder of the reports cannot be read: %v", plainError(err)))
		return rep
	}
	c := &collector{fsys: root.FS(), report: rep, lines: map[string]map[int]bool{}, known: map[string]string{}}
	for _, g := range []struct{ kind, glob string }{{"junit", r.JUnit}, {"coverage", r.Coverage}, {"lint", r.Lint}} {
		if g.glob != "" {
			c.glob(g.kind, g.glob)
		}
	}
	c.finish()
	if err := root.Close(); err != nil {
		c.problem("the folder of the reports: %v", plainError(err))
	}
	return rep
}

// collector gathers the findings of all files of one build.
type collector struct {
	fsys   fs.FS
	report *bosman.Report
	lines  map[string]map[int]bool // path → line → covered
	known  map[string]string       // path as reported → path in the repository
	capped map[string]bool
}

func (c *collector) problem(format string, args ...any) {
	if len(c.report.Problems) < 100 {
		c.report.Problems = append(c.report.Problems, fmt.Sprintf(format, args...))
	}
}

func (c *collector) once(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if c.capped == nil {
		c.capped = map[string]bool{}
	}
	if !c.capped[text] {
		c.capped[text] = true
		c.problem("%s", text)
	}
}

// glob reads every file a glob names; "**" stands for any folders.
func (c *collector) glob(kind, glob string) {
	names, err := match(c.fsys, path.Clean(glob))
	if err != nil {
		c.problem("%s: %s: %v", kind, glob, plainError(err))
		return
	}
	if len(names) == 0 {
		c.problem("%s: no file matches %s", kind, glob)
		return
	}
	if len(names) > maxFiles {
		c.problem("%s: %s matches %d files; the first %d were read", kind, glob, len(names), maxFiles)
		names = names[:maxFiles]
	}
	for _, name := range names {
		data, err := c.load(name)
		if err == nil {
			err = c.parse(kind, data)
		}
		if err != nil {
			c.problem("%s: %s: %v", kind, name, plainError(err))
		}
	}
}

func (c *collector) load(name string) (data []byte, err error) {
	info, err := fs.Stat(c.fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("this is not a file")
	}
	f, err := c.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errors.New("larger than 32 MB")
	}
	return data, err
}

func match(fsys fs.FS, glob string) ([]string, error) {
	if !strings.Contains(glob, "**") {
		return fs.Glob(fsys, glob)
	}
	var names []string
	parts, walked := strings.Split(glob, "/"), 0
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if walked++; walked > maxWalked {
			return errors.New("too many files to look through")
		}
		if err != nil {
			return nil //nolint:nilerr // a folder that cannot be read holds no report
		}
		if d.IsDir() {
			if base := d.Name(); base == ".git" || base == "node_modules" || base == ".venv" {
				return fs.SkipDir
			}
			return nil
		}
		if matchParts(parts, strings.Split(name, "/")) {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

func matchParts(glob, name []string) bool {
	if len(glob) == 0 {
		return len(name) == 0
	}
	if glob[0] == "**" {
		for i := 0; i <= len(name); i++ {
			if matchParts(glob[1:], name[i:]) {
				return true
			}
		}
		return false
	}
	if len(name) == 0 {
		return false
	}
	ok, err := path.Match(glob[0], name[0])
	return err == nil && ok && matchParts(glob[1:], name[1:])
}

// parse recognises a file by its content.
func (c *collector) parse(kind string, data []byte) error {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	text := bytes.TrimSpace(data)
	switch {
	case len(text) == 0:
		if kind == "lint" {
			return nil // a linter that found nothing
		}
		return errors.New("the file is empty")
	case text[0] == '<':
		return c.xml(text)
	case text[0] == '{' || text[0] == '[' && (len(text) == 1 || bytes.IndexByte([]byte("{] \n\r\t"), text[1]) >= 0):
		return c.json(text)
	default:
		return c.plain(text)
	}
}

func (c *collector) addTest(t bosman.TestCase) {
	if len(c.report.Tests) >= maxTests {
		c.once("more than %d tests; the rest is not shown", maxTests)
		return
	}
	t.Suite, t.Name = limit(t.Suite, 300), limit(t.Name, 500)
	t.Message, t.Detail = limit(strings.TrimSpace(t.Message), maxMessage), limit(strings.Trim(t.Detail, "\n"), maxDetail)
	c.report.Tests = append(c.report.Tests, t)
}

func (c *collector) addFinding(f bosman.Finding) {
	if len(c.report.Findings) >= maxFindings {
		c.once("more than %d findings; the rest is not shown", maxFindings)
		return
	}
	f.Path, f.Message, f.Code = c.repoPath(f.Path), limit(f.Message, maxMessage), limit(f.Code, 100)
	c.report.Findings = append(c.report.Findings, f)
}

func (c *collector) addLine(file string, line int, covered bool) {
	m := c.lines[file]
	if m == nil {
		m = map[int]bool{}
		c.lines[file] = m
	}
	m[line] = m[line] || covered
}

// repoPath makes a reported path relative to the repository. Steps see the
// tree at /app; other absolute paths are shortened from the left until they
// name a file that exists.
func (c *collector) repoPath(p string) string {
	if known, ok := c.known[p]; ok {
		return known
	}
	clean := strings.TrimPrefix(strings.ReplaceAll(p, `\`, "/"), "file://")
	rooted := strings.HasPrefix(clean, "/")
	clean = strings.TrimPrefix(path.Clean("/"+clean), "/")
	if rooted {
		clean = strings.TrimPrefix(clean, "app/")
		for rest := clean; rest != ""; {
			if info, err := fs.Stat(c.fsys, rest); err == nil && info.Mode().IsRegular() {
				clean = rest
				break
			}
			_, after, ok := strings.Cut(rest, "/")
			if !ok {
				break
			}
			rest = after
		}
	}
	clean = limit(clean, 500)
	if len(c.known) < maxWalked {
		c.known[p] = clean
	}
	return clean
}

func (c *collector) finish() {
	rank := map[bosman.TestState]int{bosman.TestFailed: 0, bosman.TestErrored: 0, bosman.TestSkipped: 2, bosman.TestPassed: 1}
	sort.SliceStable(c.report.Tests, func(i, j int) bool {
		return rank[c.report.Tests[i].State] < rank[c.report.Tests[j].State]
	})
	sort.SliceStable(c.report.Findings, func(i, j int) bool {
		a, b := c.report.Findings[i], c.report.Findings[j]
		if a.Path != b.Path {
			return a.Path < b.Path
		}
		return a.Line < b.Line
	})
	if len(c.lines) == 0 {
		return
	}
	cov := &bosman.Coverage{}
	for file, lines := range c.lines {
		f := bosman.FileCoverage{Path: file, Lines: len(lines)}
		for line, covered := range lines {
			if covered {
				f.Hit = append(f.Hit, line)
			} else {
				f.Missed = append(f.Missed, line)
			}
		}
		sort.Ints(f.Hit)
		sort.Ints(f.Missed)
		f.Covered = len(f.Hit)
		cov.Lines += f.Lines
		cov.Covered += f.Covered
		cov.Files = append(cov.Files, f)
	}
	sort.Slice(cov.Files, func(i, j int) bool { return cov.Files[i].Path < cov.Files[j].Path })
	c.report.Coverage = cov
}

// limit cuts s to at most n bytes, between characters.
func limit(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// plainError leaves out the operating system's call names.
func plainError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
