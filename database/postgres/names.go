package postgres

import "github.com/bosman-cd/bosman/database"

// ownerRole owns what is in all databases of an app on a cluster.
func ownerRole(app string) string { return "app_" + database.Mangle(app) }

// workerRole restores as the owner, into databases not handed out yet.
func workerRole(app string) string { return "work_" + database.Mangle(app) }

// loginRole is the role of an instance; its database has the same name.
func loginRole(app, name string) string { return database.NameOnServer(app, database.Base(name)) }
