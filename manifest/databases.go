package manifest

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/goccy/go-yaml/ast"
)

var (
	engines       = []string{bosman.EnginePostgres, bosman.EngineSQLite, bosman.EngineMariaDB, bosman.EngineNone}
	extensionName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,62}$`)
	databaseName  = regexp.MustCompile(`^[a-z][a-z0-9]{0,19}$`)
	// reservedName would give variables that mean something else.
	reservedName = []string{"main", "bosman", "default"}
)

// database decodes an engine, or a mapping that says more.
func (d *decoder) database(to *bosman.DatabaseSpec) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		switch d.plain(n).(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			d.object(n, path, "postgres, sqlite, mariadb, none or a mapping", fields{
				"engine":     d.text(&to.Engine),
				"url_from":   d.text(&to.URLFrom),
				"extensions": d.texts(&to.Extensions, "names of extensions"),
				"mask":       d.dict(&to.Mask, d.maskKind),
				"mask_sql":   d.texts(&to.MaskSQL, "files"),
				"mask_types": d.texts(&to.MaskTypes, "types"),
			})
		default:
			d.text(&to.Engine)(n, path)
			d.sources[path+".engine"] = place(n)
		}
	}
}

// maskKind is text, or the word null, which YAML takes for something else.
func (d *decoder) maskKind(to *string) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		if v, ok := d.plain(n).(*ast.NullNode); ok && v.GetToken().Value == "null" {
			*to = "null"
			return
		}
		d.value(to)(n, path)
	}
}

func (d *decoder) databases(to *map[string]bosman.DatabaseSpec) func(ast.Node, string) {
	return func(n ast.Node, path string) {
		*to = map[string]bosman.DatabaseSpec{}
		for _, e := range d.entries(n, path, "a mapping of names to databases") {
			var s bosman.DatabaseSpec
			d.database(&s)(e.node, join(path, e.name))
			(*to)[e.name] = s
		}
	}
}

func (d *decoder) checkDatabases(m *bosman.Manifest) {
	if _, written := d.sources["database"]; written {
		d.checkDatabase("database", m.Database)
	}
	for _, name := range m.DatabaseNames() {
		key := join("databases", name)
		if !databaseName.MatchString(name) || slices.Contains(reservedName, name) {
			d.key(key, "this name is not usable; use a lower-case letter, then letters and digits, at most 20, and not %s", strings.Join(reservedName, ", "))
		}
		s := m.Databases[name]
		d.checkDatabase(key, s)
		if s.Engine == bosman.EngineNone {
			d.key(key, "expected a kind of database; leave the name out for none")
		} else if s.Engine != "" && s.Engine != bosman.EnginePostgres {
			d.key(key, "further databases can be of the engine postgres only, not %s", s.Engine)
		}
		if s.URLFrom != "" {
			d.key(key+".url_from", "a further database is made by Bosman; only the main one can be one that it did not make")
		}
	}
	if len(m.Databases) > 0 && (m.Database.Engine == bosman.EngineNone || !d.written("database")) {
		d.key("databases", "these are further databases; name the main one with database: first")
	} else if len(m.Databases) > 0 && (m.Database.Engine != "" && m.Database.Engine != bosman.EnginePostgres || m.Database.URLFrom != "") {
		d.key("databases", "further databases stand beside one of the engine postgres that Bosman makes only")
	}
}

func (d *decoder) written(key string) bool {
	_, ok := d.sources[key]
	return ok
}

func (d *decoder) checkDatabase(key string, s bosman.DatabaseSpec) {
	if d.written(key+".engine") && !slices.Contains(engines, s.Engine) {
		// One word is a mistake at the key itself.
		d.at(d.sources[key+".engine"], key, "expected %s, found %q", strings.Join(engines, ", "), s.Engine)
		return
	}
	postgres := s.Engine == bosman.EnginePostgres || s.Engine == ""
	if d.written(key+".url_from") && (!envName.MatchString(s.URLFrom) || reservedEnv.MatchString(s.URLFrom)) {
		d.key(key+".url_from", "expected the name of a secret such as LIVE_DATABASE_URL, found %q", s.URLFrom)
	}
	if s.URLFrom != "" && !postgres {
		d.key(key+".url_from", "databases that Bosman did not make can be of the engine postgres only")
	}
	if len(s.Extensions) > 0 && !postgres {
		d.key(key+".extensions", "extensions are PostgreSQL's; they mean nothing with %s", s.Engine)
	}
	for i, name := range s.Extensions {
		if !extensionName.MatchString(name) {
			d.key(fmt.Sprintf("%s.extensions[%d]", key, i), "expected the name of an extension such as hstore, found %q", name)
		}
	}
	if s.Engine == bosman.EngineNone {
		for _, k := range []string{"mask", "mask_sql", "mask_types"} {
			if d.written(key + "." + k) {
				d.key(key+"."+k, "there is no database to mask")
			}
		}
	}
	seen := map[bosman.ColumnName]string{}
	for _, column := range slices.Sorted(maps.Keys(s.Mask)) {
		at := join(key+".mask", column)
		c, err := bosman.ParseColumn(column)
		if err != nil {
			d.key(at, "%s", bosman.AsError(err).Message)
		} else if other, twice := seen[c]; twice {
			d.key(at, "this is the same column as %s", other)
		}
		seen[c] = column
		if !bosman.ValidMask(s.Mask[column]) {
			d.key(at, "expected %s or constant:VALUE, found %q", strings.Join(bosman.MaskKinds, ", "), s.Mask[column])
		}
	}
	for i, file := range s.MaskSQL {
		d.inside(fmt.Sprintf("%s.mask_sql[%d]", key, i), file, "a file")
	}
	for i, t := range s.MaskTypes {
		d.oneOf(fmt.Sprintf("%s.mask_types[%d]", key, i), t, bosman.MaskTypes...)
	}
}

// checkCopy allows copies of live's data only where they are masked.
func (d *decoder) checkCopy(key, from string, m *bosman.Manifest) {
	if from != string(bosman.KindLive) {
		return
	}
	if !m.Database.Masked() {
		d.key(key, "copies of live's data are handed out masked only; say with database: {mask: …} or mask_sql which columns hold personal data, or copy staging")
		return
	}
	for _, name := range m.DatabaseNames() {
		if !m.Databases[name].Masked() {
			d.key(key, "copies of live's data are handed out masked only; databases.%s has neither mask nor mask_sql", name)
		}
	}
}

// fillDatabases says what a silent part of database: means.
func fillDatabases(m *bosman.Manifest) {
	fill := func(s bosman.DatabaseSpec, silent string) bosman.DatabaseSpec {
		if s.Engine == "" {
			s.Engine = silent
		}
		if s.Masked() && s.MaskTypes == nil {
			s.MaskTypes = slices.Clone(bosman.MaskTypes)
		}
		return s
	}
	silent := bosman.EngineNone
	if !reflect.DeepEqual(m.Database, bosman.DatabaseSpec{}) {
		silent = bosman.EnginePostgres
	}
	m.Database = fill(m.Database, silent)
	for name, s := range m.Databases {
		m.Databases[name] = fill(s, bosman.EnginePostgres)
	}
}

// Incompatible refuses what cannot be changed in place: the kind of a
// database.
func Incompatible(old, next *bosman.Manifest) error {
	if old == nil || next == nil {
		return nil
	}
	changed := func(what string, from, to bosman.DatabaseSpec) error {
		if from.Engine == to.Engine {
			return nil
		}
		return bosman.Invalid("bosman.yaml changes %s from %s to %s", what, word(from.Engine), word(to.Engine)).
			WithKept("the instances keep their databases").
			WithNext("add the app under another name and move the data, or change the key back")
	}
	if err := changed("the database", old.Database, next.Database); err != nil {
		return err
	}
	for _, name := range old.DatabaseNames() {
		if to, ok := next.Databases[name]; ok {
			if err := changed("the database "+name, old.Databases[name], to); err != nil {
				return err
			}
		}
	}
	return nil
}

// unmasks lists how next shows more of live's data in copies than old.
func unmasks(old, next *bosman.Manifest) []string {
	copiesLive := false
	for _, k := range []bosman.InstanceKind{bosman.KindTesting, bosman.KindPreview} {
		if next.PolicyFor(k).Copy != string(bosman.KindLive) {
			continue
		}
		copiesLive = true
		if old.PolicyFor(k).Copy != string(bosman.KindLive) {
			return []string{fmt.Sprintf("%s instances get copies of live's data, masked", k)}
		}
	}
	if !copiesLive {
		return nil
	}
	list := unmasked("", old.Database, next.Database)
	for _, name := range next.DatabaseNames() {
		list = append(list, unmasked(" of the database "+name, old.Databases[name], next.Databases[name])...)
	}
	return list
}

func unmasked(of string, old, next bosman.DatabaseSpec) []string {
	var list []string
	for _, column := range slices.Sorted(maps.Keys(old.Mask)) {
		from, to := old.Mask[column], next.Mask[column]
		switch {
		case from == to || from == "keep":
		case to == "":
			list = append(list, fmt.Sprintf("copies of live show %s%s unmasked", column, of))
		default:
			list = append(list, fmt.Sprintf("copies of live show %s%s as %s, not as %s", column, of, to, from))
		}
	}
	for _, column := range slices.Sorted(maps.Keys(next.Mask)) {
		if next.Mask[column] == "keep" && old.Mask[column] == "" {
			list = append(list, fmt.Sprintf("copies of live show %s%s as it is", column, of))
		}
	}
	for _, file := range old.MaskSQL {
		if !slices.Contains(next.MaskSQL, file) {
			list = append(list, fmt.Sprintf("copies of live%s are made without %s", of, file))
		}
	}
	for _, t := range old.MaskTypes {
		if !slices.Contains(next.MaskTypes, t) {
			list = append(list, fmt.Sprintf("copies of live%s may show columns of the type %s", of, t))
		}
	}
	return list
}

func span(d time.Duration) string {
	switch {
	case d == 0:
		return "no time"
	case d%bosman.Day == 0:
		return fmt.Sprintf("%d days", d/bosman.Day)
	}
	return d.String()
}
