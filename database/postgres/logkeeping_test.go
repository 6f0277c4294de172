package postgres

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman/internal/need"
)

// Killed at any of its commands, before or after, the script that copies a
// segment leaves nothing under its name that is not whole, and run again it
// copies it.
func TestArchiveScriptKilled(t *testing.T) {
	need.Program(t, "cmp", "diffutils")
	dir := t.TempDir()
	from := filepath.Join(dir, "segment")
	content := bytes.Repeat([]byte("segment "), 1<<17)
	if err := os.WriteFile(from, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"cp", "sync", "mv"} { // a command of the script's, that kills it
		real, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"kill -9 $PPID", real + ` "$@"; kill -9 $PPID`, `head -c 1000 "$1" >"$3" 2>/dev/null; kill -9 $PPID`} {
			if program != "cp" && strings.HasPrefix(text, "head") {
				continue
			}
			spool, bin := t.TempDir(), t.TempDir()
			if program == "cp" {
				text = strings.ReplaceAll(text, `"$1" >"$3"`, `"$2" >"$3"`)
			}
			if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil { //nolint:gosec // it is run
				t.Fatal(err)
			}
			script := filepath.Join(bin, "archive.sh")
			if err := os.WriteFile(script, fmt.Appendf(nil, archiveScript, shellQuote(spool), 10), 0o600); err != nil {
				t.Fatal(err)
			}
			run := func(path string) error {
				cmd := exec.CommandContext(t.Context(), "/bin/sh", script, from, "000000010000000000000001")
				cmd.Env = []string{"PATH=" + path}
				return cmd.Run()
			}
			if err := run(bin + ":" + os.Getenv("PATH")); err == nil {
				t.Fatalf("%s: it was not killed", program)
			}
			copied := filepath.Join(spool, "000000010000000000000001")
			if got, err := os.ReadFile(copied); err == nil && !bytes.Equal(got, content) {
				t.Errorf("%s, %q: half a segment has its name", program, text)
			}
			if err := run(os.Getenv("PATH")); err != nil {
				t.Errorf("%s, %q: run again: %v", program, text, err)
			}
			got, err := os.ReadFile(copied)
			left, gerr := filepath.Glob(filepath.Join(spool, ".*"))
			if err != nil || gerr != nil || !bytes.Equal(got, content) || len(left) > 0 {
				t.Errorf("%s, %q: %d bytes, left %v, %v", program, text, len(got), left, err)
			}
		}
	}
}
