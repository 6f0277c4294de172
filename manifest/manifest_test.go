package manifest

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func example(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseExample(t *testing.T) {
	m, err := Parse(example(t), "")
	if err != nil {
		t.Fatal(err)
	}
	if m.Timezone != "Europe/Warsaw" || m.Root != "." || m.Env["DJANGO_SETTINGS_MODULE"] != "rms.settings" {
		t.Errorf("head: %+v", m)
	}
	if len(m.Build) != 2 || m.Build[1].Variants["live"]["ASSETS_MODE"] != "production" || m.Build[0].Timeout != bosman.DefaultStepTimeout {
		t.Errorf("build: %+v", m.Build)
	}
	if len(m.Test) != 2 || !m.Test[1].AllowFailure || m.Test[0].Reports.JUnit != "reports/*.xml" {
		t.Errorf("test: %+v", m.Test)
	}
	web, worker := m.Processes["web"], m.Processes["worker"]
	if web.Run != "gunicorn rms.wsgi --bind unix:$BOSMAN_SOCKET" || web.Count != 1 || web.StopTimeout != 30*time.Second {
		t.Errorf("web: %+v", web)
	}
	if worker.Count != 2 || worker.StopTimeout != time.Minute {
		t.Errorf("worker: %+v", worker)
	}
	if m.Cron["digest"].At != "0 7 * * *" || m.Static["/static/"] != "staticfiles/" || m.Checks[0].Status != 200 {
		t.Errorf("cron, static or checks: %+v", m)
	}
	live := m.PolicyFor(bosman.KindLive)
	if live.Deploy != (bosman.DeployPolicy{After: "staging", Window: "Mon-Thu 09:00-15:00", AtHand: 1}) ||
		live.Backup != (bosman.BackupPolicy{Keep: 30, Verify: "before"}) || live.Watch != (bosman.WatchPolicy{For: 10 * time.Minute, Revert: true}) {
		t.Errorf("live: %+v", live)
	}
	if m.Sources["build[1].run"].Line == 0 || m.Sources["instances.live.deploy.window"].Line == 0 {
		t.Errorf("places are missing: %v", m.Sources)
	}
}

func TestDefaultsOfAnEmptyFile(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "{}\n"} {
		m, err := Parse([]byte(text), "")
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if m.Timezone != "UTC" || m.Root != "." || m.Database.Engine != "none" || m.PolicyFor(bosman.KindLive).Deploy.After != "staging" ||
			m.PolicyFor(bosman.KindTesting).Copy != "staging" || m.Instances["preview"] != nil {
			t.Errorf("%q: %+v", text, m)
		}
	}
}

