// Package secret seals values at rest with age under a key file that never
// enters the database. It must not know what the values are for.
package secret

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// Box seals and opens values.
type Box struct{ identity *age.X25519Identity }

// Open reads the key file, making it with mode 0600 when there is none.
func Open(path string) (*Box, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, err
		}
		if err := atomicfile.Write(path, []byte(id.String()+"\n"), 0o600); err != nil {
			return nil, err
		}
		return &Box{identity: id}, nil
	}
	if err != nil {
		return nil, err
	}
	id, err := age.ParseX25519Identity(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, bosman.Invalid("the key file %s is damaged", path).
			WithKept("no secret was changed").WithNext("put back the key file from the place you keep it").Because(err)
	}
	return &Box{identity: id}, nil
}

// Derive gives a secret text for a purpose: always the same for this box, and
// it tells nothing of the key.
func (b *Box) Derive(purpose string) string {
	h := hmac.New(sha256.New, []byte(b.identity.String()))
	_, _ = h.Write([]byte(purpose)) // a hash never fails
	return hex.EncodeToString(h.Sum(nil))
}

// Seal encrypts a value.
func (b *Box) Seal(value string) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, b.identity.Recipient())
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, value); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Open decrypts a sealed value.
func (b *Box) Open(sealed []byte) (string, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), b.identity)
	if err != nil {
		return "", fmt.Errorf("open a secret: %w", err)
	}
	value, err := io.ReadAll(r)
	return string(value), err
}

// ParseEnv reads lines NAME=VALUE as in .env files: comments, export and
// quotes are understood. Errors name the line.
func ParseEnv(text string) (map[string]string, error) {
	out := map[string]string{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export "))
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !ok || CheckName(name) != nil {
			return nil, bosman.Invalid("line %d is not understood", i+1).WithKept("no secret was set").WithNext("write each line as NAME=VALUE")
		}
		value = strings.TrimSpace(value)
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			if value[0] == '"' {
				value = strings.NewReplacer(`\n`, "\n", `\"`, `"`, `\\`, `\`).Replace(value)
			}
			value = value[1 : len(value)-1]
		}
		out[name] = value
	}
	return out, nil
}

// CheckName says whether name can name a secret: a variable of a shell.
func CheckName(name string) error {
	for i, r := range name {
		if r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return bosman.Invalid("%q cannot name a secret", name).WithNext("use letters, digits and underscores, for example MAIL_PASSWORD")
		}
	}
	if name == "" {
		return bosman.Invalid("a secret needs a name")
	}
	return nil
}
