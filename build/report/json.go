package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bosman-cd/bosman"
)

// json reads the JSON of pylint, eslint, staticcheck, `go test -json` and
// SARIF, told apart by the keys of the first object.
func (c *collector) json(data []byte) error {
	if data[0] == '[' {
		return c.jsonArray(data)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	tests := &goTests{}
	for n := 0; ; n++ {
		var raw json.RawMessage
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("not readable as JSON: %w", err)
		}
		var head struct {
			Runs     json.RawMessage `json:"runs"`
			Action   string          `json:"Action"`
			Location json.RawMessage `json:"location"`
			Messages json.RawMessage `json:"messages"`
		}
		if err := json.Unmarshal(raw, &head); err != nil {
			return fmt.Errorf("not readable as JSON: %w", err)
		}
		var err error
		switch {
		case head.Runs != nil:
			err = c.sarif(head.Runs)
		case head.Action != "":
			err = tests.add(raw)
		case head.Location != nil:
			err = c.staticcheck(raw)
		default:
			err = errors.New("this JSON is none that is known (pylint, eslint, staticcheck, go test -json, SARIF)")
		}
		if err != nil {
			return err
		}
	}
	tests.finish(c)
	return nil
}

func (c *collector) jsonArray(data []byte) error {
	var items []struct {
		// pylint
		Type      string `json:"type"`
		Path      string `json:"path"`
		Symbol    string `json:"symbol"`
		Message   string `json:"message"`
		MessageID string `json:"message-id"`
		Line      int    `json:"line"`
		Column    int    `json:"column"`
		// eslint
		FilePath string `json:"filePath"`
		Messages []struct {
			RuleID   string `json:"ruleId"`
			Severity int    `json:"severity"`
			Message  string `json:"message"`
			Line     int    `json:"line"`
			Column   int    `json:"column"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(data, &items); err != nil {
		return fmt.Errorf("not readable as JSON of pylint or eslint: %w", err)
	}
	for _, it := range items {
		switch {
		case it.FilePath != "":
			for _, m := range it.Messages {
				s := "warning"
				if m.Severity >= 2 {
					s = "error"
				}
				c.addFinding(bosman.Finding{Path: it.FilePath, Line: m.Line, Column: m.Column, Code: m.RuleID, Severity: s, Message: m.Message, Tool: "eslint"})
			}
		case it.Path != "":
			// pylint counts columns from 0
			c.addFinding(bosman.Finding{Path: it.Path, Line: it.Line, Column: it.Column + 1, Code: firstNonEmpty(it.Symbol, it.MessageID), Severity: severity(it.Type), Message: it.Message, Tool: "pylint"})
		default:
			return errors.New("this JSON is neither pylint's nor eslint's")
		}
	}
	return nil
}

func (c *collector) staticcheck(raw json.RawMessage) error {
	var f struct {
		Code     string `json:"code"`
		Severity string `json:"severity"`
		Message  string `json:"message"`
		Location struct {
			File   string `json:"file"`
			Line   int    `json:"line"`
			Column int    `json:"column"`
		} `json:"location"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return fmt.Errorf("not readable as JSON of staticcheck: %w", err)
	}
	c.addFinding(bosman.Finding{Path: f.Location.File, Line: f.Location.Line, Column: f.Location.Column, Code: f.Code, Severity: severity(f.Severity), Message: f.Message, Tool: "staticcheck"})
	return nil
}

func (c *collector) sarif(raw json.RawMessage) error {
	var runs []struct {
		Tool struct {
			Driver struct {
				Name string `json:"name"`
			} `json:"driver"`
		} `json:"tool"`
		Results []struct {
			RuleID  string `json:"ruleId"`
			Level   string `json:"level"`
			Message struct {
				Text string `json:"text"`
			} `json:"message"`
			Locations []struct {
				Physical struct {
					Artifact struct {
						URI string `json:"uri"`
					} `json:"artifactLocation"`
					Region struct {
						Line   int `json:"startLine"`
						Column int `json:"startColumn"`
					} `json:"region"`
				} `json:"physicalLocation"`
			} `json:"locations"`
		} `json:"results"`
	}
	if err := json.Unmarshal(raw, &runs); err != nil {
		return fmt.Errorf("not readable as SARIF: %w", err)
	}
	for _, run := range runs {
		for _, r := range run.Results {
			f := bosman.Finding{Code: r.RuleID, Severity: severity(r.Level), Message: r.Message.Text, Tool: strings.ToLower(run.Tool.Driver.Name)}
			if len(r.Locations) > 0 {
				p := r.Locations[0].Physical
				f.Path, f.Line, f.Column = p.Artifact.URI, p.Region.Line, p.Region.Column
			}
			c.addFinding(f)
		}
	}
	return nil
}

// goTests gathers the events of `go test -json`.
type goTests struct {
	order  []string
	output map[string]*strings.Builder
	cases  map[string]*bosman.TestCase
	failed map[string]bool // packages with a failed test of their own
}

func (g *goTests) add(raw json.RawMessage) error {
	var e struct {
		Action, Package, Test, Output, FailedBuild string
		Elapsed                                    float64
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("not readable as go test -json: %w", err)
	}
	if g.cases == nil {
		g.cases, g.output, g.failed = map[string]*bosman.TestCase{}, map[string]*strings.Builder{}, map[string]bool{}
	}
	key := e.Package + "\x00" + e.Test
	switch e.Action {
	case "output", "build-output":
		b := g.output[key]
		if b == nil {
			b = &strings.Builder{}
			g.output[key] = b
		}
		if b.Len() < maxDetail {
			b.WriteString(e.Output)
		}
		return nil
	case "pass", "skip", "fail":
	default:
		return nil
	}
	state := map[string]bosman.TestState{"pass": bosman.TestPassed, "skip": bosman.TestSkipped, "fail": bosman.TestFailed}[e.Action]
	if e.Test == "" {
		if e.Action != "fail" || g.failed[e.Package] {
			return nil // only a package that broke outside its tests counts
		}
		e.Test, state = "(package)", bosman.TestErrored
	} else if e.Action == "fail" {
		g.failed[e.Package] = true
	}
	if g.cases[key] == nil {
		g.order = append(g.order, key)
	}
	g.cases[key] = &bosman.TestCase{Suite: e.Package, Name: e.Test, State: state, Seconds: e.Elapsed}
	return nil
}

func (g *goTests) finish(c *collector) {
	for _, key := range g.order {
		t := *g.cases[key]
		if b := g.output[key]; b != nil && t.State != bosman.TestPassed {
			t.Detail = b.String()
			for _, line := range strings.Split(t.Detail, "\n") {
				line = strings.TrimSpace(line)
				if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
					t.Message = line
					break
				}
			}
		}
		c.addTest(t)
	}
}
