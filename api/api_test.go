package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/api"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

const at = "/api/v1/apps/rms"

func TestListingsAreLists(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{
		"/api/v1/apps", "/api/v1/status", "/api/v1/people", "/api/v1/people/jan/tokens", "/api/v1/at-hand", "/api/v1/activity",
		at + "/changes", at + "/builds", at + "/releases", at + "/instances", at + "/operations", at + "/backups", at + "/problems", at + "/mails", at + "/tasks",
	} {
		if text := r.want(200, "jan", "GET", path, ""); !strings.HasPrefix(text, "[") {
			t.Errorf("%s gives %s, want a list", path, text)
		}
	}
	r.want(200, "ola", "GET", at+"/secrets", "", "SECRET_KEY")
}

func TestSecretsStayInside(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/api/v1/people", at + "/instances", at + "/instances/staging", "/api/v1/status", at + "/changes", at + "/secrets"} {
		if text := r.want(200, "ola", "GET", path, ""); strings.Contains(text, "SECRET-") {
			t.Errorf("%s shows a secret: %s", path, text)
		}
	}
	r.want(200, "ola", "POST", at+"/secrets", `{"scope":"kind:live","values":{"SMTP":"SECRET-VALUE"}}`, "set 1 for kind:live")
	if text := r.want(200, "ola", "GET", at+"/secrets", "", `"SMTP"`); strings.Contains(text, "SECRET-VALUE") {
		t.Error("a value was shown")
	}
	r.want(200, "ola", "DELETE", at+"/secrets/kind:live/SMTP", "")
	r.want(404, "ola", "DELETE", at+"/secrets/kind:live/SMTP", "", `"kind":"not-found"`)
}

func TestAddressesWithKeysAreNotShown(t *testing.T) {
	r := newRig(t)
	r.want(200, "ola", "POST", "/api/v1/notify", `{"name":"chat","url":"slack://hook:SECRET-KEY-A@webhook"}`)
	r.want(200, "ola", "POST", "/api/v1/notify", `{"name":"board","url":"https://board.example/SECRET-KEY-B","app":"rms","sign":true}`, `"text":"`)
	text := r.want(200, "ola", "GET", "/api/v1/notify", "", `"to":"slack"`, `"to":"https://board.example"`, `"signed":true`)
	if strings.Contains(text, "SECRET") {
		t.Errorf("a key is shown: %s", text)
	}
	text = r.want(200, "ola", "POST", at+"/connect", `{"kind":"github","repo":"team/rms","token":"SECRET-TOKEN"}`, `"hook":"http://localhost:8080/`, `"secret":"`)
	if text += r.want(200, "ola", "GET", at, "", "github.com/team/rms"); strings.Contains(text, "SECRET-TOKEN") {
		t.Errorf("the token is shown: %s", text)
	}
}

