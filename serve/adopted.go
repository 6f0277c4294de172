package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// adoptedURL is the URL of a database that Bosman did not make and that an
// instance uses: that of the secret named by url_from. "" if it uses one of
// Bosman's own; what an instance has once is not exchanged for the other.
func (d *databases) adoptedURL(ctx context.Context, i bosman.Instance) (string, error) {
	own := i.Database.Name != "" && !postgres.IsAdopted(i.Database)
	if i.Name == "" || own || d.instances == nil || d.instances.helm == nil || d.masks == nil {
		return "", nil
	}
	var m *bosman.Manifest
	var err error
	if i.Release != 0 {
		m, err = d.records.Manifest(ctx, i.App, i.Release)
	} else {
		m, err = d.masks.confirmed(ctx, i.App)
	}
	if err != nil {
		return "", err
	}
	address := ""
	if name := m.Database.URLFrom; name != "" {
		secrets, err := d.instances.helm.SecretsFor(ctx, i)
		if err != nil {
			return "", err
		}
		address = secrets[name]
	}
	if address == "" && postgres.IsAdopted(i.Database) {
		return "", bosman.Conflict("the URL of the database of %s is not known any more", i.Name).
			WithKept("the database is as it was").
			WithNext("set the secret that bosman.yaml names under database: url_from for " + i.Name + " again")
	}
	return address, nil
}

// adoptedKeeper gives what looks after the data of an instance whose database
// Bosman did not make; nil for any other.
func (d *databases) adoptedKeeper(ctx context.Context, i bosman.Instance) (*database.Keeper, error) {
	address, err := d.adoptedURL(ctx, i)
	if err != nil || address == "" {
		return nil, err
	}
	sum := sha256.Sum256([]byte(address))
	key := postgres.AdoptedName(i.App, i.Name) + "/" + hex.EncodeToString(sum[:8])
	d.mu.Lock()
	known := d.keepers[key]
	d.mu.Unlock()
	if known != nil {
		return known, nil
	}
	c, err := postgres.Adopt(ctx, i.App, i.Name, address, d.log)
	if err != nil {
		return nil, err
	}
	c.ClientDir = d.postgresClient
	e, err := postgres.NewAdopted(i.App, c)
	if err != nil {
		return nil, err
	}
	copies, err := d.keeper(ctx, bosman.Instance{App: i.App, Kind: bosman.KindTesting}, bosman.EnginePostgres)
	if err != nil {
		return nil, err
	}
	for _, to := range []database.Engine{copies.Engine, copies.Scratch} {
		if s, ok := to.(interface{ AddSource(*postgres.Cluster) }); ok {
			s.AddSource(c)
		}
	}
	k := &database.Keeper{State: filepath.Join(d.data, "databases", i.App, "adopted-"+i.Name), Log: d.log, Engine: e, Scratch: copies.Scratch}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keepers[key] = k
	return k, nil
}

// lend makes an adopted database known to who copies it.
func (d *databases) lend(ctx context.Context, from bosman.Instance) error {
	if !postgres.IsAdopted(from.Database) {
		return nil
	}
	_, err := d.adoptedKeeper(ctx, from)
	return err
}

// adopted lists an app's databases that Bosman did not make, each with what
// is lost by that.
func (d *databases) adopted(ctx context.Context, instances []bosman.Instance) []bosman.AdoptedDatabase {
	var out []bosman.AdoptedDatabase
	for _, i := range instances {
		if i.Database.Adopted() {
			out = append(out, d.Adopted(ctx, i))
		}
	}
	return out
}

const (
	// lookLimit bounds how long a page waits for a server that is not ours.
	lookLimit = 3 * time.Second
	// lookAgain is how long an answer of such a server holds.
	lookAgain = 30 * time.Second
)

// Adopted says what cannot be done with the database of an instance that
// Bosman did not make. When its server does not answer, that is said with what
// was known before.
func (d *databases) Adopted(ctx context.Context, i bosman.Instance) bosman.AdoptedDatabase {
	key := i.App + "/" + i.Name
	d.mu.Lock()
	a, known := d.looked[key]
	d.mu.Unlock()
	if known && time.Since(a.At) < lookAgain && a.Name == i.Database.Name {
		return a
	}
	a = bosman.AdoptedDatabase{Instance: i.Name, Name: i.Database.Name, Host: i.Database.Host, Port: i.Database.Port, At: time.Now().UTC()}
	if err := d.lookAt(ctx, i, &a); err != nil {
		a.Error = bosman.AsError(err).Message
		if before, err := readAdopted(d.adoptedPath(i)); err == nil && before.Name == a.Name {
			a.Abilities, a.ByHand = before.Abilities, before.ByHand
		}
	} else if err := writeAdopted(d.adoptedPath(i), a); err != nil {
		d.log.Warn("what cannot be done with a database was not noted for the doctor", "app", i.App, "instance", i.Name, "err", err)
	}
	if ctx.Err() == nil { // else it says nothing about the server
		d.mu.Lock()
		d.looked[key] = a
		d.mu.Unlock()
	}
	return a
}

// lookAt asks the server, which may not answer.
func (d *databases) lookAt(ctx context.Context, i bosman.Instance, a *bosman.AdoptedDatabase) error {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	k, err := d.adoptedKeeper(ctx, i)
	if err != nil || k == nil {
		return err
	}
	if h, ok := k.Engine.(interface{ ByHand() string }); ok {
		a.ByHand = h.ByHand()
	}
	if l, ok := k.Engine.(database.Limited); ok {
		a.Abilities, err = l.Abilities(ctx, i.Database)
	}
	return err
}

// What was found stands in files, without any password, for the doctor and for
// the time when the server does not answer.

func (d *databases) adoptedPath(i bosman.Instance) string {
	return filepath.Join(d.data, "databases", i.App, adoptedFile+i.Name+".json")
}

const adoptedFile = "adopted-"

func readAdopted(path string) (a bosman.AdoptedDatabase, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	return a, err
}

func writeAdopted(path string, a bosman.AdoptedDatabase) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(path, b, 0o600)
}

// forgetAdopted is for an instance that is removed: its database stays.
func (d *databases) forgetAdopted(i bosman.Instance) error {
	d.mu.Lock()
	delete(d.looked, i.App+"/"+i.Name)
	d.mu.Unlock()
	if err := os.Remove(d.adoptedPath(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// adoptedFindings say which databases are not Bosman's and what is lost by
// that, as Bosman saw it last.
func adoptedFindings(opt Options) []finding {
	paths, err := filepath.Glob(filepath.Join(opt.Data, "databases", "*", adoptedFile+"*.json"))
	if err != nil {
		return nil // the pattern is ours
	}
	var out []finding
	for _, path := range paths {
		app := filepath.Base(filepath.Dir(path))
		a, err := readAdopted(path)
		if err != nil {
			out = append(out, finding{false, path + " cannot be read", "remove it: bosman databases --app " + app + " makes it anew"})
			continue
		}
		f := finding{good: true, what: fmt.Sprintf("the database of %s of %s, %s on %s:%d, is not Bosman's; what is lost by that, as of %s:", a.Instance, app, a.Name, a.Host, a.Port, a.At.Local().Format("2006-01-02 15:04"))}
		for _, x := range a.Abilities {
			if x.Name == bosman.CanBackup && !x.OK { // live is not deployed to without
				f.good, f.get = false, x.Why
			}
		}
		for _, lost := range bosman.Lost(a.Abilities) {
			f.what += "\n    no " + lost
		}
		out = append(out, f)
	}
	return out
}
