package web

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/web/internal/story"
)

// TestPagesAreSound reads every page as a browser, a keyboard and a screen
// reader would.
func TestPagesAreSound(t *testing.T) {
	s := start(t)
	for _, who := range []string{"piotr", "anna", "zofia"} {
		v := s.as(who)
		list := pages
		if who == "piotr" {
			list = append(append([]string{}, pages...), adminPages...)
		}
		for _, path := range list {
			for _, complaint := range sound(v.page(path)) {
				t.Errorf("%s as %s: %s", path, who, complaint)
			}
		}
	}
	for _, complaint := range sound(parse(t, s.visitor().get("/login"))) {
		t.Errorf("/login: %s", complaint)
	}
	v := s.as("piotr")
	for _, path := range []string{"/rms/builds/9999", "/nowhere", "/rms/changes/x", "/a/b/c/d"} {
		a := v.get(path)
		if a.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.Code)
		}
		for _, complaint := range sound(parse(t, a)) {
			t.Errorf("%s: %s", path, complaint)
		}
	}
}

// sound lists what is wrong with a page.
func sound(n *html.Node) []string {
	var out []string
	complain := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if c := len(all(n, "h1")); c != 1 {
		complain("%d h1", c)
	}
	level := byte('1')
	for _, h := range all(n, "h1", "h2", "h3", "h4", "h5", "h6") {
		if h.Data[1] > level+1 {
			complain("%s %q after an h%c", h.Data, text(h), level)
		}
		level = h.Data[1]
	}
	for _, h := range all(n, "h1", "h2", "h3", "title", "button", "label", "th", "summary", "legend") {
		if text(h) == "" {
			complain("an empty %s", h.Data)
		}
	}
	ids, labels := map[string]int{}, map[string]bool{}
	for _, e := range all(n) {
		if id := attr(e, "id"); id != "" {
			ids[id]++
		}
		if e.Data == "label" {
			labels[attr(e, "for")] = true
		}
		for _, a := range e.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				complain("%s has the attribute %s", e.Data, a.Key)
			}
		}
	}
	for id, n := range ids {
		if n > 1 {
			complain("%d times the id %s", n, id)
		}
	}
	for id := range labels {
		if id != "" && ids[id] == 0 {
			complain("a label for nothing: %s", id)
		}
	}
	for _, e := range all(n, "input", "select", "textarea") {
		if attr(e, "type") == "hidden" || attr(e, "aria-label") != "" || labels[attr(e, "id")] || inside(e, "label") {
			continue
		}
		complain("no label for %s %s", e.Data, attr(e, "name"))
	}
	for _, e := range all(n, "a") {
		if attr(e, "href") == "" || text(e) == "" && attr(e, "aria-label") == "" {
			complain("an empty link: %q %q", attr(e, "href"), text(e))
		}
	}
	for _, e := range all(n, "form") {
		if attr(e, "action") == "" {
			complain("a form without an address")
		}
	}
	for _, e := range all(n, "script") {
		if attr(e, "src") == "" || e.FirstChild != nil {
			complain("a script in the page")
		}
	}
	for _, e := range all(n, "svg") {
		if attr(e, "aria-hidden") == "" && attr(e, "aria-label") == "" {
			complain("a picture without words")
		}
	}
	for _, e := range all(n, "iframe") {
		if attr(e, "title") == "" {
			complain("a frame without a title")
		}
	}
	if c := strings.Count(classes(n), " primary "); c > 1 {
		complain("%d primary actions", c)
	}
	return out
}

func classes(n *html.Node) string {
	var b strings.Builder
	for _, e := range all(n, "button", "a") {
		b.WriteString(" " + strings.ReplaceAll(attr(e, "class"), " ", "  ") + " ")
	}
	return b.String()
}

func inside(n *html.Node, tag string) bool {
	for p := n.Parent; p != nil; p = p.Parent {
		if p.Data == tag {
			return true
		}
	}
	return false
}

