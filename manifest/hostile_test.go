package manifest

import (
	"strings"
	"testing"
	"time"
)

// TestHostileFiles holds that a stranger's file costs little time, whatever
// is in it: without the caps some of these take minutes.
func TestHostileFiles(t *testing.T) {
	for _, c := range []struct{ part, want string }{
		{"[", "too many brackets"},
		{"{a: ", "too many brackets"},
		{"[ \n", "3,000 lines"},
		{"- ", "list marks"},
		{"? ", "list marks"},
		{"&a ", "list marks"},
		{"!!map ", "list marks"},
		{"#\n", "3,000 lines"},
		{"a: b\n", "3,000 lines"},
		{"a", "expected keys"},
	} {
		text := strings.Repeat(c.part, 100_000)[:100_000]
		start := time.Now()
		_, err := Parse([]byte(text), "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q…: %.200v, want %q", c.part, err, c.want)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%q…: took %s", c.part, took)
		}
	}
	_, issues := Check([]byte(strings.Repeat("a: b\n", 2900)), "")
	if len(issues) != maxIssues+1 || !strings.Contains(issues[maxIssues].Message, "more mistakes follow") {
		t.Errorf("%d mistakes shown, last %v", len(issues), issues[len(issues)-1])
	}
	m, err := Parse([]byte("env:\r\n  A: x\r\nhealth: /a\r\n"), "")
	if err != nil || m.Env["A"] != "x" || m.Health != "/a" {
		t.Errorf("lines that end with CR LF: %+v, %v", m, err)
	}
}
