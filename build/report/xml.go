package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman"
	"golang.org/x/net/html/charset"
)

// illegal are references to control characters, which tests print and XML 1.0
// forbids even so.
var illegal = regexp.MustCompile(`&#(?:x0*(?:[0-8bBcCeEfF]|1[0-9a-fA-F])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]));`)

// nonCharacters are valid UTF-8 but no XML.
var nonCharacters = regexp.MustCompile("[\uFFFE\uFFFF]")

func decoder(data []byte) *xml.Decoder {
	data = illegal.ReplaceAll(data, nil)
	head := bytes.ToUpper(data[:min(len(data), 200)])
	if !bytes.Contains(head, []byte("UTF-16")) {
		kept := data[:0:0]
		for _, b := range data {
			if b >= 0x20 || b == '\n' || b == '\t' || b == '\r' {
				kept = append(kept, b)
			}
		}
		data = kept
	}
	if !bytes.Contains(head, []byte("ENCODING")) || bytes.Contains(head, []byte("UTF-8")) {
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
		data = nonCharacters.ReplaceAll(data, nil)
	}
	d := xml.NewDecoder(bytes.NewReader(data))
	d.CharsetReader = charset.NewReaderLabel
	return d
}

// xml reads JUnit, Cobertura or Checkstyle, told apart by the root element.
func (c *collector) xml(data []byte) error {
	d := decoder(data)
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return errors.New("the XML holds no element")
		}
		if err != nil {
			return fmt.Errorf("not readable as XML: %w", err)
		}
		switch t := t.(type) {
		case xml.Directive:
			if bytes.Contains(bytes.ToUpper(t), []byte("ENTITY")) || bytes.Contains(t, []byte("[")) {
				return errors.New("the XML declares entities; that is refused")
			}
		case xml.StartElement:
			switch t.Name.Local {
			case "testsuites", "testsuite":
				return c.junit(d, t)
			case "coverage":
				return c.cobertura(d)
			case "checkstyle":
				return c.checkstyle(d)
			}
			return fmt.Errorf("the XML's root <%s> is not one of testsuites, testsuite, coverage, checkstyle", limit(t.Name.Local, 40))
		}
	}
}

type junitResult struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

type junitCase struct {
	Class    string        `xml:"classname,attr"`
	Name     string        `xml:"name,attr"`
	Time     string        `xml:"time,attr"`
	Failures []junitResult `xml:"failure"`
	Errors   []junitResult `xml:"error"`
	Skipped  *junitResult  `xml:"skipped"`
	Out      []string      `xml:"system-out"`
	Err      []string      `xml:"system-err"`
}

func (c *collector) junit(d *xml.Decoder, root xml.StartElement) error {
	suites := []string{attr(root, "name")}
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not readable as JUnit XML: %w", err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "testsuite":
				suites = append(suites, attr(t, "name"))
			case "testcase":
				var j junitCase
				if err := d.DecodeElement(&j, &t); err != nil {
					return fmt.Errorf("not readable as JUnit XML: %w", err)
				}
				c.addTest(j.test(suites[len(suites)-1]))
			default:
				if err := d.Skip(); err != nil {
					return fmt.Errorf("not readable as JUnit XML: %w", err)
				}
			}
		case xml.EndElement:
			if len(suites) > 1 {
				suites = suites[:len(suites)-1]
			}
		}
	}
}

