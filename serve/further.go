package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/instance"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// furtherPath is the list of the further databases that any release of an app
// ever had: what is in one of them is kept and dropped with the rest also when
// the release of now does not name it.
func (d *databases) furtherPath(app string) string {
	return filepath.Join(d.data, "databases", app, "further.json")
}

// further gives the names of an app's further databases, sorted.
func (d *databases) further(app string) (names []string, err error) {
	b, err := os.ReadFile(d.furtherPath(app))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &names)
	}
	if err != nil {
		return nil, bosman.Unavailable("the list of the databases of %s cannot be read", app).WithKept("the databases are untouched").Because(err)
	}
	return names, nil
}

// noteFurther adds names to the list.
func (d *databases) noteFurther(app string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	known, err := d.further(app)
	if err != nil {
		return err
	}
	all := slices.Concat(known, names)
	slices.Sort(all)
	if all = slices.Compact(all); len(all) == len(known) {
		return nil
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	path := d.furtherPath(app)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return bosman.Unavailable("the list of the databases of %s cannot be written", app).Because(err)
	}
	return atomicfile.Write(path, b, 0o600)
}

// furtherIn gives the names of the further databases that a backup holds.
func furtherIn(m database.Manifest) (names []string) {
	for _, c := range m.Contents {
		if name, ok := strings.CutPrefix(c.Name, "database-"); ok {
			if name, ok = strings.CutSuffix(name, ".json"); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// withFurther gives the engine of an app that has further databases. Its
// copies are on the shared scratch cluster, all of them.
func withFurther(e database.Engine, onScratch *postgres.Engine, names []string) database.Engine {
	if len(names) == 0 {
		return e
	}
	if main, ok := e.(*postgres.Engine); ok {
		return main.With(names...)
	}
	return onScratch.With(names...)
}

// complete makes the further databases that a release names and the instance
// has not got yet, with the extensions they ask for.
func (d *databases) complete(ctx context.Context, k *database.Keeper, i bosman.Instance, m *bosman.Manifest) error {
	names := m.DatabaseNames()
	if len(names) == 0 {
		return nil
	}
	e, ok := k.Engine.(*postgres.Many)
	if !ok {
		return bosman.Conflict("%s runs on a database that Bosman did not make, and further ones cannot stand beside it", i.Name).
			WithKept("its data is as it was").WithNext("take databases: out of bosman.yaml, or let Bosman make the main one as well")
	}
	if err := e.Complete(ctx, i.Name); err != nil {
		return err
	}
	for _, name := range names {
		one := e.Further()[name]
		db, err := one.Find(ctx, i.Name)
		if err == nil {
			err = one.Extend(ctx, db, m.Databases[name].Extensions)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ownFurther gives an instance's further databases with their passwords.
func (d *databases) ownFurther(ctx context.Context, i bosman.Instance) (map[string]bosman.Database, error) {
	if i.Database.Engine == "" {
		return nil, nil
	}
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return nil, err
	}
	e, ok := k.Engine.(*postgres.Many)
	if !ok {
		return nil, nil
	}
	out := map[string]bosman.Database{}
	for name, one := range e.Further() {
		db, err := one.Find(ctx, i.Name)
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[name] = db
	}
	return out, nil
}

// furtherEnv gives the variable that names a further database.
func furtherEnv(name string, d bosman.Database) []string {
	var out []string
	for _, kv := range instance.Environment(instance.Surroundings{Further: map[string]bosman.Database{name: d}}) {
		if strings.Contains(kv, "_DATABASE_URL=") {
			out = append(out, kv)
		}
	}
	return out
}