// TestLinksLead follows every link of every page.
func TestLinksLead(t *testing.T) {
	s := start(t)
	v := s.as("piotr")
	seen := map[string]string{}
	for _, path := range append(append([]string{}, pages...), adminPages...) {
		base, _, _ := strings.Cut(path, "?")
		for _, a := range all(v.page(path), "a") {
			href := attr(a, "href")
			if strings.HasPrefix(href, "?") {
				href = base + href
			}
			if strings.HasPrefix(href, "/") {
				href, _, _ = strings.Cut(href, "#")
				seen[href] = path
			}
		}
	}
	// The story tells of more builds and deployments than it holds.
	outside := regexp.MustCompile(`^/rms/(builds|deployments)/\d+$`)
	for href, from := range seen {
		if code := v.get(href).Code; code != http.StatusOK && !outside.MatchString(href) {
			t.Errorf("%s links to %s: %d", from, href, code)
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d links", len(seen))
	}
}

// TestNothingOfStrangersRuns puts markup everywhere strangers write.
func TestNothingOfStrangersRuns(t *testing.T) {
	const evil = `<script>alert(1)</script>"><img src=x onerror=alert(2)>'`
	s := start(t, func(s *story.Story, _ *Config) {
		for n := range s.List {
			c := &s.List[n]
			c.Branch, c.Title, c.Author, c.URL, c.Fork = evil, evil, evil, "javascript:alert(3)", evil
			c.Conflicts, c.Hazards, c.Blocked = append(c.Conflicts, evil), append(c.Hazards, evil), evil
			for i := range c.Road {
				c.Road[i].Note, c.Road[i].Who = evil, evil
			}
			for i := range c.Signoffs {
				c.Signoffs[i].Why = evil
			}
			for i := range c.On {
				c.On[i].URL = "javascript:alert(4)"
			}
		}
		for n := range s.BuildList {
			b := &s.BuildList[n]
			b.Branch, b.Reason = evil, evil
			for i := range b.Steps {
				b.Steps[i].Note, b.Steps[i].Name = evil, evil
			}
			if b.Report != nil {
				r := *b.Report
				r.Problems = []string{evil}
				r.Tests = append([]bosman.TestCase{{Suite: evil, Name: evil, Message: evil, Detail: evil, State: bosman.TestFailed}}, r.Tests[:3]...)
				r.Findings = []bosman.Finding{{Path: evil, Message: evil, Tool: evil, Code: evil}}
				b.Report = &r
			}
		}
		for n := range s.Ops {
			o := &s.Ops[n]
			o.Why, o.Waits, o.Override = evil, evil, evil
			o.Error = bosman.Failed("%s", evil).WithKept(evil).WithNext(evil).Because(bosman.Failed("%s", evil))
			o.Failure = &bosman.Failure{Health: evil, Exit: evil, LogTail: evil, Schema: evil, Serving: evil}
			for i := range o.Steps {
				o.Steps[i].Note = evil
			}
		}
		for n := range s.MailAll {
			s.MailAll[n].Subject, s.MailAll[n].Text, s.MailAll[n].HTML, s.MailAll[n].To = evil, evil, evil, []string{evil}
		}
		for n := range s.ProblemAll {
			s.ProblemAll[n].Title, s.ProblemAll[n].Culprit = evil, evil
		}
		for n := range s.EventAll {
			e := &s.EventAll[n]
			e.Message, e.Type, e.URL, e.Tags = evil, evil, "javascript:alert(5)", map[string]string{evil: evil}
			e.Frames = []bosman.Frame{{File: evil, Function: evil, Context: evil, Pre: []string{evil}, InApp: true}}
		}
		for n := range s.Lines {
			s.Lines[n].What, s.Lines[n].Why = evil, evil
		}
		for n := range s.Inst {
			s.Inst[n].Note, s.Inst[n].URL = evil, "javascript:alert(6)"
		}
		for n := range s.Jobs {
			s.Jobs[n].Note, s.Jobs[n].Title, s.Jobs[n].URL, s.Jobs[n].State = evil, evil, "javascript:alert(7)", bosman.InstanceUnwell
		}
		s.Loose = []string{evil}
		s.WaitFor = evil
	})
	v := s.as("piotr")
	for _, path := range append(append([]string{"/search?q=" + "%3Cscript%3Ealert(1)%3C/script%3E"}, pages...), adminPages...) {
		n := v.page(path)
		for _, e := range all(n, "script", "img", "object", "embed") {
			if e.Data != "script" || attr(e, "src") == "" {
				t.Errorf("%s: <%s> from a stranger", path, e.Data)
			}
		}
		for _, e := range all(n) {
			for _, a := range e.Attr {
				if strings.HasPrefix(a.Key, "on") || strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
					t.Errorf("%s: %s=%q", path, a.Key, a.Val)
				}
			}
		}
	}
	for path, header := range map[string]string{"/rms/mails/8/html": "sandbox; default-src 'none'", "/rms": "default-src 'none'; script-src 'self'"} {
		if got := v.get(path).Header().Get("Content-Security-Policy"); !strings.HasPrefix(got, header) || strings.Contains(got, "allow-scripts") || strings.Contains(got, "script-src 'unsafe") {
			t.Errorf("%s: policy %q", path, got)
		}
	}
	frames := all(v.page("/rms/mails/8"), "iframe")
	if len(frames) != 1 || attr(frames[0], "sandbox") != "" {
		t.Errorf("mail is not behind glass: %v", frames)
	}
}

