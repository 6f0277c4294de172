package database

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// Stored lists the places of the backups of an app ("" for all apps) in a
// vault, oldest first within an instance.
func Stored(ctx context.Context, v Vault, app string) ([]string, error) {
	prefix := backupsRoot
	if app != "" {
		prefix += app + "/"
	}
	all, err := Listed(ctx, v, prefix)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, o := range all {
		if name, ok := strings.CutSuffix(o.Name, "/"+manifestFile); ok && strings.Count(name, "/") == 3 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Remove removes a backup, or what is left of one: its manifest first, so
// that no half of one looks like a backup. Packs that nobody needs any more
// are Collect's.
func Remove(ctx context.Context, at Place) error {
	if at.Vault == nil {
		return removeFolder(at.Name)
	}
	if err := at.Vault.Delete(ctx, at.Name+"/"+manifestFile); err != nil {
		return err
	}
	if err := faults.Point("database.remove.manifest"); err != nil {
		return err
	}
	all, err := Listed(ctx, at.Vault, at.Name+"/")
	if err != nil {
		return err
	}
	for _, o := range all {
		if err := at.Vault.Delete(ctx, o.Name); err != nil {
			return err
		}
		if err := faults.Point("database.remove.object"); err != nil {
			return err
		}
	}
	return nil
}

// Collect removes from the vault what no backup of the app names: packs of
// files, and parts of backups without a manifest. While one of its manifests
// cannot be read nothing is removed, and neither is what is younger than age:
// a backup may be under way.
func Collect(ctx context.Context, v Vault, app string, age time.Duration) (removed int, bytes int64, err error) {
	names, err := Stored(ctx, v, app)
	if err != nil {
		return 0, 0, err
	}
	needed := map[string]bool{}
	for _, name := range names {
		m, err := ReadManifest(ctx, Place{v, name})
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue
		}
		if err != nil {
			return 0, 0, bosman.AsError(err).WithKept("nothing was removed: it may need what no other backup names")
		}
		if m.Files != nil {
			for _, c := range m.Files.Packs {
				needed[c.Name] = true
			}
		}
	}
	for _, prefix := range []string{packFolder(app), backupsRoot + app + "/"} {
		all, err := Listed(ctx, v, prefix)
		if err != nil {
			return removed, bytes, err
		}
		for _, o := range all {
			whole := slices.Contains(names, path.Dir(o.Name))
			if needed[o.Name] || whole || time.Since(o.At) < age {
				continue
			}
			if err := v.Delete(ctx, o.Name); err != nil {
				return removed, bytes, err
			}
			removed, bytes = removed+1, bytes+o.Size
		}
	}
	return removed, bytes, nil
}