func (j junitCase) test(suite string) bosman.TestCase {
	t := bosman.TestCase{Suite: j.Class, Name: j.Name, State: bosman.TestPassed}
	if t.Suite == "" {
		t.Suite = suite
	}
	if s, err := strconv.ParseFloat(strings.ReplaceAll(j.Time, ",", ""), 64); err == nil && s >= 0 && s < 1e9 {
		t.Seconds = s
	}
	results := append(append([]junitResult{}, j.Failures...), j.Errors...)
	switch {
	case len(j.Failures) > 0:
		t.State = bosman.TestFailed
	case len(j.Errors) > 0:
		t.State = bosman.TestErrored
	case j.Skipped != nil:
		t.State = bosman.TestSkipped
		results = []junitResult{*j.Skipped}
	default:
		return t
	}
	var detail []string
	for _, r := range results {
		text := strings.TrimSpace(r.Text)
		if t.Message == "" {
			t.Message = firstNonEmpty(strings.TrimSpace(r.Message), firstLine(text), r.Type)
		}
		if text != "" {
			detail = append(detail, text)
		}
	}
	if t.State != bosman.TestSkipped {
		for _, out := range append(append([]string{}, j.Out...), j.Err...) {
			if s := strings.TrimSpace(out); s != "" {
				detail = append(detail, s)
			}
		}
	}
	t.Detail = strings.Join(detail, "\n\n")
	return t
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func firstLine(s string) string { line, _, _ := strings.Cut(s, "\n"); return line }

func firstNonEmpty(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

type coberturaClass struct {
	File  string `xml:"filename,attr"`
	Lines []struct {
		Number int   `xml:"number,attr"`
		Hits   int64 `xml:"hits,attr"`
	} `xml:"lines>line"`
}

func (c *collector) cobertura(d *xml.Decoder) error {
	var sources []string
	classes := 0
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			if classes == 0 {
				return errors.New("the coverage report names no file")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("not readable as Cobertura XML: %w", err)
		}
		e, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "source":
			var s string
			if err := d.DecodeElement(&s, &e); err != nil {
				return fmt.Errorf("not readable as Cobertura XML: %w", err)
			}
			sources = append(sources, strings.TrimSpace(s))
		case "class":
			var cl coberturaClass
			if err := d.DecodeElement(&cl, &e); err != nil {
				return fmt.Errorf("not readable as Cobertura XML: %w", err)
			}
			classes++
			file := c.source(sources, cl.File)
			for _, l := range cl.Lines {
				if l.Number > 0 {
					c.addLine(file, l.Number, l.Hits > 0)
				}
			}
		}
	}
}

// source joins a class's file with the source folder it lies in.
func (c *collector) source(sources []string, file string) string {
	if path.IsAbs(file) || len(sources) == 0 {
		return c.repoPath(file)
	}
	first := ""
	for _, s := range sources {
		p := c.repoPath(path.Join("/", s, file))
		if first == "" {
			first = p
		}
		if f, err := c.fsys.Open(p); err == nil {
			if f.Close() == nil {
				return p
			}
		}
	}
	return first
}

type checkstyleFile struct {
	Name   string `xml:"name,attr"`
	Errors []struct {
		Line     int    `xml:"line,attr"`
		Column   int    `xml:"column,attr"`
		Severity string `xml:"severity,attr"`
		Message  string `xml:"message,attr"`
		Source   string `xml:"source,attr"`
	} `xml:"error"`
}

func (c *collector) checkstyle(d *xml.Decoder) error {
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not readable as Checkstyle XML: %w", err)
		}
		e, ok := t.(xml.StartElement)
		if !ok || e.Name.Local != "file" {
			continue
		}
		var f checkstyleFile
		if err := d.DecodeElement(&f, &e); err != nil {
			return fmt.Errorf("not readable as Checkstyle XML: %w", err)
		}
		for _, x := range f.Errors {
			tool, code := "checkstyle", x.Source
			if rest, ok := strings.CutPrefix(x.Source, "eslint.rules."); ok {
				tool, code = "eslint", rest
				x.Message = strings.TrimSuffix(x.Message, " ("+rest+")")
			} else if i := strings.LastIndexByte(code, '.'); i >= 0 {
				code = code[i+1:]
			}
			c.addFinding(bosman.Finding{Path: f.Name, Line: x.Line, Column: x.Column, Code: code, Severity: severity(x.Severity), Message: x.Message, Tool: tool})
		}
	}
}

// severity maps the words of the linters to error, warning and info.
func severity(s string) string {
	switch strings.ToLower(s) {
	case "error", "fatal", "failure":
		return "error"
	case "info", "information", "note", "convention", "refactor", "hint", "ignore", "none":
		return "info"
	}
	return "warning"
}
