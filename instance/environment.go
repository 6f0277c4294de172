// Package instance runs instances: it assembles what a release needs to run
// as an instance (environment, mounts, templates), starts it through a
// runtime, judges whether it is well, and keeps what should run running. It
// must not know deployments, the store or how a runtime does its work.
package instance

import (
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/confine"
	"github.com/bosman-cd/bosman/instance/runtime"
)

// Surroundings is what an instance's environment is made of.
type Surroundings struct {
	Instance      bosman.Instance            // App, Name, Kind, URL, Database
	Further       map[string]bosman.Database // further databases by name: "reports" is REPORTS_DATABASE_URL
	Release       int
	Commit        string
	Team          map[string]string // env: of bosman.yaml
	Secrets       map[string]string // set for the kind and the instance, merged
	SecretKey     string            // made once for the instance and kept
	Hosts         []string          // every host name it answers to, without ports
	Origins       []string          // every address it answers at: scheme://host[:port]
	Mail          Mail              // the sink; zero on live, where the team's secrets say
	SentryDSN     string            // our own error intake; "" for none
	SentryRelease string            // the name by which our error intake knows the release
}

// Mail is an SMTP server.
type Mail struct {
	Host           string
	Port           int
	User, Password string
}

// Environment gives the complete environment of an instance's processes and
// commands, sorted, as "NAME=value". From weakest to strongest:
//
//  1. defaults: PATH, HOME, LANG, PYTHONUNBUFFERED
//  2. what Bosman offers: DATABASE_URL and its kin, SECRET_KEY,
//     ALLOWED_HOSTS, CSRF_TRUSTED_ORIGINS, EMAIL_*, SENTRY_*
//  3. the team's env: of bosman.yaml
//  4. the secrets set for the instance
//  5. BOSMAN_*, which state facts
//
// A team that sets SENTRY_DSN itself gets no SENTRY_* of ours, so that its
// release names stay its own; and no variable of a kind (DATABASE_URL, say)
// of the team's is ever replaced. PORT and BOSMAN_SOCKET are added for each
// process by the runtime.
func Environment(s Surroundings) []string {
	env := map[string]string{
		"PATH": confine.DefaultPath, "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1",
	}
	set := func(name, value string) {
		if value != "" {
			env[name] = value
		}
	}
	maps.Copy(env, databaseEnvironment(s.Instance.Database))
	for name, d := range s.Further {
		set(strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"_DATABASE_URL", DatabaseURL(d))
	}
	set("SECRET_KEY", s.SecretKey)
	set("ALLOWED_HOSTS", strings.Join(s.Hosts, ","))
	set("CSRF_TRUSTED_ORIGINS", strings.Join(s.Origins, ","))
	maps.Copy(env, mailEnvironment(s.Mail))
	if s.Team["SENTRY_DSN"] == "" && s.Secrets["SENTRY_DSN"] == "" {
		set("SENTRY_DSN", s.SentryDSN)
	}
	if env["SENTRY_DSN"] != "" {
		set("SENTRY_RELEASE", s.SentryRelease)
		set("SENTRY_ENVIRONMENT", s.Instance.Name)
	}
	maps.Copy(env, s.Team)
	maps.Copy(env, s.Secrets)
	set("BOSMAN_APP", s.Instance.App)
	set("BOSMAN_INSTANCE", s.Instance.Name)
	set("BOSMAN_KIND", string(s.Instance.Kind))
	set("BOSMAN_RELEASE", s.releaseName())
	set("BOSMAN_COMMIT", s.Commit)
	set("BOSMAN_URL", s.Instance.URL)
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}

func (s Surroundings) releaseName() string {
	if s.Release == 0 {
		return ""
	}
	return bosman.Ref(bosman.LetterRelease, s.Release)
}

// DatabaseURL is the database as a URL, every part escaped:
// postgres://user:pw@/name?host=/sock/dir&port=5433 for a socket folder,
// postgres://user:pw@host:5432/name for a host,
// mysql://user:pw@localhost/name?unix_socket=/sock/file for MariaDB, sqlite:////path for SQLite;
// "" for none.
func DatabaseURL(d bosman.Database) string {
	switch d.Engine {
	case "sqlite":
		return "sqlite:///" + (&url.URL{Path: d.Name}).EscapedPath()
	case "":
		return ""
	}
	u := url.URL{Scheme: d.Scheme(), Path: "/" + d.Name, RawPath: "/" + url.PathEscape(d.Name)}
	if d.Password != "" {
		u.User = url.UserPassword(d.User, d.Password)
	} else if d.User != "" {
		u.User = url.User(d.User)
	}
	if !strings.HasPrefix(d.Host, "/") {
		u.Host = d.Host
		if d.Port != 0 {
			u.Host = net.JoinHostPort(d.Host, strconv.Itoa(d.Port))
		}
		u.RawQuery = d.Params
		return u.String()
	}
	if s := d.Socket(); s != "" {
		u.Host = "localhost"
		return u.String() + "?unix_socket=" + strings.ReplaceAll(url.QueryEscape(s), "%2F", "/")
	}
	query := "host=" + strings.ReplaceAll(url.QueryEscape(d.Host), "%2F", "/")
	if d.Port != 0 {
		query += "&port=" + strconv.Itoa(d.Port)
	}
	who := ""
	if u.User != nil {
		who = u.User.String() + "@"
	}
	return d.Scheme() + "://" + who + u.RawPath + "?" + query
}

