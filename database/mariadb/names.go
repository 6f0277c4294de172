package mariadb

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/bosman-cd/bosman/database"
)

// MariaDB's names of databases have at most 64 characters. The longest tag is
// "__golden_" and a time: 27.
const maxBase = 36

// databaseName is the name in MariaDB of an app's database: "rms" and
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

// loginUser is the user of an instance; its database has the same name.
func loginUser(app, name string) string { return databaseName(app, database.Base(name)) }

// workerPrefix begins the users that fill databases not handed out yet.
const workerPrefix = "work_"

func workerUser(db string) string { return workerPrefix + db }

// own says whether name is an instance's own database, not one beside it.
func own(name string) bool { return len(database.Tags(name)) == 0 }