// TestRoles asks for each verb as each role; helm judges, the API must say so.
func TestRoles(t *testing.T) {
	r := newRig(t)
	roles := []string{"jan", "piotr", "anna", "ola"} // viewer, developer, tester, admin
	for _, c := range []struct {
		from         string // the least role that may
		method, path string
		body         string
	}{
		{"anna", "POST", at + "/changes/c9/accept", ""},
		{"anna", "POST", at + "/changes/c9/merge", ""},
		{"piotr", "POST", at + "/builds", `{"branch":"none"}`},
		{"piotr", "POST", at + "/instances/staging/deploy", `{"release":1}`},
		{"anna", "POST", at + "/instances/live/deploy", `{"release":1}`},
		{"piotr", "POST", at + "/instances/staging/revert", ""},
		{"anna", "POST", at + "/instances/live/revert", ""},
		{"anna", "POST", at + "/instances/staging/restart", ""},
		{"ola", "POST", at + "/instances/live/restart", ""},
		{"ola", "POST", at + "/instances/staging/revert", `{"database":"restore"}`},
		{"anna", "POST", at + "/instances/staging/run", `{"command":"ls"}`},
		{"ola", "POST", at + "/instances/live/run", `{"command":"ls"}`},
		{"ola", "POST", "/api/v1/apps", `{"name":"rms"}`},
		{"ola", "DELETE", at, ""},
		{"ola", "GET", at + "/secrets", ""},
		{"ola", "POST", at + "/secrets", `{"scope":"build","values":{"A":"b"}}`},
		{"ola", "POST", "/api/v1/people", `{"name":"Bad Name","role":"tester"}`},
		{"ola", "POST", "/api/v1/people/jan/allow", `{"role":"viewer"}`},
		{"ola", "POST", "/api/v1/people/jan/disable", `{"disabled":false}`},
		{"ola", "POST", "/api/v1/people/ewa/password", `{"password":"short"}`},
		{"ola", "POST", "/api/v1/people/ewa/tokens", `{"name":"x"}`},
		{"ola", "GET", "/api/v1/people/ewa/tokens", ""},
		{"ola", "POST", at + "/confirm-policy", ""},
		{"ola", "POST", at + "/connect", `{"kind":"github","repo":"nonsense"}`},
		{"ola", "GET", "/api/v1/notify", ""},
		{"ola", "POST", "/api/v1/notify", `{"name":"x","url":"nonsense"}`},
		{"ola", "DELETE", "/api/v1/notify/none", ""},
	} {
		least := slices.Index(roles, c.from)
		for n, who := range roles {
			status, text := r.ask(who, c.method, c.path, c.body)
			// Changes are looked up before the right to sign off is judged.
			forbidden := status == http.StatusForbidden
			if strings.Contains(c.path, "c9") {
				if status != http.StatusNotFound {
					t.Errorf("%s: %s %s = %d %s", who, c.method, c.path, status, text)
				}
				continue
			}
			if forbidden != (n < least) {
				t.Errorf("%s: %s %s = %d %s, forbidden should be %v", who, c.method, c.path, status, text, n < least)
			}
			if forbidden && (!strings.Contains(text, `"kind":"forbidden"`) || !strings.Contains(text, `"kept"`)) {
				t.Errorf("%s does not say what was kept", text)
			}
			if status >= 500 {
				t.Errorf("%s: %s %s = %d %s", who, c.method, c.path, status, text)
			}
		}
	}
}

func TestWhoIsNobody(t *testing.T) {
	r := newRig(t)
	r.want(401, "", "GET", "/api/v1/apps", "", `"kind":"forbidden"`)
	r.want(403, "stranger", "GET", at, "", `"kind":"forbidden"`, "nobody Bosman knows")
	r.want(200, "stranger", "GET", "/api/v1/apps", "", "[]")
	r.want(200, "", "GET", "/api/openapi.json", "")
}

func TestWrongInput(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		status             int
		method, path, body string
		words              []string
	}{
		{404, "GET", "/api/v1/apps/none", "", []string{`"kind":"not-found"`}},
		{404, "GET", "/api/v1/apps/none/builds", "", nil},
		{404, "GET", "/api/v1/apps/none/secrets", "", nil},
		{200, "POST", at + "/instances/staging/run", `{"command":"false"}`, []string{`"exit":3`}},
		{404, "GET", "/api/v1/apps/none/changes/c1", "", nil},
		{404, "GET", at + "/builds/77", "", []string{"b77"}},
		{404, "GET", at + "/builds/77/log", "", nil},
		{404, "GET", at + "/instances/nowhere", "", nil},
		{404, "GET", "/api/v1/nonsense", "", []string{"openapi"}},
		{404, "DELETE", at + "/instances", "", nil},
		{400, "GET", at + "/builds/seven", "", []string{`"kind":"invalid"`}},
		{400, "GET", at + "/builds?max=100000", "", nil},
		{400, "POST", "/api/v1/apps", "{", []string{`"kind":"invalid"`}},
		{400, "POST", "/api/v1/apps", `{"name":7}`, nil},
		{400, "POST", "/api/v1/apps", `{}`, []string{"name"}},
		{400, "POST", "/api/v1/apps", `{"name":"x","surprise":1}`, []string{"surprise"}},
		{400, "POST", "/api/v1/apps", `{"name":"Not A Name"}`, []string{`"next"`}},
		{409, "POST", "/api/v1/apps", `{"name":"rms"}`, []string{`"kind":"conflict"`, `"next"`}},
		{400, "POST", at + "/instances/staging/revert", `{"database":"perhaps"}`, nil},
		{400, "POST", at + "/instances/staging/run", "{", nil},
		{400, "POST", at + "/instances/staging/run", `{"command":" "}`, []string{"no command"}},
		{404, "POST", at + "/instances/staging/tasks/none", ``, []string{"bosman tasks"}},
		{400, "DELETE", at, "", []string{"--confirm"}},
	} {
		r.want(c.status, "ola", c.method, c.path, c.body, c.words...)
	}
	if status, text := r.ask("ola", "POST", "/api/v1/apps", "name=rms2", "Content-Type", "application/x-www-form-urlencoded"); status != 415 {
		t.Errorf("a form: %d %s", status, text)
	}
	if status, text := r.ask("ola", "POST", "/api/v1/apps", `{"name":"`+strings.Repeat("x", api.MaxBody)+`"}`); status != 413 {
		t.Errorf("a body too big: %d %.100s", status, text)
	}
}

