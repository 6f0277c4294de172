package manifest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
)

func parse(t testing.TB, text string) *bosman.Manifest {
	t.Helper()
	m, err := Parse([]byte(text), "")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDefinition(t *testing.T) {
	base := Definition(parse(t, "env: {A: 1, B: 2}\nbuild: [{name: a, run: x, secrets: [S]}]\n"))
	if len(base) != 64 {
		t.Fatalf("definition %q", base)
	}
	for text, same := range map[string]bool{
		"# comment\nbuild:\n  - run: x\n    secrets: [S]\n    name: a\nenv: {B: 2, A: 1}\nhealth: /h\ntest: [{name: t, run: y}]": true,
		"env: {A: 1, B: 3}\nbuild: [{name: a, run: x, secrets: [S]}]":                                                            false,
		"env: {A: 1, B: 2}\nbuild: [{name: a, run: x, secrets: [T]}]":                                                            false,
		"env: {A: 1, B: 2}\nbuild: [{name: a, run: z, secrets: [S]}]":                                                            false,
		"env: {A: 1, B: 2}\nbuild: [{name: a, run: x, secrets: [S]}]\ndata: [media/]":                                            false,
	} {
		if got := Definition(parse(t, text)) == base; got != same {
			t.Errorf("%q: same %v, want %v", text, got, same)
		}
	}
}

func TestLoosens(t *testing.T) {
	live := func(s string) string { return "timezone: Europe/Warsaw\ninstances: {live: {" + s + "}}" }
	const strict = `deploy: {window: "Mon-Thu 09:00-15:00", at_hand: 2}, backup: {keep: 30, for: 90d, at: "30 2 * * *"}, watch: {for: 10m, revert: true}`
	for _, c := range []struct{ name, next, want string }{
		{"nothing", live(strict), ""},
		{"window wider", live(strings.Replace(strict, "15:00", "16:00", 1)), "live may be deployed Mon-Thu 09:00-16:00, not only Mon-Thu 09:00-15:00"},
		{"window narrower", live(strings.Replace(strict, "Mon-Thu", "Mon-Wed", 1)), ""},
		{"window gone", live(strings.Replace(strict, `window: "Mon-Thu 09:00-15:00", `, "", 1)), "live may be deployed always, not only Mon-Thu 09:00-15:00"},
		{"zone moved", strings.Replace(live(strict), "Europe/Warsaw", "UTC", 1), "moves from the zone Europe/Warsaw to UTC"},
		{"at hand", live(strings.Replace(strict, "at_hand: 2", "at_hand: 1", 1)), "live needs 1 people at hand, not 2"},
		{"after", live(strings.Replace(strict, "at_hand: 2", "at_hand: 2, after: testing-anna", 1)), "after testing-anna, not after staging"},
		{"keep", live(strings.Replace(strict, "keep: 30", "keep: 3", 1)), "3 backups of live are kept, not 30"},
		{"verify", live(strings.Replace(strict, "keep: 30", "keep: 30, verify: nightly", 1)), "verified at night"},
		{"watch", live(strings.Replace(strict, "10m", "1m", 1)), "watched for 1m0s after a deployment, not 10m0s"},
		{"revert", live(strings.Replace(strict, "revert: true", "revert: false", 1)), "no longer reverted by itself"},
		{"kept for less", live(strings.Replace(strict, "for: 90d", "for: 9d", 1)), "backups of live are kept for 9 days, not 90 days"},
		{"schedule gone", live(strings.Replace(strict, `, at: "30 2 * * *"`, "", 1)), `before deployments only, no longer at "30 2 * * *"`},
		{"all dropped", "{}", "live may be deployed always"},
	} {
		got := strings.Join(Loosens(parse(t, live(strict)), parse(t, c.next)), "; ")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := Loosens(nil, parse(t, "{}")); got != nil {
		t.Errorf("without an old file: %v", got)
	}
	if err := Incompatible(parse(t, "database: postgres"), parse(t, "database: sqlite")); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a changed kind of database: %v", err)
	}
}

func TestGuardCommand(t *testing.T) {
	for text, want := range map[string]string{
		"release: python3 manage.py migrate --noinput":                        "python3 manage.py shell -c '",
		"release: cd x && .venv/bin/python -u app/manage.py migrate":          ".venv/bin/python app/manage.py shell -c '",
		"release: ./migrate\ntest: [{name: a, run: 'python manage.py test'}]": "python manage.py shell -c '",
		"guard: ./which":           "./which",
		"release: npm run migrate": "",
	} {
		got := GuardCommand(parse(t, text))
		if !strings.HasPrefix(got, want) || (want == "") != (got == "") {
			t.Errorf("%q: %q", text, got)
		}
	}
	if strings.Contains(guardProgram, "'") {
		t.Error("a single quote would end the shell's")
	}
}

func TestParseGuard(t *testing.T) {
	a, err := ParseGuard("loading…\n{\"x\": 1}\n{\"engine\": \"postgres\", \"name\": \"rms\", \"host\": \"/run\", \"port\": 5432, \"user\": \"u\"}\nbye\n")
	if err != nil || a != (GuardAnswer{Engine: "postgres", Name: "rms", Host: "/run", Port: "5432", User: "u"}) {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := ParseGuard("Traceback\n"); bosman.KindOf(err) != bosman.KindFailed {
		t.Errorf("no answer: %v", err)
	}
}

// TestGuardAsksDjango runs the command against a real Django project.
func TestGuardAsksDjango(t *testing.T) {
	need.File(t, "/usr/lib/python3/dist-packages/django/__init__.py", "python3-django")
	for _, c := range []struct {
		settings string
		want     GuardAnswer
	}{
		{`{"ENGINE": "django.db.backends.postgresql", "NAME": "it's", "USER": "u", "HOST": "/run/pg", "PORT": 5433}`, GuardAnswer{Engine: "postgres", Name: "it's", Host: "/run/pg", Port: "5433", User: "u"}},
		{`{"ENGINE": "django.db.backends.postgresql", "NAME": "n", "OPTIONS": {"host": "db1", "service": "svc"}}`, GuardAnswer{Engine: "postgres", Name: "n", Host: "db1", Service: "svc"}},
		{`{"ENGINE": "django.db.backends.mysql", "NAME": "n", "USER": "u", "HOST": "/run/m/mysqld.sock"}`, GuardAnswer{Engine: "mariadb", Name: "n", Host: "/run/m/mysqld.sock", User: "u"}},
		{`{"ENGINE": "django.db.backends.mysql", "NAME": "n", "HOST": "localhost", "OPTIONS": {"unix_socket": "/run/m/mysqld.sock"}}`, GuardAnswer{Engine: "mariadb", Name: "n", Host: "/run/m/mysqld.sock"}},
		{`{"ENGINE": "django.db.backends.mysql", "NAME": "n", "HOST": "db1", "OPTIONS": {"unix_socket": "/run/m/mysqld.sock"}}`, GuardAnswer{Engine: "mariadb", Name: "n", Host: "db1"}},
		{`{"ENGINE": "django.db.backends.sqlite3", "NAME": "/x/db.sqlite3"}`, GuardAnswer{Engine: "sqlite", Name: "/x/db.sqlite3"}},
	} {
		dir := t.TempDir()
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("manage.py", "import os, sys\nos.environ['DJANGO_SETTINGS_MODULE'] = 'conf'\nfrom django.core.management import execute_from_command_line\nprint('hello')\nexecute_from_command_line(sys.argv)\n")
		write("conf.py", "SECRET_KEY = 'x'\nDATABASES = {'default': "+c.settings+"}\n")
		cmd := exec.Command("sh", "-c", GuardCommand(&bosman.Manifest{Release: "/usr/bin/python3 manage.py migrate"}))
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got, err := ParseGuard(string(out))
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", c.settings, got, err)
		}
	}
}

func TestSchemaIsJSON(t *testing.T) {
	var v map[string]any
	if err := json.Unmarshal(Schema(), &v); err != nil {
		t.Fatal(err)
	}
}

func TestLoosensMasks(t *testing.T) {
	const masked = "database: {mask: {users.email: email, users.phone: phone, users.note: keep}, mask_sql: [a.sql]}\ninstances: {testing: {copy: live}}"
	for _, c := range []struct{ name, next, want string }{
		{"nothing", masked, ""},
		{"no mask", strings.Replace(masked, "users.phone: phone, ", "", 1), "copies of live show users.phone unmasked"},
		{"another mask", strings.Replace(masked, "phone: phone", "phone: keep", 1), "copies of live show users.phone as keep, not as phone"},
		{"looked at", strings.Replace(masked, "note: keep", "note: text", 1), ""},
		{"kept", strings.Replace(masked, "users.note: keep", "users.note: keep, users.iban: keep", 1), "copies of live show users.iban as it is"},
		{"SQL", strings.Replace(masked, ", mask_sql: [a.sql]", "", 1), "copies of live are made without a.sql"},
		{"types", strings.Replace(masked, "[a.sql]", "[a.sql], mask_types: [email]", 1), "may show columns of the type phone"},
		{"not live any more", strings.Replace(masked, "copy: live", "copy: staging", 1), ""},
	} {
		got := strings.Join(Loosens(parse(t, masked), parse(t, c.next)), "; ")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := strings.Join(Loosens(parse(t, strings.Replace(masked, "copy: live", "copy: staging", 1)), parse(t, masked)), "; "); got != "testing instances get copies of live's data, masked" {
		t.Errorf("copies of live begin: %q", got)
	}
	further, changed := parse(t, "{database: postgres, databases: {r: postgres}}"), parse(t, "{database: postgres, databases: {r: postgres}}")
	changed.Databases["r"] = bosman.DatabaseSpec{Engine: bosman.EngineSQLite}
	if err := Incompatible(further, changed); err == nil || !strings.Contains(err.Error(), "the database r from postgres to sqlite") {
		t.Errorf("a changed kind of a further database: %v", err)
	}
	if err := Incompatible(parse(t, "database: postgres"), further); err != nil {
		t.Errorf("a further database: %v", err)
	}
	if err := Incompatible(parse(t, "database: postgres"), parse(t, "{database: {url_from: X}}")); err != nil {
		t.Errorf("an adopted one: %v", err)
	}
}
