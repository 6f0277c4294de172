package postgres

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/database/mask"
)

// foreign starts a server that Bosman knows nothing of, over TCP, with a role
// team that owns a database and may make none. It gives both ways in. options
// are settings of the server.
func foreign(t *testing.T, bin string, options ...string) (boss, team bosman.Database) {
	t.Helper()
	owner, err := ground.FindOwner("", software)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir, err := openTemp()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	home := filepath.Join(dir, "foreign")
	data := filepath.Join(home, "data")
	if err := errors.Join(os.Mkdir(home, 0o755), os.Mkdir(data, 0o700), os.WriteFile(filepath.Join(home, "secret"), nil, 0o600)); err != nil { // clearUp knows it by its secret
		t.Fatal(err)
	}
	as := func(program string, args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, program), args...)
		if owner.Switched {
			if err := os.Chown(data, int(owner.UID), int(owner.GID)); err != nil {
				t.Fatal(err)
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.UID, Gid: owner.GID}}
		}
		cmd.Dir = "/"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", program, err, out)
		}
	}
	as("initdb", "-D", data, "-U", "boss", "--encoding=UTF8", "--locale=C.UTF-8", "-A", "scram-sha-256", "--no-sync", "--pwfile", passwordFile(t, "root's"))
	as("pg_ctl", "-D", data, "-w", "-l", filepath.Join(data, "log"), "-o", fmt.Sprintf("-c listen_addresses=127.0.0.1 -p %d -k '' -c fsync=off ", port)+strings.Join(options, " "), "start")
	t.Cleanup(func() { as("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop") })
	boss = bosman.Database{Engine: "postgres", Name: "postgres", User: "boss", Password: "root's", Host: "127.0.0.1", Port: port}
	mustSQL(t, boss, "CREATE ROLE team LOGIN PASSWORD 'p@ss/w:rd?'", `CREATE DATABASE "live-db" OWNER team`, "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
	team, err = ParseURL(fmt.Sprintf("postgres://team:%s@127.0.0.1:%d/live-db?sslmode=prefer&connection_limit=5", url.QueryEscape("p@ss/w:rd?"), port))
	if err != nil {
		t.Fatal(err)
	}
	return boss, team
}

