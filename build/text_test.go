package build

import (
	"encoding/base64"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMasker(t *testing.T) {
	pem := "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\nxyz\n-----END KEY-----\n"
	m := newMasker(map[string]string{"A": "hunter-two/&?", "KEY": pem, "SHORT": "on", "WORD": "Production"})
	for _, hidden := range []string{
		"hunter-two/&?", url.QueryEscape("hunter-two/&?"), url.PathEscape("hunter-two/&?"), `hunter-two/\u0026?`, "MIIEpAIBAAKCAQEA",
		base64.StdEncoding.EncodeToString([]byte(pem))[:30],
	} {
		if got := m.mask("before " + hidden + " after"); strings.Contains(got, hidden) || !strings.HasPrefix(got, "before ") {
			t.Errorf("%q became %q", hidden, got)
		}
	}
	for _, plain := range []string{"turned on", "production is green", "xyz", "hunter"} {
		if got := m.mask(plain); got != plain {
			t.Errorf("%q became %q", plain, got)
		}
	}
	if strings.Join(m.open, " ") != "SHORT WORD" {
		t.Errorf("open: %v", m.open)
	}
}

// Whatever stands before and after a secret, and however the output is cut
// into pieces, neither it nor its base64 form is in the log.
func TestMaskedWhateverTheChunks(t *testing.T) {
	const secret = "corr3ct-h0rse-b4ttery"
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		log, err := openLog(filepath.Join(dir, "log"), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		from := log.Size()
		before := rapid.StringN(0, 5, 20).Draw(t, "before")
		after := rapid.StringN(0, 5, 20).Draw(t, "after")
		text := before + secret + after + "\n" + base64.StdEncoding.EncodeToString([]byte(before+secret+after)) + "\n"
		if rapid.Bool().Draw(t, "long") {
			text = strings.Repeat("x", maxLine-rapid.IntRange(0, 40).Draw(t, "short of")) + text
		}
		out := log.output("step", newMasker(map[string]string{"S": secret}))
		for rest := text; rest != ""; {
			n := min(len(rest), rapid.IntRange(1, 30000).Draw(t, "chunk"))
			if _, err := out.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		out.finish()
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		got := readText(t, filepath.Join(dir, "log"))[from:]
		for i := 0; i+12 <= len(secret); i++ {
			if strings.Contains(got, secret[i:i+12]) {
				t.Fatalf("%q is in the log", secret[i:i+12])
			}
		}
		for offset := range 3 {
			enc := base64.StdEncoding.EncodeToString([]byte("xxx"[:offset] + secret))
			if strings.Contains(got, enc[4:len(enc)-4]) {
				t.Fatalf("the base64 form is in the log")
			}
		}
	})
}

func readText(t *rapid.T, path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