func TestShortForms(t *testing.T) {
	m, err := Parse([]byte(`
x-env: &common {LANG: C.UTF-8, PORT_BASE: 8000, DEBUG: false, V: 1.10}
env: *common
build:
  - {name: one, run: "true", env: {<<: *common, LANG: pl_PL}, timeout: 90s}
processes:
  web: |
    exec ./serve \
      --now
  off: {run: ./off, count: 0}
instances:
  preview:
`), "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"LANG": "C.UTF-8", "PORT_BASE": "8000", "DEBUG": "false", "V": "1.10"}
	if !reflect.DeepEqual(m.Env, want) {
		t.Errorf("env %v", m.Env)
	}
	if e := m.Build[0].Env; e["LANG"] != "pl_PL" || e["V"] != "1.10" || m.Build[0].Timeout != 90*time.Second {
		t.Errorf("build %+v", m.Build[0])
	}
	if m.Processes["web"].Run != "exec ./serve \\\n  --now\n" || m.Processes["off"].Count != 0 {
		t.Errorf("processes %+v", m.Processes)
	}
	if p := m.Instances["preview"]; p == nil || p.Max != 5 || p.Idle != "24h" {
		t.Errorf("preview %+v", p)
	}
}

// TestMessages pins what people read.
func TestMessages(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"typo", "build:\n  - name: a\n    runn: x\n", "bosman.yaml:3:5: build[0].runn: unknown key; did you mean run?\n    3 |     runn: x\n      |     ^"},
		{"type", "processes:\n  worker: {run: x, count: two}\n", `bosman.yaml:2:27: processes.worker.count: expected a whole number, found "two"`},
		{"far from any", "zzzzzz: 1\n", "bosman.yaml:1:1: zzzzzz: unknown key; expected one of after, build"},
		{"missing", "build:\n  - name: a\n", "build[0]: run is missing"},
		{"number for text", "release: 5\n", "bosman.yaml:1:10: release: expected text, found the number 5"},
		{"duration", "processes: {web: {run: x, stop_timeout: 60}}\n", "expected a time such as 60s, 10m or 24h, found the number 60"},
		{"twice", "health: /a\nhealth: /b\n", "bosman.yaml:2:1: health: this key is there twice"},
		{"zone", "timezone: Mars/Base\n", `bosman.yaml:1:1: timezone: there is no time zone "Mars/Base"`},
		{"cron", "cron: {a: {at: '99 * * * *', run: x}}\n", "cron.a.at: expected five fields"},
		{"outside", "data: [../x]\n", `data[0]: expected a folder inside the app's folder, found "../x"`},
		{"absolute", "build: [{name: a, run: x, inputs: [/etc/passwd]}]\n", `build[0].inputs[0]: expected a glob relative to the app's folder`},
		{"database", "database: oracle\n", `bosman.yaml:1:11: database: expected postgres, sqlite, mariadb, none, found "oracle"`},
		{"kind", "instances: {prod: {}}\n", "instances.prod: unknown key"},
		{"window", "instances: {live: {deploy: {window: sometimes}}}\n", "instances.live.deploy.window: expected hours such as"},
		{"syntax", "a: [1\n", "not valid YAML"},
		{"list", "- a\n", "expected keys such as build: and processes:, found a list"},
		{"two documents", "health: /a\n---\nhealth: /b\n", "a second document"},
		{"alias", "env: *nowhere\n", "nowhere"},
		{"name twice", "test: [{name: a, run: x}, {name: a, run: y}]\n", "test[1].name: test[0] has this name already"},
		{"wrong kind", "instances: {staging: {deploy: {window: ''}, follow: main}, live: {follow: x}}\n", "instances.live.follow: this means nothing on live; it is for staging"},
		{"engine", "database: {engine: oracle}\n", `bosman.yaml:1:12: database: expected postgres, sqlite, mariadb, none, found "oracle"`},
		{"mask", "database:\n  mask:\n    users.email: mail\n", `bosman.yaml:3:5: database.mask.users.email: expected address, code, date, email`},
		{"masked column", "database:\n  mask: {email: email}\n", `database.mask.email: expected table.column or schema.table.column, found "email"`},
		{"masked twice", "database:\n  mask: {u.email: email, '\"u\".email': null}\n", `this is the same column as`},
		{"mask type", "database: {mask_types: [shoe]}\n", `database.mask_types[0]: expected address, birth`},
		{"live's data", "database: postgres\ninstances: {testing: {copy: live}}\n", `bosman.yaml:2:23: instances.testing.copy: copies of live's data are handed out masked only; say with database: {mask: …}`},
		{"another database", "database: {mask: {u.email: email}}\ndatabases: {reports: postgres}\ninstances: {testing: {copy: live}}\n", `instances.testing.copy: copies of live's data are handed out masked only; databases.reports has neither`},
		{"further without main", "databases: {reports: postgres}\n", `databases: these are further databases; name the main one`},
		{"further of another engine", "database: postgres\ndatabases: {reports: mariadb}\n", `databases.reports: further databases can be of the engine postgres only, not mariadb`},
		{"further beside sqlite", "database: sqlite\ndatabases: {reports: postgres}\n", `databases: further databases stand beside one of the engine postgres`},
		{"further adopted", "database: postgres\ndatabases: {reports: {url_from: X}}\n", `databases.reports.url_from: a further database is made by Bosman`},
		{"adopted sqlite", "database: {engine: sqlite, url_from: URL}\n", `database.url_from: databases that Bosman did not make`},
		{"schedule", "instances: {live: {backup: {at: nightly}}}\n", `instances.live.backup.at: expected five fields (minute hour day month weekday) such as "30 2 * * *", found "nightly"`},
		{"days", "instances: {live: {backup: {for: 90}}}\n", `instances.live.backup.for: expected a time such as 60s, 10m or 24h, found the number 90`},
		{"pool", "instances: {live: {pool: 2}}\n", `instances.live.pool: this means nothing on live; it is for preview and testing`},
		{"secret's name", "build: [{name: a, run: x, secrets: ['a b']}]\n", "build[0].secrets[0]: expected the name of a secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.text), "bosman.yaml")
			var e *bosman.Error
			if !errors.As(err, &e) || e.Kind != bosman.KindInvalid {
				t.Fatalf("error %v, want one of the invalid kind", err)
			}
			if !strings.Contains(e.Message, c.want) {
				t.Errorf("message:\n%s\nwant in it:\n%s", e.Message, c.want)
			}
		})
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, issues := Check([]byte("helth: /x\nrelease: [a]\nbuild:\n  - {name: a, run: x, bogus: 1}\ncron: 3\n"), "b.yaml")
	var keys []string
	for _, i := range issues {
		keys = append(keys, i.Key)
	}
	if want := []string{"helth", "release", "build[0].bogus", "cron"}; !reflect.DeepEqual(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
}

