package bosman

import "strings"

// Socket is the Unix socket of a MariaDB whose Host is a folder of this
// machine; "" where there is none. (PostgreSQL's clients take the folder and
// the port, MariaDB's the socket.)
func (d Database) Socket() string {
	if d.Engine != EngineMariaDB || !strings.HasPrefix(d.Host, "/") {
		return ""
	}
	return d.Host + "/mysqld.sock"
}

// Scheme begins the database's URL, as applications know it.
func (d Database) Scheme() string {
	if d.Engine == EngineMariaDB {
		return "mysql"
	}
	return d.Engine
}
