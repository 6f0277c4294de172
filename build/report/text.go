package report

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman"
)

var (
	flake8      = regexp.MustCompile(`^([^:\s][^:]*):(\d+):(\d+): ([A-Z]{1,4}\d{1,4}) (.*)$`)
	pylintText  = regexp.MustCompile(`^([^:\s][^:]*):(\d+):(\d+): ([CRWEFI]\d{4}): (.*?)(?: \(([a-z0-9-]+)\))?$`)
	pylintParse = regexp.MustCompile(`^([^:\s][^:]*):(\d+): \[([CRWEFI]\d{4})\(([a-z0-9-]+)\)[^\]]*\] (.*)$`)
	staticText  = regexp.MustCompile(`^([^:\s][^:]*):(\d+):(\d+): (.*) \(([A-Z]{1,3}\d{4})\)$`)
	generic     = regexp.MustCompile(`^([^:\s][^:]*\.[A-Za-z0-9]+):(\d+):(?:(\d+):)? (?:(error|warning|note|info): )?(.*)$`)
	stylish     = regexp.MustCompile(`^\s+(\d+):(\d+)\s+(error|warning)\s+(.*?)(?:\s{2,}(\S+))?$`)
	stylishFile = regexp.MustCompile(`^(/|[A-Za-z]:\\|\./)?[^:]*\.[A-Za-z0-9]+$`)
	// chatter are lines of linters that are no findings
	chatter = regexp.MustCompile(`^(\*{5,} Module |-{5,}$|={5,}$|Your code has been rated|✖ \d+ problem|\s+\d+ errors? and \d+ warnings? potentially|vet: |# |All checks passed|Found \d+ |Success: )`)
)

// plain reads the text formats of flake8, pylint, eslint's stylish, go vet,
// staticcheck and whatever else writes path:line:column: message.
func (c *collector) plain(text []byte) error {
	found, known, file := 0, 0, ""
	for raw := range bytes.Lines(text) {
		line := strings.TrimRight(string(raw), "\r\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if len(line) > 10_000 {
			continue
		}
		if f, ok := finding(line); ok {
			c.addFinding(f)
			found++
			continue
		}
		if m := stylish.FindStringSubmatch(line); m != nil && file != "" {
			c.addFinding(bosman.Finding{Path: file, Line: number(m[1]), Column: number(m[2]), Severity: m[3], Message: m[4], Code: m[5], Tool: "eslint"})
			found++
			continue
		}
		if stylishFile.MatchString(line) {
			file = line
			continue
		}
		if chatter.MatchString(line) {
			known++
		}
	}
	if found == 0 && known == 0 {
		return errors.New("no line is in a format that is known (flake8, pylint, eslint, path:line:column: message)")
	}
	return nil
}

func finding(line string) (bosman.Finding, bool) {
	if m := pylintText.FindStringSubmatch(line); m != nil {
		return bosman.Finding{Path: m[1], Line: number(m[2]), Column: number(m[3]) + 1, Code: firstNonEmpty(m[6], m[4]), Severity: pylintSeverity(m[4]), Message: m[5], Tool: "pylint"}, true
	}
	if m := pylintParse.FindStringSubmatch(line); m != nil {
		return bosman.Finding{Path: m[1], Line: number(m[2]), Code: m[4], Severity: pylintSeverity(m[3]), Message: m[5], Tool: "pylint"}, true
	}
	if m := flake8.FindStringSubmatch(line); m != nil {
		s := "warning"
		if strings.HasPrefix(m[4], "F") || strings.HasPrefix(m[4], "E9") {
			s = "error"
		}
		return bosman.Finding{Path: m[1], Line: number(m[2]), Column: number(m[3]), Code: m[4], Severity: s, Message: m[5], Tool: "flake8"}, true
	}
	if m := staticText.FindStringSubmatch(line); m != nil {
		return bosman.Finding{Path: m[1], Line: number(m[2]), Column: number(m[3]), Code: m[5], Severity: "warning", Message: m[4], Tool: "staticcheck"}, true
	}
	if m := generic.FindStringSubmatch(line); m != nil {
		return bosman.Finding{Path: m[1], Line: number(m[2]), Column: number(m[3]), Severity: severity(m[4]), Message: m[5]}, true
	}
	return bosman.Finding{}, false
}

func pylintSeverity(id string) string {
	switch id[0] {
	case 'E', 'F':
		return "error"
	case 'W':
		return "warning"
	}
	return "info"
}

// number is 0 for what is too large to be a line.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n > 1<<30 {
		return 0
	}
	return n
}
