package story

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
)

// Rehearsal gives the rehearsal of a change.
func (s *Story) Rehearsal(_ context.Context, a bosman.Actor, app, ref string) (bosman.Rehearsal, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return bosman.Rehearsal{}, err
	}
	r, ok := s.Rehearsals[ref]
	if !ok {
		return r, bosman.NotFound("%s was not rehearsed", ref)
	}
	return r, nil
}

// PlanRevert says what a revert would do.
func (s *Story) PlanRevert(_ context.Context, a bosman.Actor, app, instance string) (bosman.RevertPlan, error) {
	return s.Plans[instance], s.check(a, bosman.MayRevert, app, s.kind(instance))
}

func (s *Story) data(ago before) {
	copied := bosman.CopyInfo{From: "staging", TakenAt: ago(41 * minute), Release: 137, Strategy: "template", Bytes: 14 << 20}
	s.Rehearsals = map[string]bosman.Rehearsal{
		"c21": {
			App: rms, Release: 133, Change: 21, State: bosman.RehearsalPassed, Copy: copied, Took: 1340 * time.Millisecond, Sessions: 1,
			Schema: "column public.candidates_candidate.salary added; table public.candidates_shortlist added",
			Statements: []bosman.RanStatement{
				{SQL: `ALTER TABLE "candidates_candidate" ADD COLUMN "salary" integer NULL`, Took: 2 * time.Millisecond},
				{SQL: `CREATE TABLE "candidates_shortlist" ("id" bigserial NOT NULL PRIMARY KEY, "name" varchar(120) NOT NULL)`, Took: 4 * time.Millisecond},
			},
			Others: 6, OthersTook: 9 * time.Millisecond,
			Locks: []bosman.HeldLock{{Table: "public.candidates_candidate", Mode: "AccessExclusiveLock", For: 3 * time.Millisecond, Stops: "reads and writes"}},
		},
		"c23": {
			App: rms, Release: 132, Change: 23, State: bosman.RehearsalPassed, Copy: copied, Took: 21400 * time.Millisecond, Sessions: 1, Destructive: true,
			Schema: "column public.candidates_candidate.birth_date dropped; column public.notes_note.colour added",
			Statements: []bosman.RanStatement{
				{SQL: `ALTER TABLE "notes_note" ADD COLUMN "colour" varchar(7) DEFAULT '#ffffff' NOT NULL`, Took: 11 * time.Millisecond},
				{SQL: `CREATE INDEX "notes_note_colour_idx" ON "notes_note" ("colour")`, Took: 18200 * time.Millisecond},
				{SQL: `ALTER TABLE "candidates_candidate" DROP COLUMN "birth_date" CASCADE`, Took: 3 * time.Millisecond},
			},
			Locks: []bosman.HeldLock{
				{Table: "public.notes_note", Mode: "ShareLock", For: 18200 * time.Millisecond, Stops: "writes"},
				{Table: "public.candidates_candidate", Mode: "AccessExclusiveLock", For: 5 * time.Millisecond, Stops: "reads and writes"},
			},
			Dangers: []bosman.Danger{{Kind: bosman.Locking, Text: "the index on notes_note was built in 18.2 s while nobody could write to it; build it CONCURRENTLY"}},
		},
		"c25": {
			App: rms, Release: 134, Change: 25, State: bosman.RehearsalFailed, Copy: copied, Took: 800 * time.Millisecond, Sessions: 1, Reason: "exit status 1",
			Output: "Applying candidates.0006_filter...\ndjango.db.utils.IntegrityError: column \"filter\" of relation \"candidates_candidate\" contains null values",
		},
	}
	s.Plans = map[string]bosman.RevertPlan{
		"live": {
			Instance: "live", Release: 134, From: 136, Reverts: 47, Policy: bosman.RevertAhead, Schema: "column public.candidates_candidate.salary added",
			Why:   "the migrations only added, and the release before was seen to work on the new schema: the code goes back, the database stays ahead",
			Proof: bosman.ProofGood, ProvenBy: 50, ProvenOn: "staging", Backup: 31, BackupAt: ago(26*hour + 11*minute), Kept: true, KeptBytes: 14 << 20, Expected: time.Second,
			Written: bosman.Written{Known: true, Certain: true, Tables: []bosman.TableRows{{Table: "public.candidates_candidate", Rows: 42}, {Table: "public.notes_note", Rows: 117}}},
		},
		"staging": {
			Instance: "staging", Release: 136, From: 137, Reverts: 50, Policy: bosman.RevertAsk, Schema: "column public.candidates_candidate.birth_date dropped",
			Why:    "the migrations dropped or changed what the release before needs; how much was written since the backup is not known: a person decides",
			Backup: 0, Floor: bosman.Floor{Release: 137, Below: 136, Because: "column public.candidates_candidate.birth_date dropped"},
			Refused: "r136 reads the column birth_date, which r137 dropped",
		},
	}
}