func TestOtherSitesMayNot(t *testing.T) {
	r := newRig(t)
	cookie := []string{"Cookie", "session=ola"}
	for _, c := range []struct {
		status int
		header []string
	}{
		{403, cookie}, // says not where it comes from
		{403, append([]string{"Sec-Fetch-Site", "cross-site"}, cookie...)},
		{403, append([]string{"Sec-Fetch-Site", "same-site"}, cookie...)},
		{403, append([]string{"Origin", "https://evil.example"}, cookie...)},
		{403, append([]string{"Origin", "null"}, cookie...)},
		{200, append([]string{"Sec-Fetch-Site", "same-origin"}, cookie...)},
		{200, append([]string{"Origin", r.Server.URL}, cookie...)},
		{200, []string{"Authorization", "Bearer ola"}},
	} {
		status, text := r.ask("", "POST", "/api/v1/people/jan/allow", `{"role":"viewer"}`, c.header...)
		if status != c.status {
			t.Errorf("%v: %d %s, want %d", c.header, status, text, c.status)
		}
	}
	if status, _ := r.ask("", "GET", "/api/v1/apps", "", append([]string{"Sec-Fetch-Site", "cross-site"}, cookie...)...); status != 200 {
		t.Error("reading needs no origin; the browser keeps the answer from other sites")
	}
}

func TestInternalFailuresAreNotShown(t *testing.T) {
	r := newRig(t)
	if err := r.Helm.Store.DB().Close(); err != nil {
		t.Fatal(err)
	}
	text := r.want(500, "ola", "GET", "/api/v1/apps", "", `"kind":"internal"`, `"request"`)
	if strings.Contains(text, "sql") || strings.Contains(text, "closed") {
		t.Errorf("the cause is shown: %s", text)
	}
}

func TestVerbs(t *testing.T) {
	r := newRig(t)
	op := decode[bosman.Operation](t, r.want(200, "ola", "POST", at+"/instances/staging/restart", ""))
	if op.Number != 1 || op.Plan != bosman.PlanRestart || op.By != "ola" {
		t.Errorf("restart: %+v", op)
	}
	op = decode[bosman.Operation](t, r.want(200, "ola", "POST", at+"/instances/staging/deploy", `{"release":1,"why":"because"}`))
	if op.Why != "because" || op.Release != 1 {
		t.Errorf("deploy: %+v", op)
	}
	r.want(200, "ola", "GET", at+"/operations/2", "", `"plan":"deploy"`)
	r.want(200, "ola", "POST", at+"/operations/2/cancel", "", "cancelled d2")
	r.want(409, "ola", "POST", at+"/instances/staging/reset", "", "shows no change")
	r.want(409, "ola", "POST", at+"/instances/live/backup", "", "runs nothing")
	me := decode[wire.Me](t, r.want(200, "ewa", "GET", "/api/v1/me", ""))
	if me.Person != "ewa" || me.URL != "http://localhost:8080" {
		t.Errorf("me: %+v", me)
	}
	r.want(200, "ola", "POST", "/api/v1/people", `{"name":"nina","role":"tester","password":"correct horse battery"}`)
	r.want(200, "nina", "POST", "/api/v1/people/nina/tokens", `{"name":"laptop"}`, "bos_")
	tokens := decode[[]bosman.Token](t, r.want(200, "nina", "GET", "/api/v1/people/nina/tokens", ""))
	if len(tokens) != 1 || tokens[0].Name != "laptop" {
		t.Fatalf("tokens: %+v", tokens)
	}
	r.want(200, "nina", "DELETE", "/api/v1/tokens/"+tokens[0].ID, "")
	r.want(200, "nina", "POST", "/api/v1/at-hand", `{"until":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`)
	r.want(200, "jan", "GET", "/api/v1/at-hand", "", "nina")
	r.want(200, "jan", "POST", "/api/v1/git-token", "", "bos_for_jan")
	r.want(200, "ola", "DELETE", at+"?confirm=rms", "")
	r.want(404, "ola", "GET", at, "")
}

