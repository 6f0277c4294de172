package story

import (
	"context"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
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

// Moments says what the log of the databases gives back.
func (s *Story) Moments(_ context.Context, a bosman.Actor, app string) (*bosman.PointInTime, error) {
	if app != rms {
		return nil, s.check(a, bosman.MaySee, app, "")
	}
	return s.Timeline, s.check(a, bosman.MaySee, app, "")
}

// DatabasesOf gives the databases of an app.
func (s *Story) DatabasesOf(_ context.Context, a bosman.Actor, app string) (bosman.Storage, error) {
	if app != rms {
		return bosman.Storage{}, s.check(a, bosman.MaySee, app, "")
	}
	return s.Stored, s.check(a, bosman.MaySee, app, "")
}

// AdoptedOf says what cannot be done with a database that Bosman did not make.
func (s *Story) AdoptedOf(_ context.Context, a bosman.Actor, app, instance string) (*bosman.AdoptedDatabase, error) {
	d, ok := s.Theirs[instance]
	if !ok || app != rms {
		return nil, s.check(a, bosman.MaySee, app, "")
	}
	return &d, s.check(a, bosman.MaySee, app, "")
}

// Adopt makes live's database one that Bosman did not make.
func (s *Story) Adopt() {
	d := bosman.AdoptedDatabase{
		Instance: "live", Name: "rms_production", Host: "db.example.org", Port: 5432,
		Abilities: []bosman.Ability{
			{Name: bosman.CanBackup, OK: true},
			{Name: bosman.CanVerify, OK: true, Why: "on Bosman's own server"},
			{Name: bosman.CanCopy, OK: true},
			{Name: bosman.CanCount, OK: true},
			{Name: bosman.CanRestore, Why: "Bosman does not replace a database that it did not make; it says the commands"},
			{Name: bosman.CanKeep, Why: "Bosman makes no copies on that server, so a revert with its database is a restore by hand"},
			{Name: bosman.CanRoles, Why: "a backup holds no roles of a server that is not Bosman's own"},
			{Name: bosman.CanCreate, Why: "it is made and dropped by whoever runs the server"},
			{Name: bosman.CanCheck, Why: "damage is found by the trial restore only"},
			{Name: bosman.CanExtend, Why: "the role rms is no superuser there; trusted extensions may still be made"},
		},
		ByHand: "restore by hand: stop the instance, then, on Bosman's machine and with the number of the backup\n    bosman backup fetch k12 --to ./k12\n    createdb -h db.example.org -p 5432 -U rms 'rms_production_restored'\n    pg_restore -h db.example.org -p 5432 -U rms --no-owner --no-acl --exit-on-error -d 'rms_production_restored' k12/database.dump\nset the secret to the new database's URL and start the instance",
	}
	s.Theirs = map[string]bosman.AdoptedDatabase{"live": d}
	s.Stored.Adopted = []bosman.AdoptedDatabase{d}
	p := s.Plans["live"]
	p.Adopted, p.Lost, p.ByHand, p.Kept = true, bosman.LostToRevert(d.Abilities), d.ByHand, false
	s.Plans["live"] = p
}

// KeptCopies lists what was kept aside.
func (s *Story) KeptCopies(_ context.Context, a bosman.Actor, app, instance string) ([]bosman.KeptCopy, error) {
	return filter(s.KeptAll, func(k bosman.KeptCopy) bool { return k.App == app && (instance == "" || k.Instance == instance) }), s.check(a, bosman.MaySee, app, "")
}

// BackupHealth says how the backups of an app are.
func (s *Story) BackupHealth(_ context.Context, a bosman.Actor, app string) ([]bosman.BackupHealth, error) {
	return filter(s.Health, func(h bosman.BackupHealth) bool { return h.App == app }), s.check(a, bosman.MaySee, app, "")
}

// BackupContents says what a backup holds.
func (s *Story) BackupContents(_ context.Context, a bosman.Actor, app string, n int) (bosman.BackupContents, error) {
	if err := s.check(a, bosman.MaySee, app, ""); err != nil {
		return bosman.BackupContents{}, err
	}
	b, err := find(s.BackupAll, bosman.Ref(bosman.LetterBackup, n), func(b bosman.Backup) bool { return b.App == app && b.Number == n })
	return bosman.BackupContents{
		Backup: b, Engine: "postgres", Version: "15.18", TakenAt: b.CreatedAt, Rows: map[string]int64{"public.candidates_candidate": 2301, "public.notes_note": 1490, "public.auth_user": 121},
		Extensions: map[string]string{"hstore": "1.8"}, Roles: []string{"CREATE ROLE app_rms NOLOGIN"}, Files: b.Files, FileBytes: 47 << 20, NewBytes: 310 << 10, Objects: 1206,
	}, err
}

// Recovery says how well Bosman would survive the loss of its server.
func (s *Story) Recovery(context.Context) (bosman.Recovery, error) { return s.Custody, nil }

// VerifyBackup is a verb.
func (s *Story) VerifyBackup(_ context.Context, a bosman.Actor, app string, n int, _ bool) (bosman.Backup, error) {
	return bosman.Backup{}, s.do(a, bosman.MayOperate, app, bosman.KindLive, "verify %s k%d", app, n)
}

// RemoveBackup is a verb.
func (s *Story) RemoveBackup(_ context.Context, a bosman.Actor, app string, n int) error {
	return s.do(a, bosman.MayAdminister, app, bosman.KindLive, "remove backup %s k%d", app, n)
}

// RestoreKept is a verb.
func (s *Story) RestoreKept(_ context.Context, a bosman.Actor, app, instance, id string, anyRelease bool) (bosman.Operation, error) {
	if anyRelease {
		id += ", of any release"
	}
	return s.newest(app), s.do(a, bosman.MayRestore, app, s.kind(instance), "bring back %s %s %s", app, instance, id)
}

// RemoveKept is a verb.
func (s *Story) RemoveKept(_ context.Context, a bosman.Actor, app, instance, id string) error {
	return s.do(a, bosman.MayRestore, app, s.kind(instance), "remove kept %s %s %s", app, instance, id)
}

func (s *Story) data(ago before) {
	stored := func(name, instance string, role bosman.StoredRole, cluster string, copied bosman.CopyInfo) bosman.StoredDatabase {
		return bosman.StoredDatabase{App: rms, Name: name, Instance: instance, Role: role, Engine: "postgres", Cluster: cluster, Bytes: 61 << 20, Copy: copied}
	}
	golden := bosman.CopyInfo{From: "staging", TakenAt: ago(41 * minute), Release: 137, Strategy: "dump", Took: 2300 * time.Millisecond, Bytes: 61 << 20}
	handed := golden
	handed.Strategy, handed.Took = "template, made in advance", 6*time.Millisecond
	proven := golden
	proven.Backup, proven.Strategy, proven.TakenAt = 31, "restored", ago(26*hour)
	older := golden
	older.TakenAt, older.Release = ago(27*hour), 136
	s.Stored = bosman.Storage{
		Databases: []bosman.StoredDatabase{
			stored("rms__live", "live", bosman.StoredOwn, "main", bosman.CopyInfo{}), stored("rms__staging", "staging", bosman.StoredOwn, "main", bosman.CopyInfo{}),
			stored("rms__testing_maria", "testing-maria", bosman.StoredOwn, "scratch", handed), stored("rms__testing_anna", "testing-anna", bosman.StoredOwn, "scratch", older),
			stored("rms__staging__golden_1", "staging", bosman.StoredGolden, "scratch", golden), stored("rms__staging__golden_0", "staging", bosman.StoredGolden, "scratch", proven),
			stored("rms__ready_1", "staging", bosman.StoredPool, "scratch", golden),
		},
		Servers: []bosman.DatabaseServer{
			{Name: "main", Version: "PostgreSQL 15.18", Free: 73 << 30},
			{Name: "scratch", Version: "PostgreSQL 15.18", Strategy: "template", Why: "the server copies the files of a golden copy", Faster: "ext4 cannot share blocks between files: bosman storage prepare makes a place that can", Free: 73 << 30},
		},
	}
	s.KeptAll = []bosman.KeptCopy{
		{App: rms, Instance: "live", At: ago(26*hour + 11*minute), Operation: 47, Database: "rms__live__way_back_d47", Bytes: 61 << 20},
		{App: rms, Instance: "testing-anna", ID: "20261122t080000000", At: ago(27 * hour), Database: "rms__testing_anna__kept_20261122t080000000", Bytes: 58 << 20, Release: 134, Against: "it holds the data of r134, but testing-anna runs r136"},
	}
	s.Health = []bosman.BackupHealth{{App: rms, Instance: "live", Where: "s3://copies/rms", Newest: 31, At: ago(26 * hour), Next: ago(-9 * hour)}}
	s.Timeline = &bosman.PointInTime{
		On: true, Days: 7, Spans: []bosman.TimeSpan{{From: ago(168 * hour), To: ago(12 * time.Second)}}, Shipped: ago(12 * time.Second), Base: ago(9 * hour), Bytes: 210 << 20,
		Points: []bosman.RestorePoint{
			{Name: "last-20261115t022200000", At: ago(180 * hour), When: bosman.PointLast, What: "the last that the lost server stored"},
			{Name: "rms-d46", At: ago(50 * hour), When: bosman.PointAfter, Operation: 46, What: "d46 had just taken live back to r134", Reachable: true},
			{Name: "rms-d47-before", At: ago(26*hour + 10*minute), When: bosman.PointBefore, Operation: 47, What: "right before d47 migrated live to r136", Reachable: true},
			{Name: "rms-d47", At: ago(26*hour + 9*minute), When: bosman.PointAfter, Operation: 47, What: "d47 had just switched live to r136", Reachable: true},
		},
	}
	s.Custody = bosman.Recovery{Target: "s3://copies/rms", KeyMade: true, Fingerprint: "3f2a 91c0 77de 0b14", MadeAt: ago(200 * hour), MadeBy: "piotr", StateAt: ago(5 * hour), StateBytes: 4 << 20}
	copied := bosman.CopyInfo{From: "staging", TakenAt: ago(41 * minute), Release: 137, Strategy: "template", Bytes: 14 << 20}
	s.Rehearsals = map[string]bosman.Rehearsal{
		"c21": {
			App: rms, Release: 133, Change: 21, State: bosman.RehearsalPassed, Closed: true, Copy: copied, Took: 1340 * time.Millisecond, Sessions: 1,
			Schema: "column public.candidates_candidate.salary added; table public.candidates_shortlist added",
			Statements: []bosman.RanStatement{
				{SQL: `ALTER TABLE "candidates_candidate" ADD COLUMN "salary" integer NULL`, Took: 2 * time.Millisecond},
				{SQL: `CREATE TABLE "candidates_shortlist" ("id" bigserial NOT NULL PRIMARY KEY, "name" varchar(120) NOT NULL)`, Took: 4 * time.Millisecond},
			},
			Others: 6, OthersTook: 9 * time.Millisecond,
			Locks: []bosman.HeldLock{{Table: "public.candidates_candidate", Mode: "AccessExclusiveLock", For: 3 * time.Millisecond, Stops: "reads and writes"}},
		},
		"c23": {
			App: rms, Release: 132, Change: 23, State: bosman.RehearsalPassed, Closed: true, Copy: copied, Took: 21400 * time.Millisecond, Sessions: 1, Destructive: true,
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
			App: rms, Release: 134, Change: 25, State: bosman.RehearsalFailed, Copy: copied, Took: 800 * time.Millisecond, Sessions: 1, Closed: true,
			Reason:     "column \"filter\" of relation \"candidates_candidate\" contains null values",
			Statements: []bosman.RanStatement{{SQL: `ALTER TABLE "candidates_candidate" ADD COLUMN "filter" varchar(40) NOT NULL`, Failed: true, Error: `column "filter" of relation "candidates_candidate" contains null values`}},
			Output:     "Applying candidates.0006_filter...\ndjango.db.utils.IntegrityError: column \"filter\" of relation \"candidates_candidate\" contains null values",
		},
	}
	s.Plans = map[string]bosman.RevertPlan{
		"live": {
			Instance: "live", Release: 134, From: 136, Reverts: 47, Policy: bosman.RevertAhead, Schema: "column public.candidates_candidate.salary added",
			Why:   "the migrations only added, and the release before was seen to work on the new schema: the code goes back, the database stays ahead",
			Proof: bosman.ProofGood, ProvenBy: 50, ProvenOn: "staging", Backup: 31, BackupAt: ago(26*hour + 11*minute), Point: &s.Timeline.Points[2], Kept: true, KeptBytes: 14 << 20, Expected: time.Second,
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

// MergeAnyway is a verb.
func (s *Story) MergeAnyway(_ context.Context, a bosman.Actor, app, ref, why string) (helm.Merged, error) {
	return helm.Merged{Note: "main is now 4be1d201; staging follows with r137"}, s.do(a, bosman.MayAdminister, app, bosman.KindLive, "merge %s %s anyway: %s", app, ref, why)
}
