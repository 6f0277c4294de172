package postgres

import (
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/mask"
)

// Columns that may hold text among other things are found by their names too,
// and what is suggested for them makes a copy.
func TestPersonalDataInOtherTypes(t *testing.T) {
	main, scratch := clusters(t)
	staging, testers := engine(t, "found", main), engine(t, "found", scratch, main)
	from, err := staging.Create(t.Context(), "staging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, staging, from); drop(t, testers, bosman.Database{Name: "found__"}) })
	mustSQL(t, from, "CREATE DOMAIN base AS varchar(40)", "CREATE DOMAIN mailbox AS base", "CREATE TYPE place AS (street text, town text)",
		`CREATE TABLE person (id int PRIMARY KEY, email mailbox, emails text[] NOT NULL, contact_email varchar(50)[], mailboxes_email mailbox[], address jsonb NOT NULL, old_address place, useremail text, tags text[], phone int[],
			settings jsonb, search tsvector NOT NULL, found tsvector GENERATED ALWAYS AS (to_tsvector('simple', useremail)) STORED)`,
		"CREATE TABLE page (title text, search tsvector)",
		`INSERT INTO person VALUES (1, 'secret1@firma.pl', '{secret2@firma.pl}', '{secret3@firma.pl}', '{secret4@firma.pl}', '{"street": "secret5"}', ('secret6', 'x'), 'secret7@firma.pl', '{a}', '{1}', '{}', to_tsvector('simple', 'secret8'))`)
	spec := mask.Spec{Salt: "salt", Types: bosman.MaskTypes, Columns: map[string]string{"person.email": "email"}}
	plan, err := staging.MaskPlan(t.Context(), from, spec)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"person.emails": "constant:{}", "person.contact_email": "null", "person.mailboxes_email": "null", "person.address": "constant:{}", "person.old_address": "null",
		"person.useremail": "email", "person.search": "constant:masked",
	}
	for _, f := range plan.Left {
		if name := mask.Shown(f.Column); want[name] != f.Suggest || !bosman.ValidMask(f.Suggest) {
			t.Errorf("%s (%s): %s is suggested, want %q", name, f.Type, f.Suggest, want[name])
		}
		spec.Columns[mask.Shown(f.Column)] = f.Suggest
	}
	if len(plan.Left) != len(want) {
		t.Errorf("found %+v", plan.Left)
	}
	masks(testers, &spec)
	d, _, err := testers.Copy(t.Context(), from, "testing-anna", database.CopyOptions{Release: 1, From: "staging"})
	if err != nil {
		t.Fatalf("%v: %s", err, bosman.AsError(err).Next)
	}
	nothingIsLeft(t, testers, d, "secret1", "secret2", "secret3", "secret4", "secret5", "secret6", "secret7", "secret8")
}
