package serve

import (
	"context"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
	"github.com/bosman-cd/bosman/database/postgres"
)

// masks says what has to be masked in copies of apps' data.
type masks struct {
	records   *records
	confirmed func(ctx context.Context, app string) (*bosman.Manifest, error) // main's, as far as it was confirmed
	salt      func(app string) string
}

// spec is what the release that the data belongs to says, and what main says
// since: a column that somebody found to be personal is masked at once.
func (m *masks) spec(ctx context.Context, app, name string, release int) (mask.Spec, error) {
	if m == nil || release == 0 {
		return mask.Spec{}, nil
	}
	own, err := m.records.Manifest(ctx, app, release)
	if err != nil {
		return mask.Spec{}, err
	}
	now, err := m.confirmed(ctx, app)
	if err != nil {
		return mask.Spec{}, err
	}
	from, also := named(own, name), named(now, name)
	s := mask.Spec{Database: name, Columns: from.Mask, Also: also.Mask, Types: from.MaskTypes, Salt: m.salt(app)}
	if also.Masked() {
		s.Types = append(append([]string{}, s.Types...), also.MaskTypes...)
	}
	for _, file := range from.MaskSQL {
		text, err := m.file(app, release, path.Join(own.Root, file))
		if err != nil {
			return mask.Spec{}, err
		}
		s.SQL = append(s.SQL, mask.File{Name: file, Text: text})
	}
	return s, nil
}

// named is the part of a manifest about the app's own database (name "") or a
// further one.
func named(m *bosman.Manifest, name string) bosman.DatabaseSpec {
	if name == "" {
		return m.Database
	}
	return m.Databases[name]
}

// file reads a file of a sealed release, which a pruned one no longer has.
func (m *masks) file(app string, release int, name string) (string, error) {
	root, err := os.OpenRoot(m.records.releases.Tree(app, release))
	if err != nil {
		return "", bosman.Unavailable("the files of %s cannot be read", bosman.Ref(bosman.LetterRelease, release)).Because(err)
	}
	b, err := root.ReadFile(name)
	if closing := root.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return "", bosman.NotFound("bosman.yaml names %s under mask_sql, but %s has no such file", name, bosman.Ref(bosman.LetterRelease, release)).
			WithKept("no copy was made of this data").WithNext("add the file, or take it off the list").Because(err)
	}
	return string(b), nil
}

// masking is what the engine of an app's copies asks. What it copies from a
// copy was masked when that was made.
func (m *masks) masking(app, name string, instances func(ctx context.Context, app, instance string) (bosman.Instance, error)) database.Masking {
	return func(ctx context.Context, instance string, release int) (mask.Spec, error) {
		i, err := instances(ctx, app, instance)
		if err != nil {
			return mask.Spec{}, err
		}
		if i.Kind == bosman.KindTesting || i.Kind == bosman.KindPreview {
			return mask.Spec{}, nil
		}
		if release == 0 {
			release = i.Release
		}
		return m.spec(ctx, app, name, release)
	}
}

// equip gives the engines of copies what must be masked.
func (d *databases) equip(app string, k *database.Keeper) {
	if d.masks == nil {
		return
	}
	for _, e := range []database.Engine{k.Engine, k.Scratch} {
		if m, ok := e.(database.Masker); ok {
			m.MaskWith(d.masks.masking(app, "", d.records.store.Instance))
		}
		if m, ok := e.(*postgres.Many); ok {
			for name, one := range m.Further() {
				one.MaskWith(d.masks.masking(app, name, d.records.store.Instance))
			}
		}
	}
}

