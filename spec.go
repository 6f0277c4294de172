package bosman

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kinds of databases that bosman.yaml may name.
const (
	EnginePostgres = "postgres"
	EngineSQLite   = "sqlite"
	EngineMariaDB  = "mariadb"
	EngineNone     = "none"
)

// DatabaseSpec says what database an app needs. In bosman.yaml it is one word,
// the engine, or a mapping.
type DatabaseSpec struct {
	Engine     string            `yaml:"engine"`     // postgres, sqlite, mariadb or none
	URLFrom    string            `yaml:"url_from"`   // secret with the URL of a database that Bosman did not make; used by instances that have the secret
	Extensions []string          `yaml:"extensions"` // PostgreSQL: made before the app needs them
	Mask       map[string]string `yaml:"mask"`       // column ("table.column", see ParseColumn) → kind of mask
	MaskSQL    []string          `yaml:"mask_sql"`   // files of the release, run once on each golden copy
	MaskTypes  []string          `yaml:"mask_types"` // types of columns that no golden copy may hold unmasked; all when masks are given and this is silent
}

// Masked says whether copies of this database are masked.
func (s DatabaseSpec) Masked() bool { return len(s.Mask) > 0 || len(s.MaskSQL) > 0 }

// Exists says whether there is a database at all.
func (s DatabaseSpec) Exists() bool { return s.Engine != "" && s.Engine != EngineNone }

// MaskKinds are the kinds of masks, besides "constant:VALUE":
//
//	email       a valid, unique address at example.invalid
//	phone       other digits, everything else as it was
//	code        other digits and letters in the same places (IBAN, tax number)
//	name, first_name, last_name, address, text   of the same kind, invented
//	date        moved by a number of days that is the same in the whole app
//	hash        hexadecimal
//	null        nothing
//	keep        as it is: somebody has looked at it
var MaskKinds = []string{"address", "code", "date", "email", "first_name", "hash", "keep", "last_name", "name", "null", "phone", "text"}

// MaskConstant begins a kind of mask that is one value for all rows.
const MaskConstant = "constant:"

// ValidMask says whether kind is a kind of mask.
func ValidMask(kind string) bool {
	return slices.Contains(MaskKinds, kind) || strings.HasPrefix(kind, MaskConstant)
}

// MaskTypes are the types of personal data that are recognised by the names of
// columns.
var MaskTypes = []string{"address", "birth", "email", "iban", "name", "password", "phone", "ssn", "token"}

// ColumnName names a column; Schema may be "": the first one that has the
// table.
type ColumnName struct{ Schema, Table, Column string }

// String gives the form that ParseColumn reads.
func (c ColumnName) String() string {
	parts := []string{c.Table, c.Column}
	if c.Schema != "" {
		parts = append([]string{c.Schema}, parts...)
	}
	for i, p := range parts {
		if !plainIdent.MatchString(p) {
			parts[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
		}
	}
	return strings.Join(parts, ".")
}

var plainIdent = regexp.MustCompile(`^[\pL_][\pL\pN_$ -]*$`)

// ParseColumn reads table.column or schema.table.column. A part that holds a
// dot or a quote is written in double quotes, its own doubled.
func ParseColumn(s string) (ColumnName, error) {
	wrong := Invalid(`expected table.column or schema.table.column, found %q`, s)
	var parts []string
	for rest := s; ; {
		part, after, ok := cutIdent(rest)
		if !ok || part == "" || strings.ContainsRune(part, 0) {
			return ColumnName{}, wrong
		}
		parts = append(parts, part)
		if after == "" {
			break
		}
		if !strings.HasPrefix(after, ".") {
			return ColumnName{}, wrong
		}
		rest = after[1:]
	}
	switch len(parts) {
	case 2:
		return ColumnName{Table: parts[0], Column: parts[1]}, nil
	case 3:
		return ColumnName{Schema: parts[0], Table: parts[1], Column: parts[2]}, nil
	}
	return ColumnName{}, wrong
}

// cutIdent takes one part from the front of s.
func cutIdent(s string) (part, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		if i := strings.IndexByte(s, '.'); i >= 0 {
			part, rest = s[:i], s[i:]
		} else {
			part = s
		}
		return part, rest, !strings.Contains(part, `"`)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return b.String(), s[i+1:], true
	}
	return "", "", false
}

// DatabaseNames gives the names of an app's further databases, in order.
func (m *Manifest) DatabaseNames() []string {
	names := make([]string, 0, len(m.Databases))
	for name := range m.Databases {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Day is what the letter d stands for in the times of bosman.yaml.
const Day = 24 * time.Hour

var days = regexp.MustCompile(`([0-9]+(?:\.[0-9]*)?)d`)

// ParseDuration is time.ParseDuration that also takes days of 24 hours: 90d.
func ParseDuration(s string) (time.Duration, error) {
	hours := days.ReplaceAllStringFunc(s, func(part string) string {
		n, err := strconv.ParseFloat(strings.TrimSuffix(part, "d"), 64)
		if err != nil {
			return part
		}
		return strconv.FormatFloat(n*Day.Hours(), 'f', -1, 64) + "h"
	})
	t, err := time.ParseDuration(hours)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time such as 60s, 10m, 24h or 90d", s)
	}
	return t, nil
}
