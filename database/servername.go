package database

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// PostgreSQL cuts names at 63 bytes, MariaDB takes 64 characters. The longest
// tag is "__golden_" and a time: 27.
const maxBase = 36

// NameOnServer is the name on a server of an app's database: "rms" and
// "testing-anna__next" give "rms__testing_anna__next". Names of apps and
// instances hold no double dash, so different ones stay different; long ones
// are cut and told apart by a hash.
func NameOnServer(app, name string) string {
	base := Mangle(app) + "__" + Mangle(Base(name))
	if len(base) > maxBase {
		sum := sha256.Sum256([]byte(base))
		base = base[:maxBase-9] + "_" + hex.EncodeToString(sum[:4])
	}
	return strings.Join(append([]string{base}, Tags(name)...), "__")
}

// Mangle makes of a name one that SQL needs no quotes for.
func Mangle(s string) string { return strings.ReplaceAll(s, "-", "_") }
