// Package wall makes and checks the tokens of the login wall that stands
// before testing, preview and staging instances. The edge and the control
// plane share a key file; it knows nothing of HTTP, people or routes.
package wall

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// Key signs tokens; 32 random bytes.
type Key []byte

// EnterPath is the path, on an instance's own host, that takes an Enter token
// as ?token= and a path to go on to as ?back=.
const EnterPath = "/.bosman/enter"

// LoginPath is the path of the UI that a visitor without a pass is sent to,
// with ?app=, ?instance= and ?back=.
const LoginPath = "/wall"

// BypassHeader carries Bypass for probes.
const BypassHeader = "X-Bosman-Wall"

// EnterFor is how long an Enter token should live: a redirect takes no longer.
const EnterFor = time.Minute

// PassFor is how long a visitor stays let in when the token does not say.
const PassFor = 12 * time.Hour

// Use separates what a token is good for.
type Use string

// The uses of tokens.
const (
	Enter Use = "enter" // shown once at EnterPath
	Pass  Use = "pass"  // the cookie
)

// Token lets one person see one instance until Expires.
type Token struct {
	Use      Use       `json:"u"`
	App      string    `json:"a"`
	Instance string    `json:"i"`
	Person   string    `json:"p"`
	Expires  time.Time `json:"e"`           // of this token
	Until    time.Time `json:"s,omitzero"`  // Enter only: when the pass it is changed for ends
	Nonce    string    `json:"n,omitempty"` // Enter only: makes it good for one use
}

// NewEnter is the token with which the UI sends a person to an instance.
// until is when the person must log in again; zero means PassFor from now.
func NewEnter(app, instance, person string, now, until time.Time) Token {
	if until.IsZero() {
		until = now.Add(PassFor)
	}
	return Token{Use: Enter, App: app, Instance: instance, Person: person, Expires: now.Add(EnterFor), Until: until, Nonce: rand.Text()}
}

// Sign gives the token as text that is safe in URLs and cookies.
func Sign(k Key, t Token) (string, error) {
	if len(k) < 32 {
		return "", bosman.Internal("the wall's key is too short")
	}
	body, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(k.mac("token", text)), nil
}

// Verify checks that text is a token for this use of this instance that has
// not expired. Errors are of KindForbidden and say no more than that.
func Verify(k Key, text string, use Use, app, instance string, now time.Time) (Token, error) {
	var t Token
	body, sum, ok := strings.Cut(text, ".")
	if !ok || len(k) < 32 || len(text) > 4096 {
		return t, refused("it is not a token")
	}
	got, err := base64.RawURLEncoding.Strict().DecodeString(sum)
	if err != nil || !hmac.Equal(got, k.mac("token", body)) {
		return t, refused("its signature does not match")
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return t, refused("it cannot be read")
	}
	var read Token
	if err := json.Unmarshal(raw, &read); err != nil {
		return t, refused("it cannot be read")
	}
	switch {
	case read.Use != use || read.App != app || read.Instance != instance:
		return t, refused("it is for something else")
	case !now.Before(read.Expires):
		return t, refused("it has expired")
	}
	return read, nil
}

func refused(why string) error {
	return bosman.Forbidden("this pass is not good").WithNext("log in again").Because(errors.New(why))
}

// Bypass is the value of BypassHeader that passes every wall of this key.
func Bypass(k Key) string { return hex.EncodeToString(k.mac("bypass", "")) }

// IsBypass compares in constant time.
func IsBypass(k Key, value string) bool {
	return len(k) >= 32 && hmac.Equal([]byte(value), []byte(Bypass(k)))
}

func (k Key) mac(purpose, text string) []byte {
	h := hmac.New(sha256.New, k)
	h.Write([]byte("bosman wall " + purpose + "\x00" + text)) // a hash never fails to write
	return h.Sum(nil)
}

// LoadKey reads the key file, or makes one that only its owner reads. Two
// processes that make it at once end up with the same key.
func LoadKey(path string) (Key, error) {
	for range 2 {
		data, err := os.ReadFile(path)
		if err == nil {
			k, err := hex.DecodeString(strings.TrimSpace(string(data)))
			if err != nil || len(k) < 32 {
				return nil, bosman.Invalid("the key file %s is damaged", path).
					WithNext("remove it: a new one is made, and people log in again").Because(err)
			}
			return k, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, bosman.Unavailable("the key file %s cannot be read", path).Because(err)
		}
		if err := makeKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, bosman.Unavailable("the key file %s cannot be made", path).Because(err)
		}
	}
	return nil, bosman.Unavailable("the key file %s comes and goes", path)
}

func makeKey(path string) (err error) {
	k := make([]byte, 32)
	if _, err := rand.Read(k); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(hex.EncodeToString(k) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path) // fails if another was first
}

// Back makes sure that a place to go on to is a path on the same host; any
// other is "/".
func Back(s string) string {
	if len(s) < 1 || len(s) > 2048 || s[0] != '/' || len(s) > 1 && s[1] == '/' {
		return "/"
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f || s[i] == '\\' {
			return "/"
		}
	}
	return s
}