func TestRunCarriesBothWays(t *testing.T) {
	r := newRig(t)
	text := r.want(200, "ola", "POST", at+"/instances/staging/run", `{"command":"cat"}`+"\n"+`{"data":"aGVsbG8K"}`+"\n")
	var out, errs strings.Builder
	var exit *int
	for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
		o := decode[wire.RunOutput](t, l)
		switch o.Stream {
		case "stdout":
			out.Write(o.Data)
		case "stderr":
			errs.Write(o.Data)
		}
		exit = o.Exit
	}
	if out.String() != "hello\n" || errs.String() != "ran cat\n" || exit == nil || *exit != 0 {
		t.Errorf("out %q, err %q, exit %v", out.String(), errs.String(), exit)
	}
	r.want(200, "ola", "POST", at+"/instances/staging/run", `{"command":"false"}`, `"exit":3`)
	r.want(503, "ola", "POST", at+"/instances/staging/run", `{"command":"out of reach"}`, `"kept"`)
}

func TestHangingUpEndsTheCommand(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", r.Server.URL+at+"/instances/staging/run", strings.NewReader(`{"command":"hang"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer ola")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	r.Server.Close() // waits for the handler, which waits for the command
}

func TestLogs(t *testing.T) {
	r := newRig(t)
	r.Log(r.Instance("rms", "staging"), "one", "two", "three")
	text := r.want(200, "jan", "GET", at+"/instances/staging/log", "")
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != 3 {
		t.Fatalf("log: %s", text)
	}
	second := decode[wire.LogLine](t, lines[1])
	if second.Text != "two" || second.Source != "web.1" {
		t.Errorf("second line: %+v", second)
	}
	from := r.want(200, "jan", "GET", at+"/instances/staging/log?from="+jsonNumber(second.Offset), "")
	if strings.Contains(from, "one") || !strings.Contains(from, "two") {
		t.Errorf("from the second on: %s", from)
	}
	if tail := r.want(200, "jan", "GET", at+"/instances/staging/log?tail=1", ""); strings.Contains(tail, "two") || !strings.Contains(tail, "three") {
		t.Errorf("tail: %s", tail)
	}
	if empty := r.want(200, "jan", "GET", at+"/instances/live/log", ""); empty != "" {
		t.Errorf("a log that is not there: %q", empty)
	}
	r.want(403, "stranger", "GET", at+"/instances/staging/log", "")
}

func jsonNumber(n int64) string {
	b, _ := json.Marshal(n) // a number always is JSON
	return string(b)
}

func TestAFollowedBuildLogEndsWithTheBuild(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	b := bosman.Build{App: "rms", Number: 1, Branch: "main", State: bosman.BuildRunning}
	if err := r.Helm.Store.SaveBuild(ctx, b); err != nil {
		t.Fatal(err)
	}
	r.Log(r.Build("rms", 1), "first")
	req, err := http.NewRequestWithContext(ctx, "GET", r.Server.URL+at+"/builds/1/log?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer jan")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(resp.Body)
	next := func() string {
		for lines.Scan() {
			if lines.Text() != "" {
				return decode[wire.LogLine](t, lines.Text()).Text
			}
		}
		return "END"
	}
	if got := next(); got != "first" {
		t.Fatalf("first line: %q", got)
	}
	r.Log(r.Build("rms", 1), "second")
	if got := next(); got != "second" {
		t.Fatalf("second line: %q", got)
	}
	r.Log(r.Build("rms", 1), "last")
	b.State = bosman.BuildGreen
	if err := r.Helm.Store.SaveBuild(ctx, b); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "last" {
		t.Errorf("what was written before the end must be sent: %q", got)
	}
	if got := next(); got != "END" {
		t.Errorf("the log goes on: %q", got)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
}