func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(Schema())))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("bosman.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("bosman.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchemaAgrees holds schema and parser to the same verdict.
func TestSchemaAgrees(t *testing.T) {
	s := compiled(t)
	good := []string{
		string(example(t)), "{}", "env: {A: 1, B: true, C: x}", "instances: {preview: }", "processes: {web: x}",
		"processes: {web: {run: x, count: 1}, w: {run: y, count: 0, stop_timeout: 1m30s}}", "data: [media/, a/b]",
		"static: {/s/: a}", "build: [{name: a, run: x, inputs: ['**/*.py'], timeout: 10m}]", "x-anything: [1, {a: b}]",
		"after: [{run: x}]", "migrations: {tool: django}", "migrations: {tool: golang-migrate}", "guard: ./which-db", "health: /", "checks: [{get: '/a?b=c'}]",
		"instances: {live: {domains: [a.example.pl]}, staging: {domains: [s.example.pl], follow: develop, seed: x}, testing: {copy: staging, workers: true}}", "tasks: {shell: x}",
		"paths: [backend/**]", "paths: ['!docs', '!**/*.md', lib]", "root: backend", "templates: {a.tmpl: b}", "database: sqlite",
		"database: {}", "database: {engine: mariadb, mask: {users.email: email}}", "database: {url_from: LIVE_URL, extensions: [hstore, uuid-ossp]}", "database: {engine: postgres, mask: {'a.\"b.c\"': 'constant:x', s.t.c: \"null\", d.e: null}, mask_sql: [mask/all.sql], mask_types: [email]}",
		"database: {mask_types: [], mask: {u.e: hash}}", "{database: postgres, databases: {reports: postgres, x9: {engine: postgres, mask: {a.b: keep}}}}", "databases: {}",
		"{database: {mask: {u.e: email}}, databases: {r: {mask_sql: [a.sql]}}, instances: {testing: {copy: live, pool: 2}, preview: {copy: live, pool: 0}}}",
		"instances: {live: {backup: {keep: 3, for: 90d, at: '30 2 * * *'}}, preview: {idle: 2d12h}}",
	}
	bad := []string{
		"unknown: 1", "env: [a]", "env: {1A: x}", "env: {BOSMAN_X: y}", "env: {A: [x]}", "build: {}", "build: [{name: a}]", "build: [{run: a}]",
		"build: [{name: a, run: ''}]", "build: [{name: a, run: x, allow_failure: true}]", "test: [{name: a, run: x, outputs: [b]}]",
		"build: [{name: a, run: x, variants: {default: {}}}]", "build: [{name: a, run: x, outputs: [o], variants: {live: {}}}]",
		"processes: {Web: x}", "processes: {web: {count: 1}}", "processes: {web: {run: x, count: 2}}", "processes: {w: {run: x, count: -1}}", "processes: {w: {run: x, stop_timeout: 5}}",
		"cron: {a: 'x'}", "cron: {a: {at: '* *', run: x}}", "static: {s: a}", "static: {/: a}", "static: {/s: /etc}", "data: [.]", "data: [../a]", "data: [a/../../b]",
		"data: ['']", "data: [.git/x]", "templates: {a: /b}", "health: healthz", "health: //x", "health: 1", "checks: [{status: 200}]", "checks: [{get: /, status: 99}]",
		"database: mysql", "database:", "database: ''", "database: {engine: mysql}", "database: {url: x}", "database: {mask: {email: email}}", "database: {mask: {a.b.c.d: email}}", "database: {mask: {u.e: mail}}", "database: {mask: [u.e]}",
		"database: {mask_types: [shoe]}", "database: {mask_sql: [/etc/x.sql]}", "database: {mask_sql: x}", "database: {extensions: [a b]}", "database: {engine: sqlite, extensions: [hstore]}", "database: {engine: none, mask: {u.e: email}}",
		"database: {url_from: BOSMAN_URL}", "database: {url_from: a b}", "database: {engine: sqlite, url_from: X}", "databases: {reports: postgres}", "{database: none, databases: {reports: postgres}}", "{database: postgres, databases: {reports: none}}", "{database: postgres, databases: {reports: sqlite}}", "{database: sqlite, databases: {reports: postgres}}", "{database: postgres, databases: {reports: {url_from: X}}}", "{database: {url_from: X}, databases: {reports: postgres}}", "{database: postgres, databases: {main: postgres}}",
		"{database: postgres, databases: {Re: postgres}}", "{database: {mask: {u.e: email}}, databases: {r: postgres}, instances: {preview: {copy: live}}}", "{database: {mask: {}}, instances: {testing: {copy: live}}}",
		"instances: {testing: {pool: 51}}", "instances: {staging: {pool: 1}}", "instances: {live: {backup: {for: 90}}}", "instances: {live: {backup: {at: night}}}",
		"instances: {testing: {max: 3}}", "instances: {testing: {idle: 1h}}", "instances: {testing: {seed: x}}", "instances: {preview: {seed: x}}", "instances: {preview: {domains: [a.example.pl]}}",
		"paths: ['!../x']", "paths: ['!/x']", "build: [{name: a, run: x, inputs: ['!a']}]", "test: [{name: a, run: x, reports: {lint: '!a'}}]",
		"tasks: {Shell: x}", "after: [{when: never, run: x}]", "migrations: {tool: sqlx}", "instances: {qa: {}}",
		"instances: {testing: {copy: live}}", "instances: {live: {deploy: {after: live}}}", "instances: {live: {follow: main}}", "instances: {live: {seed: x}}",
		"instances: {staging: {deploy: {at_hand: 1}}}", "instances: {preview: {idle: soon}}", "instances: {preview: {max: 0}}", "instances: {live: {backup: {verify: never}}}",
		"instances: {live: {domains: [UP.pl]}}", "instances: {live: {watch: {for: 10}}}", "paths: x", "paths: [/x]", "root: ..", "timezone: 1", "- a", "release: ''", "release:",
	}
	for _, text := range good {
		if _, err := Parse([]byte(text), ""); err != nil {
			t.Errorf("the parser refuses %q: %v", text, err)
		}
		if err := validate(t, s, text); err != nil {
			t.Errorf("the schema refuses %q: %v", text, err)
		}
	}
	for _, text := range bad {
		if _, err := Parse([]byte(text), ""); err == nil {
			t.Errorf("the parser accepts %q", text)
		}
		if err := validate(t, s, text); err == nil {
			t.Errorf("the schema accepts %q", text)
		}
	}
}

func validate(t testing.TB, s *jsonschema.Schema, text string) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

// TestEveryKeyIsKnown walks the tags of the nouns: each must be in the schema
// and be accepted by the parser's own list of keys.
func TestEveryKeyIsKnown(t *testing.T) {
	known := string(Schema())
	var walk func(typ reflect.Type)
	seen := map[reflect.Type]bool{}
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			tag := f.Tag.Get("yaml")
			if tag == "-" {
				continue
			}
			if !strings.Contains(known, `"`+tag+`":`) {
				t.Errorf("%s.%s: %s is not in the schema", typ.Name(), f.Name, tag)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[bosman.Manifest]())
	m := reflect.TypeFor[bosman.Manifest]()
	for i := range m.NumField() {
		tag := m.Field(i).Tag.Get("yaml")
		if tag == "-" {
			continue
		}
		_, issues := Check([]byte(tag+": !!bogus [[1]]\n"), "")
		for _, is := range issues {
			if strings.HasPrefix(is.Message, "unknown key") {
				t.Errorf("the parser does not know %s", tag)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example(f))
	for _, s := range []string{"a: &a [*a]", "build: [{name: a, run: |\n x", "? a\n: b", "<<: {a: b}", "env: {<<: [x]}", "!!map", "a: !!binary x", "\t", "- - -", "x-a: &a {b: *a}\nenv: *a", "%YAML 1.2\n---\n", "cron: {a: {at: '*/0 * * * *', run: x}}", "env:\n  A: &x\n  B: *x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data, "bosman.yaml")
		if (m == nil) == (err == nil) {
			t.Fatalf("manifest %v and error %v", m, err)
		}
		if err != nil && bosman.KindOf(err) != bosman.KindInvalid {
			t.Fatalf("kind of %v", err)
		}
		if m != nil {
			Definition(m)
			Loosens(m, m)
			GuardCommand(m)
		}
	})
}

// TestTheDemosFile holds that the file of the demo application is accepted by
// parser and schema.
func TestTheDemosFile(t *testing.T) {
	data, err := os.ReadFile("../examples/rms/bosman.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(data, "bosman.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, compiled(t), string(data)); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(GuardCommand(m), ".venv/bin/python manage.py shell -c '") {
		t.Errorf("guard %q", GuardCommand(m))
	}
}
