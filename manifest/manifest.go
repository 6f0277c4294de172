// Package manifest reads bosman.yaml: it parses and checks the file, fills in
// defaults, gives its JSON Schema, names the build definition and tells which
// difference of two files loosens live's protection. It reads no files and
// runs nothing; it must not know builds, stores or processes.
package manifest

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/bosman-cd/bosman"
)

//go:embed schema.json
var schema []byte

// Schema gives the JSON Schema (draft 2020-12) of bosman.yaml, for editors.
func Schema() []byte { return append([]byte(nil), schema...) }

// Larger files are refused before parsing; of many mistakes the first are shown.
const (
	maxBytes  = 128 << 10
	maxLines  = 3000
	maxIssues = 50
)

// Issue is one mistake in a bosman.yaml.
type Issue struct {
	File    string
	Line    int // 1-based
	Column  int // 1-based, in characters
	Key     string
	Message string
	Excerpt string // the line and a caret under the column; "" without
}

// String gives "bosman.yaml:12:3: build[0].runn: unknown key" and, below it,
// the excerpt.
func (i Issue) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", i.File, i.Line, i.Column)
	if i.Key != "" {
		b.WriteString(i.Key + ": ")
	}
	b.WriteString(i.Message)
	if i.Excerpt != "" {
		b.WriteString("\n" + i.Excerpt)
	}
	return b.String()
}

// Parse reads and checks a bosman.yaml and fills in the defaults. file is the
// name used in messages. An error is a *bosman.Error of KindInvalid that lists
// all mistakes, each with file, line, column, dotted key and a caret.
func Parse(data []byte, file string) (*bosman.Manifest, error) {
	m, issues := Check(data, file)
	if len(issues) == 0 {
		return m, nil
	}
	texts := make([]string, len(issues))
	for i, issue := range issues {
		texts[i] = issue.String()
	}
	return nil, bosman.Invalid("%s", strings.Join(texts, "\n")).WithKept("nothing was changed")
}

// Check is Parse with the mistakes as a list, in the order of the file; the
// manifest is nil when there are any.
func Check(data []byte, file string) (*bosman.Manifest, []Issue) {
	if file == "" {
		file = bosman.ManifestFile
	}
	d := newDecoder(data, file)
	m := d.document()
	if len(d.issues) == 0 {
		d.check(m)
	}
	if len(d.issues) > 0 {
		return nil, d.sorted()
	}
	fillDefaults(m)
	return m, nil
}

// fillDefaults says what a silent file means.
func fillDefaults(m *bosman.Manifest) {
	if m.Timezone == "" {
		m.Timezone = "UTC"
	}
	if m.Root == "" {
		m.Root = "."
	}
	fillDatabases(m)
	for _, steps := range [][]bosman.Step{m.Build, m.Test} {
		for i := range steps {
			if steps[i].Timeout == 0 {
				steps[i].Timeout = bosman.DefaultStepTimeout
			}
		}
	}
	for name, p := range m.Processes {
		if p.Count == 0 && !p.Off {
			p.Count = 1
		}
		if p.StopTimeout == 0 {
			p.StopTimeout = bosman.DefaultStopTimeout
		}
		m.Processes[name] = p
	}
	for i := range m.Checks {
		if m.Checks[i].Status == 0 {
			m.Checks[i].Status = 200
		}
	}
	for i := range m.After {
		if m.After[i].When == "" {
			m.After[i].When = "always"
		}
	}
	fillPolicies(m)
}

// fillPolicies makes testing, staging and live exist; preview instances only
// exist where the file asks for them.
func fillPolicies(m *bosman.Manifest) {
	if m.Instances == nil {
		m.Instances = map[string]*bosman.Policy{}
	}
	for _, k := range []bosman.InstanceKind{bosman.KindTesting, bosman.KindStaging, bosman.KindLive} {
		if m.Instances[string(k)] == nil {
			m.Instances[string(k)] = &bosman.Policy{}
		}
	}
	if p := m.Instances[string(bosman.KindTesting)]; p.Copy == "" {
		p.Copy = string(bosman.KindStaging)
	}
	if p := m.Instances[string(bosman.KindPreview)]; p != nil {
		if p.Max == 0 {
			p.Max = 5
		}
		if p.Idle == "" {
			p.Idle = "24h"
		}
	}
	if p := m.Instances[string(bosman.KindStaging)]; p.Follow == "" {
		p.Follow = "main"
	}
	live := m.Instances[string(bosman.KindLive)]
	if live.Deploy.After == "" {
		live.Deploy.After = string(bosman.KindStaging)
	}
	if live.Backup.Keep == 0 {
		live.Backup.Keep = 30
	}
	if live.Backup.Verify == "" {
		live.Backup.Verify = "before"
	}
	if live.Watch.For == 0 {
		live.Watch.For = DefaultWatch
	}
}