func databaseEnvironment(d bosman.Database) map[string]string {
	env := map[string]string{}
	set := func(value string, names ...string) {
		for _, n := range names {
			if value != "" {
				env[n] = value
			}
		}
	}
	set(DatabaseURL(d), "DATABASE_URL")
	if d.Engine == "sqlite" {
		set(d.Name, "DATABASE_PATH", "DATABASE_NAME", "DB_NAME", "DB_PATH")
		return env
	}
	port := ""
	if d.Port != 0 {
		port = strconv.Itoa(d.Port)
	}
	set(d.Name, "DB_NAME", "DB_DATABASE", "DATABASE_NAME")
	set(d.User, "DB_USER", "DB_USERNAME", "DATABASE_USER")
	set(d.Password, "DB_PASSWORD", "DATABASE_PASSWORD")
	host := d.Host
	if s := d.Socket(); s != "" {
		host = s
	}
	set(host, "DB_HOST", "DATABASE_HOST")
	set(port, "DB_PORT", "DATABASE_PORT")
	if d.Engine == "mariadb" {
		set(d.Name, "MYSQL_DATABASE", "MARIADB_DATABASE")
		set(d.User, "MYSQL_USER", "MARIADB_USER")
		set(d.Password, "MYSQL_PASSWORD", "MYSQL_PWD", "MARIADB_PASSWORD")
		set(d.Socket(), "DB_SOCKET", "MYSQL_SOCKET", "MYSQL_UNIX_PORT") // the last is what MariaDB's own library reads
		if d.Socket() == "" {
			set(d.Host, "MYSQL_HOST", "MARIADB_HOST")
			set(port, "MYSQL_PORT", "MARIADB_PORT")
		} else {
			set("localhost", "MYSQL_HOST", "MARIADB_HOST") // by which clients mean the socket
		}
	}
	if d.Engine == "postgres" {
		set(d.Name, "POSTGRES_DB", "PGDATABASE")
		set(d.User, "POSTGRES_USER", "PGUSER")
		set(d.Password, "POSTGRES_PASSWORD", "PGPASSWORD")
		set(d.Host, "POSTGRES_HOST", "PGHOST")
		set(port, "POSTGRES_PORT", "PGPORT")
	}
	return env
}

func mailEnvironment(m Mail) map[string]string {
	if m.Host == "" {
		return nil
	}
	u := url.URL{Scheme: "smtp", Host: net.JoinHostPort(m.Host, strconv.Itoa(m.Port))}
	env := map[string]string{"EMAIL_HOST": m.Host, "EMAIL_PORT": strconv.Itoa(m.Port)}
	if m.User != "" {
		u.User = url.UserPassword(m.User, m.Password)
		env["EMAIL_HOST_USER"], env["EMAIL_HOST_PASSWORD"] = m.User, m.Password
	}
	env["EMAIL_URL"] = u.String()
	return env
}

// Map gives an environment by name.
func Map(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		m[name] = value
	}
	return m
}

// databaseFolder is the folder through which the database is reached; "" if
// it is not a folder of this host.
func databaseFolder(d bosman.Database) (path string, writable bool) {
	switch {
	case d.Engine == "sqlite" && filepath.IsAbs(d.Name):
		return filepath.Dir(d.Name), true
	case strings.HasPrefix(d.Host, "/"):
		return d.Host, false
	}
	return "", false
}

// databaseFolders are the folders through which the databases are reached.
func databaseFolders(s Surroundings) []runtime.Mount {
	var out []runtime.Mount
	add := func(d bosman.Database) {
		dir, writable := databaseFolder(d)
		if dir != "" && !slices.ContainsFunc(out, func(m runtime.Mount) bool { return m.Target == dir }) {
			out = append(out, runtime.Mount{Source: dir, Target: dir, Writable: writable})
		}
	}
	add(s.Instance.Database)
	for _, name := range slices.Sorted(maps.Keys(s.Further)) {
		add(s.Further[name])
	}
	return out
}