func passwordFile(t *testing.T, password string) string {
	t.Helper()
	f, err := os.CreateTemp("", "pw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(f.Name()) })
	if _, err := f.WriteString(password + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Chmod(0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestAdopted(t *testing.T) {
	main, scratch := clusters(t)
	boss, team := foreign(t, main.BinDir)
	mustSQL(t, team, "CREATE EXTENSION hstore", "CREATE TABLE users (id int PRIMARY KEY, email text)", "INSERT INTO users SELECT n, 'real' || n || '@firma.pl' FROM generate_series(1, 50) n")
	address := database.URL(team)
	if !strings.Contains(address, "sslmode=prefer") {
		t.Errorf("the application's URL lost its parameters: %s", address)
	}
	c, err := Adopt(t.Context(), "adopt", "live", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	live, err := NewAdopted("adopt", c)
	if err != nil {
		t.Fatal(err)
	}
	d, err := live.Find(t.Context(), "live")
	if err != nil || d.Name != "live-db" || !IsAdopted(d) {
		t.Fatalf("found %+v, %v", d, err)
	}

	// Backed up, and proven on our own server.
	dir := t.TempDir()
	info, err := live.Backup(t.Context(), d, dir)
	if err != nil || info.Rows["public.users"] != 50 {
		t.Fatalf("backup %+v, %v", info.Rows, err)
	}
	testers := engine(t, "adopt", scratch)
	t.Cleanup(func() { drop(t, testers, bosman.Database{Name: "adopt__"}) })
	proven, err := testers.Restore(t.Context(), dir, "live__verify_x")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := testers.Inspect(t.Context(), proven); err != nil || len(database.Differences(info, got)) > 0 {
		t.Errorf("restored, it differs: %v, %v", database.Differences(info, got), err)
	}
	if _, err := live.Activity(t.Context(), d); err != nil {
		t.Error(err)
	}

	// Testers get a masked copy of it.
	if _, _, err := testers.Copy(t.Context(), d, "testing-anna", database.CopyOptions{Release: 1}); bosman.KindOf(err) != bosman.KindInvalid {
		t.Errorf("a source that nobody added: %v", err)
	}
	testers.AddSource(c)
	masks(testers, &mask.Spec{Salt: "s", Columns: map[string]string{"users.email": "email"}})
	copied, how, err := testers.Copy(t.Context(), d, "testing-anna", database.CopyOptions{Release: 1, From: "live"})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, copied, "SELECT count(*)::text, count(*) FILTER (WHERE email LIKE '%@example.invalid')::text FROM users"); got != "50|50" || how.From != "live" {
		t.Errorf("the copy %s, %+v", got, how)
	}

	// What is not ours is not changed.
	for what, err := range map[string]error{
		"create":  second(live.Create(t.Context(), "live")),
		"restore": second(live.Restore(t.Context(), dir, "live__next")),
		"swap":    second(live.Swap(t.Context(), d, d)),
		"drop":    live.Drop(t.Context(), d),
	} {
		if bosman.KindOf(err) != bosman.KindInvalid || bosman.AsError(err).Next == "" || strings.Contains(fmt.Sprintf("%+v", bosman.AsError(err)), "p@ss") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := count(t, team, "users"); n != 50 {
		t.Errorf("it has %d rows now", n)
	}

	lost := func() string {
		all, err := live.Abilities(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(bosman.Lost(all), "\n")
	}
	if got := lost(); !strings.Contains(got, "restore: Bosman does not replace") || strings.Contains(got, "backup") && strings.HasPrefix(got, "backup") || strings.Contains(got, "may not read") {
		t.Errorf("lost:\n%s", got)
	}
	admin := boss
	admin.Name = "live-db"
	mustSQL(t, admin, "CREATE TABLE secret_of_boss (x int)")
	if got := lost(); !strings.Contains(got, "backup: the role team may not read public.secret_of_boss: GRANT SELECT") {
		t.Errorf("lost:\n%s", got)
	}
	if _, err := live.Backup(t.Context(), d, t.TempDir()); bosman.KindOf(err) != bosman.KindFailed || !strings.Contains(fmt.Sprint(bosman.AsError(err).Cause), "secret_of_boss") {
		t.Errorf("a backup of what may not be read: %v", err)
	}
	if err := live.Extend(t.Context(), d, []string{"pageinspect"}); bosman.KindOf(err) != bosman.KindInvalid || !strings.Contains(bosman.AsError(err).Next, "CREATE EXTENSION") {
		t.Errorf("an extension for superusers: %v", err)
	}
	if err := live.Extend(t.Context(), d, []string{"hstore", "pgcrypto"}); err != nil {
		t.Errorf("extensions for everybody: %v", err)
	}

	// A wrong password and a server that is gone are said without the password.
	for _, wrong := range []string{strings.Replace(address, "p%40ss", "x%40ss", 1), "postgres://team:p%40ss@127.0.0.1:1/live-db"} {
		_, err := Adopt(t.Context(), "adopt", "live", wrong, nil)
		if bosman.KindOf(err) != bosman.KindUnavailable && bosman.KindOf(err) != bosman.KindFailed || strings.Contains(fmt.Sprintf("%v %v", err, bosman.AsError(err).Cause), "@ss") {
			t.Errorf("%v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestParseURL(t *testing.T) {
	for text, want := range map[string]bosman.Database{
		"postgres://u:p%40@h/n":                                 {User: "u", Password: "p@", Host: "h", Port: 5432, Name: "n"},
		"postgresql://u@[::1]:5433/n?sslmode=verify-full":       {User: "u", Host: "::1", Port: 5433, Name: "n", Params: "sslmode=verify-full"},
		"postgres://u:p@/n?host=/run/pg&port=5434&password=old": {User: "u", Password: "old", Host: "/run/pg", Port: 5434, Name: "n"},
	} {
		want.Engine = "postgres"
		if got, err := ParseURL(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "mysql://u:hunter2@h/n", "postgres://u:hunter2@h", "postgres://h/n", "postgres://u:hunter2@h:x/n", "postgres://u:hunter2@a,b/n", "postgres://u:hunter2@h/n?sslmode=maybe", "%zz://hunter2"} {
		if _, err := ParseURL(text); bosman.KindOf(err) != bosman.KindInvalid || strings.Contains(fmt.Sprintf("%+v", err), "hunter2") {
			t.Errorf("%s: %+v", text, err)
		}
	}
}
