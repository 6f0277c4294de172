package instance_test

import (
	"net/url"
	"slices"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance"
)

func around(change func(*instance.Surroundings)) instance.Surroundings {
	s := instance.Surroundings{
		Instance: bosman.Instance{
			App: "rms", Name: "testing-anna", Kind: bosman.KindTesting, URL: "http://testing-anna.rms.localhost:8080",
			Database: bosman.Database{Engine: "postgres", Name: "rms_anna", User: "rms_anna", Password: "p@ss/w?rd", Host: "/run/pg", Port: 5433},
		},
		Release: 136, Commit: "0123456789012345678901234567890123456789", SecretKey: "k3y",
		Hosts: []string{"testing-anna.rms.localhost", "localhost"}, Origins: []string{"http://testing-anna.rms.localhost:8080"},
		Mail:      instance.Mail{Host: "127.0.0.1", Port: 2525, User: "anna", Password: "x:y"},
		SentryDSN: "http://abc@127.0.0.1:8080/1", SentryRelease: "rms@r136+abcdef12",
	}
	if change != nil {
		change(&s)
	}
	return s
}

func TestEnvironmentPrecedence(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*instance.Surroundings)
		want   map[string]string // "-" for absent
	}{
		"what Bosman offers": {nil, map[string]string{
			"DATABASE_URL": "postgres://rms_anna:p%40ss%2Fw%3Frd@/rms_anna?host=/run/pg&port=5433",
			"PGHOST":       "/run/pg", "PGPORT": "5433", "PGDATABASE": "rms_anna", "PGUSER": "rms_anna", "PGPASSWORD": "p@ss/w?rd",
			"DB_NAME": "rms_anna", "DB_HOST": "/run/pg", "DATABASE_PASSWORD": "p@ss/w?rd", "POSTGRES_DB": "rms_anna",
			"SECRET_KEY": "k3y", "ALLOWED_HOSTS": "testing-anna.rms.localhost,localhost",
			"CSRF_TRUSTED_ORIGINS": "http://testing-anna.rms.localhost:8080",
			"EMAIL_HOST":           "127.0.0.1", "EMAIL_PORT": "2525", "EMAIL_HOST_USER": "anna", "EMAIL_URL": "smtp://anna:x%3Ay@127.0.0.1:2525",
			"BOSMAN_APP": "rms", "BOSMAN_INSTANCE": "testing-anna", "BOSMAN_KIND": "testing", "BOSMAN_RELEASE": "r136",
			"BOSMAN_COMMIT": "0123456789012345678901234567890123456789", "BOSMAN_URL": "http://testing-anna.rms.localhost:8080",
			"SENTRY_DSN": "http://abc@127.0.0.1:8080/1", "SENTRY_RELEASE": "rms@r136+abcdef12", "SENTRY_ENVIRONMENT": "testing-anna",
			"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp",
		}},
		"the team's env is stronger": {
			func(s *instance.Surroundings) {
				s.Team = map[string]string{"DATABASE_URL": "sqlite://", "PATH": "/app/.venv/bin:/usr/bin:/bin", "PGHOST": ""}
			},
			map[string]string{"DATABASE_URL": "sqlite://", "PATH": "/app/.venv/bin:/usr/bin:/bin", "PGHOST": "", "PGPORT": "5433"},
		},
		"secrets are stronger still": {
			func(s *instance.Surroundings) {
				s.Team = map[string]string{"EMAIL_HOST": "team", "SECRET_KEY": "team"}
				s.Secrets = map[string]string{"SECRET_KEY": "secret"}
			},
			map[string]string{"EMAIL_HOST": "team", "SECRET_KEY": "secret"},
		},
		"facts cannot be denied": {
			func(s *instance.Surroundings) {
				s.Team = map[string]string{"BOSMAN_KIND": "live"}
				s.Secrets = map[string]string{"BOSMAN_INSTANCE": "live"}
			},
			map[string]string{"BOSMAN_KIND": "testing", "BOSMAN_INSTANCE": "testing-anna"},
		},
		"the team's own error service": {
			func(s *instance.Surroundings) { s.Secrets = map[string]string{"SENTRY_DSN": "https://theirs"} },
			map[string]string{"SENTRY_DSN": "https://theirs", "SENTRY_RELEASE": "-", "SENTRY_ENVIRONMENT": "-"},
		},
		"live sends real mail": {
			func(s *instance.Surroundings) { s.Mail = instance.Mail{} },
			map[string]string{"EMAIL_HOST": "-", "EMAIL_URL": "-"},
		},
		"sqlite": {
			func(s *instance.Surroundings) {
				s.Instance.Database = bosman.Database{Engine: "sqlite", Name: "/srv/data dir/db.sqlite3"}
			},
			map[string]string{"DATABASE_URL": "sqlite:////srv/data%20dir/db.sqlite3", "DB_NAME": "/srv/data dir/db.sqlite3", "PGHOST": "-"},
		},
		"no database": {
			func(s *instance.Surroundings) { s.Instance.Database = bosman.Database{} },
			map[string]string{"DATABASE_URL": "-", "DB_NAME": "-", "PGHOST": "-"},
		},
		"a database over TCP": {
			func(s *instance.Surroundings) { s.Instance.Database.Host = "db.example.org" },
			map[string]string{"DATABASE_URL": "postgres://rms_anna:p%40ss%2Fw%3Frd@db.example.org:5433/rms_anna"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := instance.Environment(around(c.change))
			if !slices.IsSorted(env) {
				t.Error("not sorted")
			}
			got := instance.Map(env)
			for name, want := range c.want {
				if v, ok := got[name]; (want == "-") == ok || (want != "-" && v != want) {
					t.Errorf("%s = %q (set: %v), want %q", name, v, ok, want)
				}
			}
		})
	}
}

