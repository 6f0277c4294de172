package postgres

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/bosman-cd/bosman/database"
)

// PostgreSQL cuts names at 63 bytes. The longest tag is "__golden_" and a
// time: 27 bytes.
const maxBase = 36

// databaseName is the name in PostgreSQL of an app's database: "rms" and
// "testing-anna__next" give "rms__testing_anna__next". Names of apps and
// instances hold no double dash, so different ones stay different; long ones
// are cut and told apart by a hash.
func databaseName(app, name string) string {
	base := mangle(app) + "__" + mangle(database.Base(name))
	if len(base) > maxBase {
		sum := sha256.Sum256([]byte(base))
		base = base[:maxBase-9] + "_" + hex.EncodeToString(sum[:4])
	}
	return strings.Join(append([]string{base}, database.Tags(name)...), "__")
}

func mangle(s string) string { return strings.ReplaceAll(s, "-", "_") }

// ownerRole owns what is in all databases of an app on a cluster.
func ownerRole(app string) string { return "app_" + mangle(app) }

// workerRole restores as the owner, into databases not handed out yet.
func workerRole(app string) string { return "work_" + mangle(app) }

// loginRole is the role of an instance; its database has the same name.
func loginRole(app, name string) string { return databaseName(app, database.Base(name)) }
