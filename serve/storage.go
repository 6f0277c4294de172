package serve

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/postgres"
)

// Storage lists what an app's databases take: helm.Storage.
func (d *databases) Storage(ctx context.Context, app string) (bosman.Storage, error) {
	var out bosman.Storage
	instances, err := d.records.store.Instances(ctx, app)
	if err != nil {
		return out, err
	}
	out.Adopted = d.adopted(ctx, instances)
	byName := map[string]bosman.Instance{}
	kinds := map[string]bool{}
	for _, i := range instances {
		byName[i.Name] = i
		if i.Database.Engine != "" {
			kinds[i.Database.Engine] = true
		}
	}
	seen := map[string]bool{} // SQLite has one engine for all
	for kind := range kinds {
		for _, of := range []bosman.InstanceKind{bosman.KindLive, bosman.KindTesting} {
			k, err := d.keeper(ctx, bosman.Instance{App: app, Kind: of}, kind)
			if err != nil {
				return out, err
			}
			all, err := k.Engine.List(ctx)
			if err != nil {
				return out, err
			}
			for _, x := range all {
				if key := x.Database.Cluster + "/" + x.Database.Name; !seen[key] {
					seen[key] = true
					out.Databases = append(out.Databases, stored(app, x, byName))
				}
			}
		}
	}
	if kinds["postgres"] {
		if out.Servers, err = d.servers(); err != nil {
			return out, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	out.Pool = d.poolWhy[app]
	return out, nil
}

func stored(app string, x database.Entry, instances map[string]bosman.Instance) bosman.StoredDatabase {
	i := instances[database.Base(x.Name)]
	s := bosman.StoredDatabase{
		App: app, Name: x.Database.Name, Instance: database.Base(x.Name), Owner: i.Owner, Role: bosman.StoredOwn,
		Engine: x.Database.Engine, Cluster: x.Database.Cluster, Bytes: x.Bytes, Copy: x.Copy, KeptAt: x.KeptAt,
	}
	switch {
	case x.Golden:
		s.Role = bosman.StoredGolden
	case x.Pool:
		s.Role = bosman.StoredPool
	case !x.KeptAt.IsZero():
		s.Role = bosman.StoredKept
		if i.Kind == bosman.KindTesting || i.Kind == bosman.KindPreview {
			s.Until = x.KeptAt.Add(keptFor)
		}
	case len(database.Tags(x.Name)) > 0:
		s.Role = bosman.StoredBeside
	}
	return s
}

// servers describes the PostgreSQL clusters that run.
func (d *databases) servers() ([]bosman.DatabaseServer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []bosman.DatabaseServer
	for _, name := range []string{mainCluster, scratchCluster} {
		c := d.clusters[name]
		if c == nil {
			continue
		}
		free, leave, err := c.Disk()
		if err != nil {
			return nil, err
		}
		s := c.Strategy()
		v := bosman.DatabaseServer{Name: name, Version: "PostgreSQL " + c.Version(), Strategy: s.Name, Why: s.Why, Faster: s.Faster, Free: free, Leave: leave}
		if name == scratchCluster {
			v.Quota = d.copyQuota
		} else {
			v.LogKept = d.keepLog
		}
		if err := c.CannotDump(); err != nil {
			e := bosman.AsError(err)
			v.Lacking = e.Message + "; " + e.Next
		}
		out = append(out, v)
	}
	if v, ok := d.clones.server(); ok {
		out = append(out, v)
	}
	return out, nil
}

// filesOf is where the files of an instance lie, if it has any.
func (d *databases) filesOf(i bosman.Instance) string {
	return filepath.Join(instanceDir(d.data, i.App, i.Name), "data")
}

// parseBytes reads "50GB", "800 MB" or a number of bytes; "" is none.
func parseBytes(text string) (int64, error) {
	number := strings.TrimSpace(strings.ToUpper(text))
	if number == "" {
		return 0, nil
	}
	unit := int64(1)
	for suffix, bytes := range map[string]int64{"TB": 1 << 40, "GB": 1 << 30, "MB": 1 << 20, "KB": 1 << 10} {
		if rest, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = strings.TrimSpace(rest), bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n < 0 || n*float64(unit) > 1<<60 {
		return 0, bosman.Invalid("%q is not an amount of bytes", text).WithNext("write it like 50GB")
	}
	return int64(n * float64(unit)), nil
}

// serverFindings say what cannot be dumped, and which indexes a new C library
// may have put out of order.
func serverFindings(ctx context.Context, opt Options) []finding {
	var out []finding
	for _, name := range []string{mainCluster, scratchCluster} {
		c := &postgres.Cluster{Name: name, Profile: profileOf(name), Dir: filepath.Join(opt.Data, "postgres", name), ClientDir: opt.PostgresClient}
		if _, err := os.Stat(c.Dir); err != nil {
			continue
		}
		if err := c.CannotDump(); err != nil {
			e := bosman.AsError(err)
			out = append(out, finding{false, fmt.Sprintf("databases of the server %s cannot be dumped: %s", name, e.Message), e.Next})
		}
		wrong, err := c.WrongCollations(ctx)
		switch {
		case err != nil: // it does not run: serve says so
		case len(wrong) > 0:
			out = append(out, finding{
				false, fmt.Sprintf("the server %s sorts differently than when these indexes were made: %s", name, strings.Join(wrong, ", ")),
				"in each of them: REINDEX DATABASE, then ALTER COLLATION … REFRESH VERSION",
			})
		}
	}
	return out
}

func profileOf(cluster string) postgres.Profile {
	if cluster == scratchCluster {
		return postgres.Scratch
	}
	return postgres.Main
}
