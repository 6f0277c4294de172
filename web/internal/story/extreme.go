package story

import (
	"fmt"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// Extreme makes everything that a page lists as long and as many as it may
// come: names, statements, locks, tables, backups, failures.
func (s *Story) Extreme() {
	const long = "feature/JIRA-123456-import-of-candidates-from-the-previous-recruitment-management-system-including-attachments-and-notes-and-the-history-of-their-interviews"
	table := func(n int) string {
		return fmt.Sprintf("public.recruitment_candidate_interview_evaluation_history_%04d", n)
	}
	for n := range s.List {
		c := &s.List[n]
		if c.Number != 23 {
			continue
		}
		c.Branch, c.Title = long, strings.Repeat("Import of candidates from the previous system, with attachments. ", 4)
		c.Collisions, c.Hazards, c.Migrations = nil, nil, nil
		for i := range 12 {
			col := bosman.Collision{
				With: 24 + i, Blocks: i < 2,
				Text: fmt.Sprintf("PR 123 (0108_import_of_candidates_from_the_previous_system_%02d) and PR %d (0108_evaluation) both follow recruitment.0107_auto_20261101_1530", i, 124+i),
				Fix:  "after the first of them is merged, merge main into the other and run `git mv 'db/migrations of the module/20261101153000_import_of_candidates_from_the_previous_system.up.sql' 'db/migrations of the module/'$(date -u +%Y%m%d%H%M%S)'_import_of_candidates_from_the_previous_system.up.sql'`, or renumber its migration",
			}
			c.Collisions, c.Hazards = append(c.Collisions, col), append(c.Hazards, col.String())
			c.Migrations = append(c.Migrations, fmt.Sprint("recruitment.0108_", i))
		}
		for i := range 40 {
			c.Hazards = append(c.Hazards, fmt.Sprintf("recruitment.0108_import_%02d: drops %s.previous_system_identifier: its data goes, and the old code still asks for it", i, table(i)))
		}
		c.Blocked = c.Collisions[0].Text
	}
	r := s.Rehearsals["c23"]
	var schema []string
	r.Statements, r.Locks, r.Dangers = nil, nil, nil
	for i := range 400 {
		schema = append(schema, "column "+table(i)+".previous_system_identifier dropped")
		r.Statements = append(r.Statements, bosman.RanStatement{SQL: "ALTER TABLE " + table(i) + " " + strings.Repeat("ADD COLUMN previous_system_identifier varchar(255) DEFAULT '' NOT NULL, ", 1+i%7) + "DROP COLUMN x", Took: time.Duration(i*i) * time.Millisecond})
	}
	for i := range 40 {
		r.Locks = append(r.Locks, bosman.HeldLock{Table: table(i), Mode: "AccessExclusiveLock", For: time.Duration(40-i) * 700 * time.Millisecond, Stops: "reads and writes"})
		r.Dangers = append(r.Dangers, bosman.Danger{Kind: bosman.Locking, Text: "adds an index to " + table(i) + " while writes wait: CREATE INDEX CONCURRENTLY does not (PostgreSQL)"})
	}
	r.Schema = strings.Join(schema, "; ")
	r.Outside = []string{"10.0.0.5:5432", "a-database-of-the-company-with-a-long-name.internal.example.org:5432", "10.0.0.7:3306", "10.0.0.8:53"}
	s.Rehearsals["c23"] = r

	p := s.Plans["live"]
	p.Policy, p.Why, p.Schema, p.Kept = bosman.RevertAsk, "the migrations dropped or changed what the release before needs, and people wrote since: a person decides", r.Schema, false
	p.Written.Tables = nil
	for i := range 5000 {
		p.Written.Tables = append(p.Written.Tables, bosman.TableRows{Table: table(i), Rows: int64(9_000_000 / (i + 1))})
	}
	s.Plans["live"] = p

	for i := range 30 {
		b := bosman.Backup{
			App: rms, Number: 100 + i, Instance: "live", Release: 136, Why: "before d" + fmt.Sprint(200+i), CreatedAt: s.Now.Add(-time.Duration(i+1) * 13 * time.Hour), Bytes: 61 << 20, Content: 900 << 30,
			Rows: 1_234_567_890, Tables: 5000, Took: 3*time.Hour + 12*time.Minute, Encrypted: true, Where: "s3://copies-of-the-company-in-another-country/bosman/production/rms",
		}
		if b.VerifiedAt = b.CreatedAt.Add(time.Hour); i%7 == 0 {
			b.VerifiedAt, b.Error = time.Time{}, "the trial restore stopped: pg_restore: error: could not execute query: ERROR:  could not extend file \"base/16401/16790.3\": No space left on device (41 GB are needed on /srv/bosman, 12 GB are free)"
		}
		s.BackupAll = append(s.BackupAll, b)
	}
	s.Health = []bosman.BackupHealth{{
		App: rms, Instance: "live", Where: "s3://copies", Newest: 101, At: s.Now.Add(-26 * time.Hour),
		Trouble: "the newest backup of live, k100, could not be verified: pg_restore: error: could not extend file: No space left on device", Log: "segments of the log wait since 3 h: the target answers 503 Slow Down",
	}}
	for i := range 24 {
		d := s.Stored.Databases[2]
		d.Name, d.Instance, d.Bytes = fmt.Sprintf("rms__testing_bartholomew_%02d__attachments", i), fmt.Sprintf("testing-bartholomew-the-tester-%02d", i), 900<<30
		s.Stored.Databases = append(s.Stored.Databases, d)
	}
	s.Stored.Servers[1].Lacking = "the copies' place is 97% full: 12 GB are free, a copy needs 61 GB"
	for i := range 12 {
		s.KeptAll = append(s.KeptAll, bosman.KeptCopy{App: rms, Instance: fmt.Sprintf("testing-bartholomew-the-tester-%02d", i), ID: fmt.Sprintf("20261122t0800%02d000", i), At: s.Now.Add(-27 * time.Hour), Database: "x", Bytes: 900 << 30})
	}
}