// TestEmptyTeaches looks at an installation without apps.
func TestEmptyTeaches(t *testing.T) {
	s := start(t, func(s *story.Story, _ *Config) { s.AppList, s.Jobs = nil, nil })
	page := text(s.as("piotr").page("/"))
	for _, want := range []string{"bosman app add", "git remote add bosman http://localhost:8080/rms.git", "git push bosman main", "bosman demo"} {
		if !strings.Contains(page, want) {
			t.Errorf("the empty page does not say %q: %s", want, page)
		}
	}
	s = start(t, func(s *story.Story, _ *Config) {
		for n := range s.Persons {
			s.Persons[n].PasswordHash = ""
		}
	})
	if page := text(parse(t, s.visitor().get("/login"))); !strings.Contains(page, "bosman people add") {
		t.Errorf("the login page does not say how to begin: %s", page)
	}
}

// TestFailureSaysThreeThings looks at the page of a failed deployment.
func TestFailureSaysThreeThings(t *testing.T) {
	page := text(start(t).as("zofia").page("/rms/deployments/44"))
	for _, want := range []string{"/healthz answered 503 for 30 s", "live still runs r132", "mend it and push", "ConnectionRefusedError", "additive", "Last health answer"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of a failure does not say %q", want)
		}
	}
}

// TestFailedTestsComeFirst looks at where a tester looks.
func TestFailedTestsComeFirst(t *testing.T) {
	page := text(start(t).as("jan").page("/rms/changes/22"))
	failed, coverage := strings.Index(page, "'+48 601 000 000' != '+49 601 000 000'"), strings.Index(page, "Coverage")
	if failed < 0 || coverage < 0 || failed > coverage {
		t.Errorf("the failing assertion stands at %d, coverage at %d", failed, coverage)
	}
}

// TestRoadIsTheSame compares the road of the board with that of the change.
func TestRoadIsTheSame(t *testing.T) {
	s := start(t)
	v := s.as("anna")
	stations := func(path, within string) (out []string) {
		for _, ol := range all(v.page(path), "ol") {
			if !strings.HasPrefix(attr(ol, "class"), "road") || attr(ol, "aria-label") == "" {
				continue
			}
			if within != "" && (ol.Parent == nil || attr(ol.Parent, "id") != within) {
				continue
			}
			for _, li := range all(ol, "li") {
				out = append(out, attr(li, "class"))
			}
			return out
		}
		return nil
	}
	for _, c := range s.story.List {
		board := stations("/rms/changes?show=all", "cc"+strconv.Itoa(c.Number))
		page := stations(fmt.Sprintf("/rms/changes/%d", c.Number), "")
		if len(page) != 6 || strings.Join(board, " ") != strings.Join(page, " ") {
			t.Errorf("c%d: %v on the board, %v on its page", c.Number, board, page)
		}
	}
}

// TestNoMergeSaysWhy goes through what stands in the way of a merge.
func TestNoMergeSaysWhy(t *testing.T) {
	s := start(t)
	v := s.as("piotr")
	for n, want := range map[int]string{22: "its tests are red", 23: "both follow notes.0002", 24: "maria sent it back", 27: "it conflicts with main in candidates/views.py", 28: "read them"} {
		page := v.page(fmt.Sprintf("/rms/changes/%d", n))
		if got := text(page); !strings.Contains(got, want) {
			t.Errorf("c%d does not say %q", n, want)
		}
		for _, b := range all(page, "button") {
			if text(b) == "Merge" {
				if _, disabled := hasAttr(b, "disabled"); !disabled {
					t.Errorf("c%d offers the merge", n)
				}
			}
		}
	}
}