// maskable refuses copies that would show what must not be shown: live's data
// unmasked, or masks that cannot be.
func (d *databases) maskable(ctx context.Context, k *database.Keeper, from bosman.Instance) error {
	if err := d.lend(ctx, from); err != nil {
		return err
	}
	var further []string
	if k != nil {
		if m, ok := k.Engine.(*postgres.Many); ok {
			further = slices.Sorted(maps.Keys(m.Further()))
		}
	}
	for _, name := range append([]string{""}, further...) {
		s, err := d.masks.spec(ctx, from.App, name, from.Release)
		if err != nil {
			return err
		}
		if !s.Empty() || from.Kind != bosman.KindLive {
			continue
		}
		if name != "" {
			return bosman.Forbidden("live's data does not leave live unmasked, and bosman.yaml masks nothing in the database %s", name).WithKept("no copy was made of this data").
				WithNext("say with databases: {" + name + ": {mask: …}} what must not be shown; a database that the app no longer needs is masked by a file of mask_sql that empties it")
		}
		return bosman.Forbidden("live's data does not leave live unmasked, and bosman.yaml masks nothing").WithKept("no copy was made of this data").
			WithNext("say with database: {mask: …} what must not be shown, or copy staging: instances: {testing: {copy: staging}} in bosman.yaml on main")
	}
	return nil
}

// shown is what of an instance's data copies may hold: of live not the files,
// which no mask changes.
func (d *databases) shown(from bosman.Instance, m *bosman.Manifest) database.Snapshot {
	s := d.snapshot(from, m)
	if from.Kind == bosman.KindLive && s.Files != "" {
		s.Files = "/nonexistent"
	}
	return s
}

// Masks implements helm.Masks: a report for each database of i, its own first.
func (d *databases) Masks(ctx context.Context, i bosman.Instance) ([]bosman.MaskReport, error) {
	if i.Release == 0 || i.Database.Engine == "" {
		return nil, nil
	}
	k, err := d.keeper(ctx, bosman.Instance{App: i.App, Kind: bosman.KindTesting}, i.Database.Engine)
	if err != nil {
		return nil, err
	}
	if err := d.lend(ctx, i); err != nil {
		return nil, err
	}
	first, err := d.maskReport(ctx, k.Engine, i, "", i.Database)
	if err != nil {
		return nil, err
	}
	out := []bosman.MaskReport{first}
	own, err := d.ownFurther(ctx, i)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		m, ok := k.Engine.(*postgres.Many)
		if !ok {
			return nil, bosman.Internal("the further databases of %s have no engine for their copies", i.App)
		}
		r, err := d.maskReport(ctx, m.Further()[name], i, name, own[name])
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// maskReport reports on one database: e is the engine of its copies.
func (d *databases) maskReport(ctx context.Context, e database.Engine, i bosman.Instance, name string, db bosman.Database) (bosman.MaskReport, error) {
	r := bosman.MaskReport{Instance: i.Name, Database: name}
	s, err := d.masks.spec(ctx, i.App, name, i.Release)
	if err != nil {
		return r, err
	}
	for _, f := range s.SQL {
		r.SQL = append(r.SQL, f.Name)
	}
	if r.Off = s.Empty(); r.Off {
		s.Types = bosman.MaskTypes // what masks would have to cover
	}
	m, ok := e.(database.Masker)
	if !ok {
		return r, bosman.Internal("copies of %s databases cannot be masked", db.Engine)
	}
	plan, err := m.MaskPlan(ctx, db, s)
	if err != nil && bosman.KindOf(err) != bosman.KindInvalid {
		return r, err
	}
	if err != nil {
		r.Error = bosman.AsError(err).Message
	}
	for _, m := range plan.Masked {
		r.Masked = append(r.Masked, bosman.MaskedColumn{Column: mask.Shown(m.Column), Kind: m.Kind, Via: m.Via})
	}
	for _, c := range plan.Kept {
		r.Kept = append(r.Kept, mask.Shown(c))
	}
	for _, f := range plan.Left {
		r.Left = append(r.Left, bosman.MaskLeft{Column: mask.Shown(f.Column), Type: f.Type, Suggest: f.Line()})
	}
	return r, nil
}
