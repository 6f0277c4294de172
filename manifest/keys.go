package manifest

import (
	"github.com/bosman-cd/bosman"
	"github.com/goccy/go-yaml/ast"
)

// document decodes the whole document into a manifest, without defaults.
func (d *decoder) document() *bosman.Manifest {
	m := &bosman.Manifest{Sources: d.sources}
	if len(d.data) > maxBytes || len(d.lines) > maxLines {
		d.at(bosman.SourceRef{Line: 1, Column: 1}, "", "the file has more than 128 KB or 3,000 lines")
		return m
	}
	if line := tooDeep(d.lines); line > 0 {
		d.at(bosman.SourceRef{Line: line, Column: 1}, "", "too many brackets or list marks are open here")
		return m
	}
	f, ok := d.tree()
	if !ok {
		return m
	}
	var body ast.Node
	for _, doc := range f.Docs {
		if doc == nil || doc.Body == nil {
			continue
		}
		switch doc.Body.(type) {
		case *ast.CommentGroupNode, *ast.NullNode:
			continue
		}
		if body != nil {
			d.wrong(doc.Body, "", "a second document begins here; write one only")
			return m
		}
		body = doc.Body
	}
	if body == nil {
		return m // an empty file is a legal one
	}
	d.object(body, "", "keys such as build: and processes:", fields{
		"timezone":   d.text(&m.Timezone),
		"root":       d.text(&m.Root),
		"paths":      d.texts(&m.Paths, "globs"),
		"env":        d.dict(&m.Env, d.value),
		"build":      d.steps(&m.Build, false),
		"test":       d.steps(&m.Test, true),
		"processes":  d.processes(&m.Processes),
		"cron":       d.cron(&m.Cron),
		"static":     d.dict(&m.Static, d.text),
		"data":       d.texts(&m.Data, "folders"),
		"templates":  d.dict(&m.Templates, d.text),
		"release":    d.command(&m.Release),
		"health":     d.text(&m.Health),
		"checks":     d.checks(&m.Checks),
		"database":   d.database(&m.Database),
		"databases":  d.databases(&m.Databases),
		"tasks":      d.dict(&m.Tasks, d.command),
		"after":      d.after(&m.After),
		"instances":  d.policies(&m.Instances),
		"migrations": d.migrations(&m.Migration),
		"guard":      d.command(&m.Guard),
	})
	return m
}

func (d *decoder) steps(to *[]bosman.Step, test bool) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		d.list(n, path, "steps", func(n ast.Node, path string) {
			var s bosman.Step
			f := fields{
				"name":    d.text(&s.Name),
				"run":     d.command(&s.Run),
				"inputs":  d.texts(&s.Inputs, "globs"),
				"secrets": d.texts(&s.Secrets, "names"),
				"env":     d.dict(&s.Env, d.value),
				"timeout": d.duration(&s.Timeout),
			}
			if test {
				f["reports"] = func(n ast.Node, path string) {
					d.object(n, path, "a mapping with junit, coverage or lint", fields{
						"junit": d.text(&s.Reports.JUnit), "coverage": d.text(&s.Reports.Coverage), "lint": d.text(&s.Reports.Lint),
					})
				}
				f["allow_failure"] = d.flag(&s.AllowFailure)
			} else {
				f["outputs"] = d.texts(&s.Outputs, "folders or files")
				f["variants"] = d.variants(&s.Variants)
			}
			before := len(d.issues)
			d.object(n, path, "a step with name and run", f)
			if len(d.issues) == before {
				d.required(n, path, "name", s.Name)
				d.required(n, path, "run", s.Run)
			}
			*to = append(*to, s)
		})
	}
}

func (d *decoder) required(n ast.Node, path, key, value string) {
	if value == "" {
		d.wrong(d.plain(n), path, "%s is missing", key)
	}
}

func (d *decoder) variants(to *map[string]map[string]string) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		*to = map[string]map[string]string{}
		for _, e := range d.entries(n, path, "a mapping of variants to their environment") {
			env := map[string]string{}
			d.dict(&env, d.value)(e.node, join(path, e.name))
			(*to)[e.name] = env
		}
	}
}