func TestFurtherDatabases(t *testing.T) {
	one := func(name string) bosman.Database {
		return bosman.Database{Engine: "postgres", Name: name, User: "u", Password: "p", Host: "/run/pg"}
	}
	env := instance.Map(instance.Environment(instance.Surroundings{
		Instance: bosman.Instance{Database: one("main")}, Further: map[string]bosman.Database{"reports": one("rms$reports__live")},
		Team: map[string]string{"AUDIT_DATABASE_URL": "theirs"},
	}))
	for name, want := range map[string]string{
		"DATABASE_URL": "postgres://u:p@/main?host=/run/pg", "REPORTS_DATABASE_URL": "postgres://u:p@/rms$reports__live?host=/run/pg", "AUDIT_DATABASE_URL": "theirs",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
}

func TestMariaDBEnvironment(t *testing.T) {
	d := bosman.Database{Engine: "mariadb", Name: "rms__anna", User: "rms__anna", Password: "p@ss", Host: "/run/m", Port: 3306}
	got := instance.Map(instance.Environment(instance.Surroundings{Instance: bosman.Instance{Database: d}}))
	for name, want := range map[string]string{
		"DATABASE_URL": "mysql://rms__anna:p%40ss@localhost/rms__anna?unix_socket=/run/m/mysqld.sock",
		"DB_HOST":      "/run/m/mysqld.sock", "DB_SOCKET": "/run/m/mysqld.sock", "MYSQL_UNIX_PORT": "/run/m/mysqld.sock",
		"MYSQL_HOST": "localhost", "MYSQL_DATABASE": "rms__anna", "MYSQL_PWD": "p@ss", "DB_PORT": "3306", "PGHOST": "",
	} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
	d.Host = "db.example.org"
	got = instance.Map(instance.Environment(instance.Surroundings{Instance: bosman.Instance{Database: d}}))
	if got["DATABASE_URL"] != "mysql://rms__anna:p%40ss@db.example.org:3306/rms__anna" || got["MYSQL_HOST"] != "db.example.org" || got["MYSQL_UNIX_PORT"] != "" {
		t.Errorf("over a network: %q", got)
	}
}

func TestDatabaseURLCanBeReadBack(t *testing.T) {
	d := bosman.Database{Engine: "postgres", Name: "we/ird db?", User: "a@b:c", Password: "%&/?#[]@:", Host: "/run/p g&x", Port: 5433}
	u, err := url.Parse(instance.DatabaseURL(d))
	if err != nil {
		t.Fatal(err)
	}
	pw, _ := u.User.Password()
	if u.Path != "/"+d.Name || u.User.Username() != d.User || pw != d.Password || u.Query().Get("host") != d.Host || u.Query().Get("port") != "5433" {
		t.Errorf("%s reads as %q %q %q %q", u, u.Path, u.User.Username(), pw, u.Query())
	}
}