func hasAttr(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// TestColoursCanBeRead computes the contrast of all text on all grounds.
func TestColoursCanBeRead(t *testing.T) {
	css := string(assets().css.body)
	light, dark, ok := strings.Cut(css, "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark theme")
	}
	dark, _, _ = strings.Cut(dark, "}")
	for theme, part := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{3,6});`).FindAllStringSubmatch(part, -1) {
			colours[m[1]] = m[2]
		}
		for _, ink := range []string{"ink", "soft", "muted", "accent", "good", "failed", "running", "waiting", "reverted"} {
			for _, ground := range []string{"paper", "surface", "sunk", "accent-soft", "good-soft", "failed-soft", "running-soft", "reverted-soft"} {
				if c := contrast(t, colours[ink], colours[ground]); c < 4.5 {
					t.Errorf("%s: %s on %s has a contrast of %.2f", theme, ink, ground, c)
				}
			}
		}
		for _, pair := range [][2]string{{"accent-ink", "accent"}, {"paper", "failed"}} {
			if c := contrast(t, colours[pair[0]], colours[pair[1]]); c < 4.5 {
				t.Errorf("%s: %s on %s has a contrast of %.2f", theme, pair[0], pair[1], c)
			}
		}
		for _, ground := range []string{"paper", "surface", "sunk"} { // of a field one must see where it is
			if c := contrast(t, colours["edge"], colours[ground]); c < 3 {
				t.Errorf("%s: the edge of a field on %s has a contrast of %.2f", theme, ground, c)
			}
		}
	}
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	lum := func(hex string) float64 {
		hex = strings.TrimPrefix(hex, "#")
		if len(hex) == 3 {
			hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
		}
		n, err := strconv.ParseUint(hex, 16, 32)
		if err != nil || len(hex) != 6 {
			t.Fatalf("%q is no colour", hex)
		}
		part := func(shift uint) float64 {
			c := float64(n>>shift&255) / 255
			if c <= 0.04045 {
				return c / 12.92
			}
			return math.Pow((c+0.055)/1.055, 2.4)
		}
		return 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
	}
	x, y := lum(a), lum(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// TestAssetsComeFromHere looks for anything fetched from elsewhere.
func TestAssetsComeFromHere(t *testing.T) {
	s := start(t)
	for _, a := range []asset{assets().css, assets().js, assets().mark} {
		if len(a.body) == 0 {
			t.Errorf("%s is empty", a.path)
		}
		got := s.visitor().get(a.path)
		if got.Code != http.StatusOK || got.Header().Get("Content-Type") != a.kind {
			t.Errorf("%s: %d %s", a.path, got.Code, got.Header().Get("Content-Type"))
		}
		for _, bad := range []string{"@import", "url(", "//cdn", "https://"} {
			if strings.Contains(string(a.body), bad) {
				t.Errorf("%s holds %q", a.path, bad)
			}
		}
	}
	if got := s.visitor().get("/static/../web.go").Code; got == http.StatusOK {
		t.Error("a file outside is served")
	}
}

// TestTextsAreCatalogued holds the catalogue against the texts in use: run
// with UPDATE_TEXTS=1 after changing one.
func TestTextsAreCatalogued(t *testing.T) {
	use := regexp.MustCompile(`texts\.[TN]\(ctx, (?:[^"]*, )?("(?:[^"\\]|\\.)*")`)
	found := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".templ") && (!strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_templ.go") || strings.HasSuffix(path, "_test.go")) {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range use.FindAllStringSubmatch(string(data), -1) {
			s, uerr := strconv.Unquote(m[1])
			if uerr != nil {
				return uerr
			}
			found[s] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const file = "texts/catalogue.txt"
	if os.Getenv("UPDATE_TEXTS") != "" {
		if err := os.WriteFile(file, []byte(sortedLines(found)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := sortedLines(found); string(data) != got {
		t.Errorf("%s is not what the pages say; UPDATE_TEXTS=1 go test ./web -run Catalogued renews it", file)
	}
	if len(found) < 200 {
		t.Errorf("only %d texts", len(found))
	}
}

// TestHelmIsOne makes sure that the real helm fits; it is the wiring's.
func TestHelmIsOne(t *testing.T) {
	var h any = &helm.Helm{}
	if _, ok := h.(Helm); !ok {
		t.Error("*helm.Helm does not fit")
	}
}

func sortedLines(set map[string]bool) string {
	lines := make([]string, 0, len(set))
	for s := range set {
		lines = append(lines, strconv.Quote(s))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}
