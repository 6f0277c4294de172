package manifest

import (
	"encoding/json"
	"regexp"
	"sort"
	"strings"

	"github.com/bosman-cd/bosman"
)

// guardProgram prints the database that Django would use as one JSON line.
// It opens no connection. It holds no single quote, for the shell's sake.
const guardProgram = `import json
from django.db import connection
s = connection.settings_dict
o = s.get("OPTIONS") or {}
e = s.get("ENGINE", "").rsplit(".", 1)[-1]
k = {"postgresql": "postgres", "postgresql_psycopg2": "postgres", "postgis": "postgres", "sqlite3": "sqlite", "spatialite": "sqlite", "mysql": "mariadb"}
v = lambda a, b: str(s.get(a) or o.get(b) or "")
h = v("HOST", "host")
h = str(o.get("unix_socket") or h) if e == "mysql" and h in ("", "localhost") else h
print(json.dumps({"engine": k.get(e, e), "name": v("NAME", "dbname"), "host": h, "port": v("PORT", "port"), "user": v("USER", "user"), "service": str(o.get("service") or "")}))`

var managePy = regexp.MustCompile(`(?:^|[\s;&|(])((?:[\w./~-]*/)?python[0-9.]*)\s+(?:-[A-Za-z]+\s+)*((?:[\w.-]+/)*manage\.py)\b`)

// GuardCommand is the shell command that prints the database the application
// would use as one line of JSON: {engine, name, host, port, user}. It is
// guard: of the file, else one for Django when the file's commands mention
// manage.py, else "": the application cannot be asked.
func GuardCommand(m *bosman.Manifest) string {
	if m == nil {
		return ""
	}
	if m.Guard != "" {
		return m.Guard
	}
	for _, command := range commands(m) {
		if hit := managePy.FindStringSubmatch(command); hit != nil {
			return hit[1] + " " + hit[2] + " shell -c '" + guardProgram + "'"
		}
	}
	return ""
}

func commands(m *bosman.Manifest) []string {
	list := []string{m.Release}
	for _, k := range sorted(m.Processes) {
		list = append(list, m.Processes[k].Run)
	}
	for _, s := range append(append([]bosman.Step{}, m.Build...), m.Test...) {
		list = append(list, s.Run)
	}
	for _, k := range sorted(m.Cron) {
		list = append(list, m.Cron[k].Run)
	}
	for _, k := range sorted(m.Tasks) {
		list = append(list, m.Tasks[k])
	}
	return list
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	sort.Strings(names)
	return names
}

// GuardAnswer is what the application said about its database. Engine is
// postgres, sqlite or the name of another one; Host is "" or a folder for a
// Unix socket; Port may be "". Service is a name in a pg_service.conf, which
// hides the rest.
type GuardAnswer struct {
	Engine  string `json:"engine"`
	Name    string `json:"name"`
	Host    string `json:"host"`
	Port    string `json:"port"`
	User    string `json:"user"`
	Service string `json:"service"`
}

// ParseGuard reads the output of GuardCommand: the last line that is the
// answer counts, since applications print things of their own when they start.
func ParseGuard(output string) (GuardAnswer, error) {
	lines := strings.Split(output, "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var raw map[string]any
		dec := json.NewDecoder(strings.NewReader(line))
		dec.UseNumber()
		if dec.Decode(&raw) != nil || raw["engine"] == nil {
			continue
		}
		get := func(k string) string {
			switch v := raw[k].(type) {
			case string:
				return v
			case json.Number:
				return v.String()
			}
			return ""
		}
		return GuardAnswer{get("engine"), get("name"), get("host"), get("port"), get("user"), get("service")}, nil
	}
	return GuardAnswer{}, bosman.Failed("the application did not say which database it would use").
		WithKept("no database was touched").
		WithNext("run the guard command by hand in the release and see why it prints no JSON line")
}
