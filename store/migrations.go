package store

import "io/fs"

// mustSub is the folder of migrations; it is compiled in, so it exists.
func mustSub() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err)
	}
	return sub
}
