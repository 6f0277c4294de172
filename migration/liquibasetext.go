package migration

import (
	"strings"
)

// formatted reads a file of SQL with "--changeset author:id" lines.
func (l *changelog) formatted(text string) {
	var set changeset
	var body, all strings.Builder // all is what the checksum covers
	begun, line := 0, 0
	flush := func() {
		if set.id != "" || set.author != "" {
			s := &script{}
			s.sql(body.String(), begun)
			set.text = all.String()
			l.add(set, s)
		}
		body.Reset()
		all.Reset()
	}
	for _, row := range strings.Split(text, "\n") {
		line++
		if m := changesetLine.FindStringSubmatch(row); m != nil {
			flush()
			set, begun = changeset{author: m[1], id: m[2]}, line-1
			for _, word := range strings.Fields(m[3]) {
				name, value, _ := strings.Cut(word, ":")
				set.set(name, value)
			}
		} else if line == 1 {
			for _, word := range strings.Fields(row) {
				if value, ok := strings.CutPrefix(word, "logicalFilePath:"); ok {
					l.logical = value
				}
			}
		}
		if strings.HasPrefix(strings.ToLower(strings.Join(strings.Fields(strings.TrimLeft(strings.TrimSpace(row), "-")), "")), "validchecksum:") && strings.HasPrefix(strings.TrimSpace(row), "--") {
			set.again = true
		}
		if !rollbackLine.MatchString(row) {
			body.WriteString(row)
			if !strings.HasPrefix(strings.TrimSpace(row), "--") { // comments are not in the checksum
				all.WriteString(row + "\n")
			}
		}
		body.WriteByte('\n')
	}
	flush()
}

// yaml reads the block style that Liquibase writes and its documentation
// shows; what is written otherwise is unknown.
func (l *changelog) yaml(text string) {
	var s *script
	var of changeset
	var block, said strings.Builder // of the changeset; of the change
	var now *refactoring
	var put map[string]string       // attributes of an include
	var named string                // its name
	from, in := 0, -1               // its line and column
	set, change, list := -1, -1, -1 // columns of "changeSet", of a change, of "changes"
	end := func() {
		if now != nil {
			now.text += said.String()
			s.refactor(*now)
			now = nil
		}
		said.Reset()
	}
	included := func() {
		if put != nil {
			l.include(named, put, from)
		}
		put = nil
	}
	flush := func() {
		included()
		if s != nil {
			end()
			of.text = block.String()
			l.add(of, s)
		}
		s, of, change, list = nil, changeset{}, -1, -1
		block.Reset()
	}
	for n, row := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(row)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		m := yamlKey.FindStringSubmatch(row)
		if m == nil {
			if s != nil && (list >= 0 || trimmed[0] == '{' || strings.HasPrefix(trimmed, "- {")) {
				block.WriteString(row + "\n")
				if strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "- {") {
					s.doubt("line %d is not written in blocks", n+1)
				}
				if now != nil {
					said.WriteString(trimmed + "\n")
				}
			}
			continue
		}
		col := len(m[1]) + len(m[2])
		key, value := strings.Trim(m[3], `"`), scalar(m[4])
		switch {
		case key == "changeSet":
			flush()
			s, set = &script{}, col
			if value != "" {
				s.doubt("a changeset is not written in blocks (line %d)", n+1)
			}
			continue
		case includeNamed(key) && (s == nil || col <= set):
			flush()
			put, named, from, in = flow(m[4]), key, n+1, col
			continue
		case put != nil && col > in:
			put[key] = value
			continue
		case s == nil:
			included()
			if key == "logicalFilePath" {
				l.logical = value
			}
			continue
		case col <= set:
			flush()
			continue
		}
		if list >= 0 && col <= list && key != "changes" { // after the changes: rollback and the like
			end()
			list = -1
		}
		if list >= 0 {
			block.WriteString(row + "\n")
		}
		switch {
		case list < 0 && key != "changes":
			of.set(key, value)
		case key == "changes" && list < 0:
			list = col
		case list >= 0 && m[2] != "" && (change < 0 || col <= change):
			end()
			change = col
			now = &refactoring{name: key, attrs: map[string]string{}, line: n + 1}
		case now != nil:
			now.yaml(key, value)
		}
	}
	flush()
}

// flow reads what stands in braces: {file: a.xml, relativeToChangelogFile: true}.
func flow(s string) map[string]string {
	out := map[string]string{}
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "{") {
		return out
	}
	for _, pair := range strings.Split(strings.Trim(s, "{} "), ",") {
		key, value, _ := strings.Cut(pair, ":")
		out[strings.Trim(strings.TrimSpace(key), `"'`)] = scalar(value)
	}
	return out
}
