package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/internal/need"
)

// foreignWord is part of the password of the foreign role; foreignPassword
// needs escapes.
const (
	foreignWord     = "hunter2andahalf"
	foreignPassword = "p@ss/w:rd?" + foreignWord
)

// foreignServer starts a PostgreSQL server that Bosman knows nothing of, over
// TCP, with a role team that owns the database team_live and may nothing else.
// It gives the URL, and a way to ask as the role and to stop the server.
func foreignServer(t *testing.T) (address string, ask func(sql string) string, stop func()) {
	t.Helper()
	bins := glob(t, "/usr/lib/postgresql/*/bin")
	if len(bins) == 0 {
		need.File(t, "/usr/lib/postgresql", "postgresql")
	}
	bin := bins[len(bins)-1]
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is TCP
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "foreign")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // of a test
	owner, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(owner.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(owner.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := os.WriteFile(filepath.Join(dir, "pw"), []byte("root's\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir, filepath.Join(dir, "pw")} {
		if err := os.Chown(p, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(env []string, program string, args ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, program), args...) //nolint:noctx // it is stopped after the test's context ended
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		cmd.Dir, cmd.Env = "/", append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", program, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	data := filepath.Join(dir, "data")
	run(nil, "initdb", "-D", data, "-U", "boss", "-A", "scram-sha-256", "--no-sync", "--pwfile", filepath.Join(dir, "pw"))
	run(nil, "pg_ctl", "-D", data, "-w", "-l", filepath.Join(dir, "log"), "-o", fmt.Sprintf("-c listen_addresses=127.0.0.1 -p %d -k '' -c fsync=off", port), "start")
	stop = sync.OnceFunc(func() { run(nil, "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop") })
	t.Cleanup(stop)
	psql := func(who, password, db, sql string) string {
		t.Helper()
		return run([]string{"PGPASSWORD=" + password}, "psql", "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-U", who, "-d", db, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql)
	}
	psql("boss", "root's", "postgres", "CREATE ROLE team LOGIN PASSWORD '"+foreignPassword+"'")
	psql("boss", "root's", "postgres", "CREATE DATABASE team_live OWNER team")
	address = fmt.Sprintf("postgres://team:%s@127.0.0.1:%d/team_live?sslmode=prefer", url.QueryEscape(foreignPassword), port)
	return address, func(sql string) string { t.Helper(); return psql("team", foreignPassword, "team_live", sql) }, stop
}

// heard is what serve wrote.
type heard struct {
	sync.Mutex
	bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.Lock()
	defer h.Unlock()
	return h.Buffer.Write(p)
}

// Live's database is on a server that is not Bosman's: it is used, backed up,
// proven and copied masked; what cannot be done is said beforehand, by the
// doctor too and when its server is gone, and the password is nowhere.
func TestAdoptedDatabase(t *testing.T) {
	need.Slow(t, "plays a road with a second database server")
	need.File(t, "/usr/lib/python3/dist-packages/psycopg2", "python3-psycopg2")
	t.Parallel()
	w := newWorld(t, "postgres")
	ctx, admin, anna := t.Context(), bosman.Actor{Person: firstAdmin, From: "test"}, bosman.Actor{Person: "anna", From: "test"}
	address, theirs, gone := foreignServer(t)
	if err := w.s.helm.SetSecrets(ctx, admin, "tiny", "instance:live", map[string]string{"LIVE_DB": address}); err != nil {
		t.Fatal(err)
	}
	w.write("migrate.py", migrateApp)
	m := strings.Replace(tinyManifest, "database: DATABASE", "database: {engine: postgres, url_from: LIVE_DB, mask: {note.words: text}}", 1)
	m = strings.Replace(m, `"echo migrated"`, "/usr/bin/python3 migrate.py", 1)
	m = strings.Replace(m, "for: 3s", "for: 1s", 1) + "  testing: {copy: live}\n"
	w.write("bosman.yaml", m)
	create := "CREATE TABLE IF NOT EXISTS note (id serial PRIMARY KEY, words text, old text DEFAULT '-')\n"
	w.release(1, "old", create)
	first := w.must("deploy", "live", "1")
	if code, body := w.get("live", "/add/verysecretnote"); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	if got := theirs("SELECT words FROM note"); got != "verysecretnote" {
		t.Errorf("their database holds %q", got)
	}
	i, err := w.s.store.Instance(ctx, "tiny", "live")
	if err != nil || !i.Database.Adopted() || i.Database.Password != "" {
		t.Fatalf("%+v, %v", i.Database, err)
	}

	// Bosman begins anew, tells everything it does, and deploys again.
	w.stop()
	log := &heard{}
	w.log = log
	w.start()
	w.release(2, "id", create+"ALTER TABLE note DROP COLUMN IF EXISTS old\n")
	second := w.must("deploy", "live", "2")
	if second.Backup == 0 || second.WayBack == nil || !second.WayBack.Destructive || second.WayBack.Kept != "" || !strings.Contains(second.WayBack.KeptNote, "not Bosman's own") {
		t.Errorf("d%d: backup %d, way back %+v", second.Number, second.Backup, second.WayBack)
	}
	b := w.backups()[0]
	if b.Number != second.Backup || b.VerifiedAt.IsZero() || b.Error != "" || b.Rows != 1 {
		t.Errorf("the backup %+v", b)
	}

	// The proof of a backup is the next golden copy, masked.
	proof := w.op(w.s.helm.MakeBackup(ctx, bosman.System(), "tiny", "live"))
	if g := w.goldens(); proof.State != bosman.OpDone || len(g) == 0 || g[0].Copy.Backup != proof.Backup || g[0].Copy.Release != 2 || g[0].Instance != "live" {
		t.Errorf("%s: %v; golden copies %+v", proof.State, proof.Error, g)
	}

	// A tester gets a masked copy on Bosman's own server.
	w.git(w.work, "checkout", "-q", "-b", "feature")
	w.write("words.txt", "hello three\n")
	w.commit("three")
	w.push("piotr", "feature")
	try := w.op(w.s.helm.Try(ctx, anna, "tiny", "feature", "testing-anna"))
	if try.State != bosman.OpDone {
		w.dump()
		t.Fatalf("try: %s %v", try.State, try.Error)
	}
	said := w.run("testing-anna", `/usr/bin/python3 -c 'import os, psycopg2
k = psycopg2.connect(os.environ["DATABASE_URL"]).cursor(); k.execute("SELECT words FROM note"); print(k.fetchall())'`)
	if said == "[]\n" || !strings.Contains(said, "',)]") || strings.Contains(said, "verysecretnote") {
		t.Errorf("the copy holds %s", said)
	}
	if i, err = w.s.store.Instance(ctx, "tiny", "testing-anna"); err != nil || i.Database.Adopted() || i.Copy.From != "live" || i.Copy.Backup != proof.Backup {
		t.Errorf("the copy is %+v %+v, %v", i.Database, i.Copy, err)
	}

	// What is lost is said beforehand, and refused with the commands.
	s, err := w.s.helm.DatabasesOf(ctx, anna, "tiny")
	if err != nil || len(s.Adopted) != 1 || s.Adopted[0].Error != "" || len(bosman.Lost(s.Adopted[0].Abilities)) < 4 {
		t.Errorf("%+v, %v", s.Adopted, err)
	}
	p, err := w.s.helm.PlanRevert(ctx, admin, "tiny", "live")
	if err != nil || !p.Adopted || p.Policy != bosman.RevertAsk || p.Refused == "" || len(p.Lost) != 2 || !strings.Contains(p.ByHand, "pg_restore -h 127.0.0.1") || !strings.Contains(p.Why, "by hand") {
		t.Errorf("%+v, %v", p, err)
	}
	w.fetched(b)
	_, err = w.s.helm.RestoreBackup(ctx, admin, "tiny", b.Number, "")
	refused := []error{err}
	_, err = w.s.helm.Revert(ctx, admin, helm.RevertRequest{App: "tiny", Instance: "live", Restore: true, ConfirmLoss: true})
	refused = append(refused, err)
	for _, err := range refused {
		if e := bosman.AsError(err); e == nil || e.Kind != bosman.KindInvalid || !strings.Contains(e.Next, "createdb -h 127.0.0.1") || e.Kept == "" {
			t.Errorf("a restore: %v", err)
		}
	}
	_, err = w.s.helm.Revert(ctx, admin, helm.RevertRequest{App: "tiny", Instance: "live"})
	if bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(bosman.AsError(err).Next, "by hand") {
		t.Errorf("the code alone, below the floor: %v", err)
	}
	if got := theirs("SELECT count(*) FROM note"); got != "1" {
		t.Errorf("their database has %s rows now", got)
	}

	// The doctor says it, without the server and without Bosman.
	said = w.doctor()
	for _, want := range []string{"the database of live of tiny, team_live on 127.0.0.1:", "is not Bosman's", "no restore: ", "no keep: "} {
		if !strings.Contains(said, want) {
			t.Errorf("the doctor does not say %q:\n%s", want, said)
		}
	}
	gone()
	w.s.databases.mu.Lock()
	clear(w.s.databases.looked)
	maps.DeleteFunc(w.s.databases.keepers, func(key string, _ *database.Keeper) bool { return strings.HasPrefix(key, bosman.AdoptedPrefix) })
	w.s.databases.mu.Unlock()
	s, err = w.s.helm.DatabasesOf(ctx, anna, "tiny")
	if err != nil || len(s.Adopted) != 1 || s.Adopted[0].Error == "" || len(bosman.Lost(s.Adopted[0].Abilities)) < 4 {
		t.Errorf("without its server: %+v, %v", s.Adopted, err)
	}
	if again, err := w.s.helm.PlanRevert(ctx, admin, "tiny", "live"); err != nil || !slices.Equal(again.Lost, p.Lost) || again.ByHand != p.ByHand || again.Written.Known {
		t.Errorf("without its server: %+v, %v", again, err)
	}
	if kept, err := w.s.helm.KeptCopies(ctx, admin, "tiny", ""); err != nil {
		t.Errorf("without its server: %+v, %v", kept, err)
	}

	all, err := json.Marshal([]any{first, second, try, s, p, fmt.Sprintf("%+v", refused)})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(all)+said, foreignWord) {
		t.Errorf("the password is said: %s", all)
	}
	w.stop()
	if strings.Contains(log.String(), foreignWord) || log.Len() == 0 {
		t.Error("the password is in the log, or there is none")
	}
	if found := filesWith(t, w.data, foreignWord); len(found) > 0 {
		t.Errorf("the password lies open in %v", found)
	}
}

// doctor gives what the doctor says.
func (w *world) doctor() string {
	w.t.Helper()
	var out strings.Builder
	if err := Doctor(w.t.Context(), Options{Data: w.data, Program: os.Args[0]}, &out); err != nil {
		w.t.Error(err)
	}
	return out.String()
}

// filesWith lists the files in a folder that hold a word.
func filesWith(t *testing.T, dir, word string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(word)) {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func TestLiveIsNotCopiedUnmasked(t *testing.T) {
	d := &databases{}
	if err := d.maskable(t.Context(), nil, bosman.Instance{App: "tiny", Name: "live", Kind: bosman.KindLive}); bosman.KindOf(err) != bosman.KindForbidden || bosman.AsError(err).Next == "" {
		t.Errorf("live: %v", err)
	}
	if err := d.maskable(t.Context(), nil, bosman.Instance{App: "tiny", Name: "staging", Kind: bosman.KindStaging}); err != nil {
		t.Errorf("staging: %v", err)
	}
}