func (d *decoder) processes(to *map[string]bosman.Process) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		*to = map[string]bosman.Process{}
		for _, e := range d.entries(n, path, "a mapping of process names to commands") {
			var p bosman.Process
			where := join(path, e.name)
			switch value := d.plain(e.node).(type) {
			case *ast.MappingNode, *ast.MappingValueNode:
				before := len(d.issues)
				count := -1
				d.object(value, where, "a command, or run, count and stop_timeout", fields{
					"run": d.command(&p.Run), "count": d.whole(&count, 0, 100), "stop_timeout": d.duration(&p.StopTimeout),
				})
				p.Count, p.Off = max(count, 0), count == 0
				if len(d.issues) == before {
					d.required(value, where, "run", p.Run)
				}
			default:
				d.command(&p.Run)(e.node, where)
			}
			(*to)[e.name] = p
		}
	}
}

func (d *decoder) cron(to *map[string]bosman.Cron) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		*to = map[string]bosman.Cron{}
		for _, e := range d.entries(n, path, "a mapping of names to at and run") {
			var c bosman.Cron
			where, before := join(path, e.name), len(d.issues)
			d.object(e.node, where, "a mapping with at and run", fields{"at": d.text(&c.At), "run": d.command(&c.Run)})
			if len(d.issues) == before {
				d.required(e.node, where, "at", c.At)
				d.required(e.node, where, "run", c.Run)
			}
			(*to)[e.name] = c
		}
	}
}

func (d *decoder) checks(to *[]bosman.RequestCheck) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		d.list(n, path, "requests", func(n ast.Node, path string) {
			var c bosman.RequestCheck
			before := len(d.issues)
			d.object(n, path, "a mapping with get, status and contains", fields{
				"get": d.text(&c.Get), "status": d.whole(&c.Status, 100, 599), "contains": d.text(&c.Contains),
			})
			if len(d.issues) == before {
				d.required(n, path, "get", c.Get)
			}
			*to = append(*to, c)
		})
	}
}

func (d *decoder) after(to *[]bosman.After) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		d.list(n, path, "steps with when and run", func(n ast.Node, path string) {
			var a bosman.After
			before := len(d.issues)
			d.object(n, path, "a mapping with when and run", fields{"when": d.text(&a.When), "run": d.command(&a.Run)})
			if len(d.issues) == before {
				d.required(n, path, "run", a.Run)
			}
			*to = append(*to, a)
		})
	}
}

func (d *decoder) migrations(to *bosman.MigrationConfig) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		d.object(n, path, "a mapping with tool, network and time", fields{"tool": d.text(&to.Tool), "network": d.flag(&to.Network), "time": d.duration(&to.Time)})
	}
}

func (d *decoder) policies(to *map[string]*bosman.Policy) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		*to = map[string]*bosman.Policy{}
		policy := func(kind string) func(ast.Node, string) {
			return func(n ast.Node, path string) {
				p := &bosman.Policy{}
				(*to)[kind] = p
				if _, silent := d.plain(n).(*ast.NullNode); silent {
					return // "preview:" alone asks for the defaults
				}
				d.policy(n, path, p)
			}
		}
		f := fields{}
		for _, k := range kinds {
			f[string(k)] = policy(string(k))
		}
		d.object(n, path, "kinds of instances: testing, preview, staging, live", f)
	}
}

var kinds = []bosman.InstanceKind{bosman.KindTesting, bosman.KindPreview, bosman.KindStaging, bosman.KindLive}

func (d *decoder) policy(n ast.Node, path string, p *bosman.Policy) {
	d.object(n, path, "a mapping of rules", fields{
		"copy":    d.text(&p.Copy),
		"follow":  d.text(&p.Follow),
		"seed":    d.command(&p.Seed),
		"max":     d.whole(&p.Max, 1, 1000),
		"idle":    d.text(&p.Idle),
		"pool":    d.whole(&p.Pool, 0, 50),
		"domains": d.texts(&p.Domains, "host names"),
		"workers": d.flag(&p.Workers),
		"deploy": func(n ast.Node, path string) {
			d.object(n, path, "a mapping with after, window and at_hand", fields{
				"after": d.text(&p.Deploy.After), "window": d.text(&p.Deploy.Window), "at_hand": d.whole(&p.Deploy.AtHand, 0, 100),
			})
		},
		"backup": func(n ast.Node, path string) {
			d.object(n, path, "a mapping with keep, for, at and verify", fields{
				"keep": d.whole(&p.Backup.Keep, 1, 10000), "for": d.duration(&p.Backup.For),
				"at": d.text(&p.Backup.At), "verify": d.text(&p.Backup.Verify),
			})
		},
		"watch": func(n ast.Node, path string) {
			d.object(n, path, "a mapping with for and revert", fields{
				"for": d.duration(&p.Watch.For), "revert": d.flag(&p.Watch.Revert),
			})
		},
	})
}
