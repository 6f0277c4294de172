package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
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
		if !postgres.IsAdopted(i.Database) {
			continue
		}
		a := bosman.AdoptedDatabase{Instance: i.Name, Name: i.Database.Name, Host: i.Database.Host, Port: i.Database.Port}
		k, err := d.adoptedKeeper(ctx, i)
		if err == nil && k != nil {
			if l, ok := k.Engine.(database.Limited); ok {
				a.Abilities, err = l.Abilities(ctx, i.Database)
			}
		}
		if err != nil {
			a.Error = bosman.AsError(err).Message
		}
		out = append(out, a)
	}
	return out
}
