package database

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	bosman "github.com/bosman-cd/bosman"
)

// URL is the address of d as applications read it from DATABASE_URL:
// postgres://user:password@/name?host=/socket/folder&port=5432,
// mysql://user:password@localhost/name?unix_socket=/socket/file, or
// sqlite:////path for a file. It holds the password. "" for no database.
func URL(d bosman.Database) string {
	switch d.Engine {
	case "":
		return ""
	case "sqlite":
		return "sqlite:///" + (&url.URL{Path: d.Name}).EscapedPath()
	}
	u := url.URL{Scheme: d.Scheme(), User: url.UserPassword(d.User, d.Password), Path: "/" + d.Name}
	if s := d.Socket(); s != "" {
		u.Host, u.RawQuery = "localhost", url.Values{"unix_socket": {s}}.Encode()
	} else if strings.HasPrefix(d.Host, "/") {
		u.RawQuery = url.Values{"host": {d.Host}, "port": {strconv.Itoa(d.Port)}}.Encode()
	} else {
		u.Host, u.RawQuery = d.Host+":"+strconv.Itoa(d.Port), d.Params
	}
	return u.String()
}

// Reported is the database an application says it would use.
type Reported struct {
	Engine string // as the application names it: postgresql, django.db.backends.sqlite3
	Name   string
	User   string
	Host   string // "" means the driver's default; a socket's folder, or its file for MariaDB
	Port   string // "" means the engine's own
}

// ParseReported reads what an application printed: a URL as in DATABASE_URL,
// or a JSON object with ENGINE, NAME, USER, HOST, PORT and OPTIONS.host in any
// case, as Django's settings have them. Other lines around it are ignored, the
// last that can be read counts. KindInvalid if there is none.
func ParseReported(text string) (Reported, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		if strings.HasPrefix(line, "{") {
			if r, ok := reportedJSON(line); ok {
				return r, nil
			}
		} else if strings.Contains(line, "://") {
			if r, ok := reportedURL(line); ok {
				return r, nil
			}
		}
	}
	return Reported{}, bosman.Invalid("the application did not say which database it would use").
		WithNext(`let the guard command print a URL such as DATABASE_URL or a JSON object with ENGINE, NAME, HOST and PORT on one line`)
}

func reportedJSON(line string) (Reported, bool) {
	var raw map[string]any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if d.Decode(&raw) != nil {
		return Reported{}, false
	}
	get := func(m map[string]any, key string) string {
		for k, v := range m {
			if !strings.EqualFold(k, key) {
				continue
			}
			switch v := v.(type) {
			case string:
				return v
			case json.Number:
				return v.String()
			}
		}
		return ""
	}
	r := Reported{Engine: get(raw, "engine"), Name: get(raw, "name"), User: get(raw, "user"), Host: get(raw, "host"), Port: get(raw, "port")}
	for k, v := range raw {
		if options, ok := v.(map[string]any); ok && strings.EqualFold(k, "options") {
			if h := get(options, "host"); h != "" {
				r.Host = h
			}
			if s := get(options, "unix_socket"); s != "" && viaSocket(r.Host) {
				r.Host = s
			}
			if p := get(options, "port"); p != "" {
				r.Port = p
			}
		}
	}
	return r, r.Engine != "" && r.Name != ""
}

func reportedURL(line string) (Reported, bool) {
	scheme, rest, _ := strings.Cut(line, "://")
	if strings.Contains(scheme, "sqlite") {
		path, _, _ := strings.Cut(rest, "?")
		name, err := url.PathUnescape(strings.TrimPrefix(path, "/"))
		return Reported{Engine: scheme, Name: name}, err == nil && name != ""
	}
	host := ""
	if auth, path, ok := strings.Cut(rest, "/"); ok { // %2F in the host: net/url refuses it, libpq allows it
		if at := strings.LastIndexByte(auth, '@'); strings.Contains(strings.ToLower(auth[at+1:]), "%2f") {
			h, port, _ := strings.Cut(auth[at+1:], ":")
			decoded, err := url.PathUnescape(h)
			if err != nil {
				return Reported{}, false
			}
			host, rest = decoded, auth[:at+1]+"placeholder"
			if port != "" {
				rest += ":" + port
			}
			rest += "/" + path
		}
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil {
		return Reported{}, false
	}
	r := Reported{Engine: scheme, Name: strings.TrimPrefix(u.Path, "/"), User: u.User.Username(), Host: u.Hostname(), Port: u.Port()}
	if host != "" {
		r.Host = host
	}
	if h := u.Query().Get("host"); h != "" {
		r.Host = h
	}
	for _, key := range []string{"unix_socket", "socket", "socketPath"} {
		if s := u.Query().Get(key); s != "" && viaSocket(r.Host) {
			r.Host = s
		}
	}
	if p := u.Query().Get("port"); p != "" {
		r.Port = p
	}
	return r, r.Name != ""
}

// Same says whether what the application reported is d: the same engine, name,
// host or socket, and port. When in doubt it is not.
func Same(d bosman.Database, r Reported) bool {
	engine := strings.ToLower(r.Engine)
	switch d.Engine {
	case "sqlite":
		return strings.Contains(engine, "sqlite") && samePath(d.Name, r.Name)
	case "postgres":
		if !strings.Contains(engine, "postg") && !strings.Contains(engine, "psycopg") && engine != "pgx" {
			return false
		}
	case "mariadb":
		if !strings.Contains(engine, "mysql") && !strings.Contains(engine, "mariadb") {
			return false
		}
	default:
		if d.Engine == "" || !strings.Contains(engine, d.Engine) {
			return false
		}
	}
	if r.Name != d.Name || r.Host == "" || r.User != "" && r.User != d.User {
		return false
	}
	if s := d.Socket(); s != "" { // a socket has no port
		return samePath(s, r.Host)
	}
	port := r.Port
	if port == "" {
		port = map[string]string{"mariadb": "3306"}[d.Engine]
	}
	if port == "" {
		port = "5432"
	}
	if port != strconv.Itoa(d.Port) {
		return false
	}
	if strings.HasPrefix(d.Host, "/") {
		return samePath(d.Host, r.Host)
	}
	return strings.EqualFold(d.Host, r.Host)
}

// viaSocket says whether MySQL's clients use the socket they are given along
// with this host.
func viaSocket(host string) bool { return host == "" || strings.EqualFold(host, "localhost") }

func samePath(a, b string) bool {
	if !filepath.IsAbs(a) || !filepath.IsAbs(b) {
		return false
	}
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	ra, errA := filepath.EvalSymlinks(a)
	rb, errB := filepath.EvalSymlinks(b)
	return errA == nil && errB == nil && ra == rb
}
