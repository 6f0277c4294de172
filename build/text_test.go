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

// A line that was cut in the middle of a secret is no longer than others once
// a progress bar or masked secrets have shortened it: the beginning of the
// secret must not stay.
func TestNoBeginningOfASecretStays(t *testing.T) {
	const secret = "corr3ct-h0rse-b4ttery"
	m := newMasker(map[string]string{"S": secret})
	for name, text := range map[string]string{
		"progress bar":           strings.Repeat("x", maxLine-10) + "\r" + strings.Repeat("y", maxLine+m.longest-12) + secret,
		"many secrets":           strings.Repeat(secret+" ", maxLine/len(secret)) + strings.Repeat(secret, 40),
		"a bar in what was kept": strings.Repeat("x", maxLine) + "A\rA" + secret + " " + secret + " " + secret,
	} {
		for short := range 2 * len(secret) {
			path := filepath.Join(t.TempDir(), "log")
			log, err := openLog(path, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			out := log.output("step", m)
			if _, err := out.Write([]byte(text[short:])); err != nil {
				t.Fatal(err)
			}
			out.finish()
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			if got := readText(t, path); strings.Contains(got, secret[:8]) {
				t.Fatalf("%s, %d bytes short: a beginning of the secret is in the log: …%q", name, short, got[max(0, len(got)-100):])
			}
		}
	}
}

func TestProgressBars(t *testing.T) {
	for text, want := range map[string]string{
		"10%\r50%\r100%\n":        "100%",
		"plain\r\n":               "plain",
		"twice\r\r\n":             "twice",
		"10%\r":                   "10%",
		"old\rnew\r\nnext\r\nl\r": "new,next,l",
	} {
		for size := 1; size <= len(text); size++ {
			path := filepath.Join(t.TempDir(), "log")
			log, err := openLog(path, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			out := log.output("step", nil)
			for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
				if _, err := out.Write([]byte(rest[:min(size, len(rest))])); err != nil {
					t.Fatal(err)
				}
			}
			out.finish()
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(readText(t, path)) {
				got = append(got, strings.TrimSpace(strings.SplitN(line, " ", 3)[2]))
			}
			if strings.Join(got, ",") != want {
				t.Errorf("%q in pieces of %d became %q", text, size, got)
			}
		}
	}
}

func readText(t rapid.TB, path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
