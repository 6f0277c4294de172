package mariadb

import "github.com/bosman-cd/bosman/database"

// loginUser is the user of an instance; its database has the same name.
func loginUser(app, name string) string { return database.NameOnServer(app, database.Base(name)) }

// workerPrefix begins the users that fill databases not handed out yet.
const workerPrefix = "work_"

func workerUser(db string) string { return workerPrefix + db }

// own says whether name is an instance's own database, not one beside it.
func own(name string) bool { return len(database.Tags(name)) == 0 }
