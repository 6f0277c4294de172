package story

import (
	"fmt"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
)

const rms = "rms"

func hash(n int) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 40)
	x := uint64(n)*0x9E3779B97F4A7C15 + 7
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = digits[x%16]
	}
	return string(b)
}

// New is the story as of a moment. The passwords are not set.
func New(now time.Time) *Story {
	now = now.UTC().Truncate(time.Second)
	s := &Story{Now: now}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	s.AppList = []bosman.App{{Name: rms, MainBranch: "main", CreatedAt: ago(900 * time.Hour)}, {Name: "intranet", MainBranch: "main", CreatedAt: ago(3 * time.Hour)}}
	s.Persons = []bosman.Person{
		{Name: "anna", Email: "anna@example.org", Role: bosman.RoleTester, CreatedAt: ago(900 * time.Hour), AtHandUntil: now.Add(3 * time.Hour)},
		{Name: "jan", Email: "jan@example.org", Role: bosman.RoleDeveloper, CreatedAt: ago(700 * time.Hour)},
		{Name: "maria", Email: "maria@example.org", Role: bosman.RoleDeveloper, AppRoles: map[string]bosman.Role{rms: bosman.RoleTester}, CreatedAt: ago(650 * time.Hour)},
		{Name: "piotr", Email: "piotr@example.org", Role: bosman.RoleAdmin, CreatedAt: ago(900 * time.Hour)},
		{Name: "zofia", Email: "zofia@example.org", Role: bosman.RoleViewer, CreatedAt: ago(90 * time.Hour)},
		{Name: "karol", Role: bosman.RoleDeveloper, Disabled: true, CreatedAt: ago(800 * time.Hour)},
	}
	s.TokenAll = []bosman.Token{{ID: "8f2k1q", Person: "piotr", Name: "laptop", CreatedAt: ago(400 * time.Hour), UsedAt: ago(12 * time.Minute)}}
	s.M = &bosman.Manifest{
		Timezone: "Europe/Warsaw", Health: "/healthz", Tasks: map[string]string{"shell": "python manage.py shell", "digest": "python manage.py send_digest"},
		Instances: map[string]*bosman.Policy{"live": {
			Domains: []string{"rms.example.org"}, Deploy: bosman.DeployPolicy{After: "staging", Window: "Mon-Fri 09:00-15:00", AtHand: 1},
			Watch: bosman.WatchPolicy{For: 10 * time.Minute, Revert: true},
		}},
	}
	s.releases(ago)
	s.instances(ago)
	s.operations(ago)
	s.builds(ago)
	s.changes(ago)
	s.problems(ago)
	s.data(ago)
	s.rest(ago)
	s.jobs(ago)
	return s
}

type before = func(time.Duration) time.Time

const hour, minute = time.Hour, time.Minute

func (s *Story) releases(ago before) {
	for n := 139; n >= 131; n-- {
		r := bosman.Release{App: rms, Number: n, Commit: hash(n), Tree: hash(1000 + n), Trust: bosman.TrustTeam, Build: 280 + n, Tests: bosman.TestsGreen, SealedAt: ago(time.Duration(140-n) * 7 * hour), Bytes: 61 << 20, Variants: []string{"live"}}
		switch n {
		case 139:
			r.Tests, r.SealedAt = bosman.TestsPending, ago(2*minute)
		case 138:
			r.Tests = bosman.TestsRed
		case 135:
			r.Bad = "31 of 52 requests answered 5xx (before: 0 of 480)"
		case 131, 132:
			r.PrunedAt = ago(20 * hour)
		}
		s.ReleaseAll = append(s.ReleaseAll, r)
	}
}

func (s *Story) instances(ago before) {
	url := func(name string) string { return "http://" + name + ".rms.localhost:8080" }
	staging := bosman.CopyInfo{From: "staging", Release: 137, Strategy: "template", Took: 2300 * time.Millisecond, Bytes: 14 << 20}
	anna, maria := staging, staging
	anna.TakenAt, maria.TakenAt = ago(95*minute), ago(4*minute)
	maria.Merged = hash(137)
	s.Inst = []bosman.Instance{
		{App: rms, Name: "live", Kind: bosman.KindLive, Release: 136, Previous: 134, State: bosman.InstanceRunning, Note: "/healthz answered 200 in 11 ms", URL: "http://rms.example.org", UpdatedAt: ago(26 * hour), UpdatedBy: "anna"},
		{App: rms, Name: "staging", Kind: bosman.KindStaging, Release: 137, Previous: 136, State: bosman.InstanceRunning, Note: "/healthz answered 200 in 14 ms", URL: url("staging"), UpdatedAt: ago(38 * minute), UpdatedBy: "bosman"},
		{App: rms, Name: "testing-anna", Kind: bosman.KindTesting, Owner: "anna", Change: 21, Release: 133, State: bosman.InstanceRunning, URL: url("testing-anna"), Copy: anna, UpdatedAt: ago(94 * minute), UpdatedBy: "anna"},
		{App: rms, Name: "testing-maria", Kind: bosman.KindTesting, Owner: "maria", Change: 25, Release: 134, State: bosman.InstanceStarting, URL: url("testing-maria"), Copy: maria, Operation: 52, UpdatedAt: ago(50 * hour), UpdatedBy: "maria"},
		{App: "intranet", Name: "live", Kind: bosman.KindLive, State: bosman.InstanceEmpty},
		{App: "intranet", Name: "staging", Kind: bosman.KindStaging, State: bosman.InstanceEmpty},
	}
}

// stepsOf makes the steps of an operation: done up to n, then the state of
// the nth, the rest waiting.
func stepsOf(names []string, start time.Time, took []time.Duration, notes map[string]string, at int, state bosman.StepState) []bosman.OperationStep {
	var out []bosman.OperationStep
	for i, name := range names {
		st := bosman.OperationStep{Name: name, State: bosman.StepWaiting, Note: notes[name]}
		if i <= at {
			st.StartedAt = start
			st.State = bosman.StepDone
			st.EndedAt = start.Add(took[i])
			start = st.EndedAt
		}
		if i == at {
			st.State = state
			if state == bosman.StepRunning {
				st.EndedAt = time.Time{}
			}
		}
		if i > at {
			st.Note = ""
		}
		out = append(out, st)
	}
	return out
}

func (s *Story) operations(ago before) {
	deploy := []string{"wait", "admit", "backup", "migrate", "start", "check", "switch", "workers", "tag", "watch", "settle"}
	sec := func(all ...float64) []time.Duration {
		out := make([]time.Duration, len(all))
		for i, x := range all {
			out[i] = time.Duration(x * float64(time.Second))
		}
		return out
	}
	took := sec(.02, .05, 4.1, 2.6, 3.2, 1.4, .08, 0.9, .3, 600, .2)
	notes := map[string]string{
		"wait": "in the window, anna is at hand", "backup": "k31: 14 MB, 3,912 rows in 21 tables, restored and compared", "migrate": "2 migrations: candidates 0006, 0007; additive",
		"start": "2 workers, on a socket of their own", "check": "/healthz 200 in 11 ms; /candidates/ 200 contains Candidates", "switch": "0 requests dropped, 3 held for 60 ms",
		"tag": "live-2026-11-22-1 on " + hash(136)[:8], "watch": "1,204 requests, 0 errors", "workers": "none asked for", "settle": "r134 stays for the way back",
	}
	done := bosman.Operation{
		App: rms, Number: 47, Instance: "live", Plan: bosman.PlanDeploy, Release: 136, From: 134, Backup: 31, State: bosman.OpDone, By: "anna", Why: "the mend for the list, checked on staging", Committed: true,
		CreatedAt: ago(26*hour + 12*minute), StartedAt: ago(26*hour + 11*minute), EndedAt: ago(26 * hour),
	}
	done.Steps = stepsOf(deploy, done.StartedAt, took, notes, len(deploy)-1, bosman.StepDone)

	failed := bosman.Operation{App: rms, Number: 44, Instance: "live", Plan: bosman.PlanDeploy, Release: 133, From: 132, Backup: 29, State: bosman.OpFailed, By: "piotr", CreatedAt: ago(75 * hour), StartedAt: ago(75 * hour), EndedAt: ago(75*hour - 41*time.Second)}
	failed.Steps = stepsOf(deploy, failed.StartedAt, sec(.02, .05, 4.0, 2.2, 3.4, 31, 0, 0, 0, 0, 0), map[string]string{"backup": notes["backup"], "migrate": "1 migration: notes 0003; additive", "check": "/healthz answered 503 eleven times in 30 s"}, 5, bosman.StepFailed)
	failed.Steps[4].State = bosman.StepUndone
	failed.Error = bosman.Failed("The new release never became well: /healthz answered 503 for 30 s").WithKept("live still runs r132; no request was dropped, nobody noticed").WithNext("look at the end of its log below, mend it and push; to try it yourself: bosman try c17 --on testing-piotr")
	failed.Failure = &bosman.Failure{
		Health: "503 Service Unavailable: {\"database\": \"ok\", \"cache\": \"connection refused\"}", Exit: "", Serving: "live still runs r132", Schema: "it holds notes 0003 already (additive: r132 runs on it)",
		LogTail: "[2026-11-20 13:02:11 +0000] [1] [INFO] Starting gunicorn 20.1.0\n[2026-11-20 13:02:11 +0000] [7] [INFO] Booting worker with pid: 7\nERROR rms.health cache: ConnectionRefusedError: [Errno 111] Connection refused\nERROR rms.health cache: ConnectionRefusedError: [Errno 111] Connection refused", TestedAt: failed.EndedAt,
	}

	bad := bosman.Operation{App: rms, Number: 45, Instance: "live", Plan: bosman.PlanDeploy, Release: 135, From: 134, Backup: 30, State: bosman.OpReverted, By: "piotr", Committed: true, CreatedAt: ago(50 * hour), StartedAt: ago(50 * hour), EndedAt: ago(50*hour - 3*minute)}
	bad.Steps = stepsOf(deploy, bad.StartedAt, sec(.02, .05, 4.1, .4, 3.2, 1.4, .08, .9, .3, 160, 0), map[string]string{"watch": "31 of 52 requests answered 5xx (before: 0 of 480)", "switch": "0 requests dropped"}, 9, bosman.StepFailed)
	bad.Error = bosman.Failed("It did badly after the switch: 31 of 52 requests answered 5xx (before: 0 of 480)").WithKept("d46 went back to r134; the data was kept").WithNext("look at the problem p12 and mend it; r135 is marked bad")

	revert := bosman.Operation{App: rms, Number: 46, Instance: "live", Plan: bosman.PlanRevert, Release: 134, From: 135, Reverts: 45, State: bosman.OpDone, Auto: true, By: "bosman", Why: "31 of 52 requests answered 5xx (before: 0 of 480)", Committed: true, CreatedAt: ago(50*hour - 3*minute), StartedAt: ago(50*hour - 3*minute), EndedAt: ago(50*hour - 3*minute - 2*time.Second)}
	revert.Steps = stepsOf([]string{"take-over", "restore", "swap", "start", "check", "switch", "workers", "settle"}, revert.StartedAt, sec(.05, 0, 0, 0, .3, .06, 1.2, .1), map[string]string{"start": "r134 was still running", "check": "/healthz 200 in 9 ms", "switch": "0 requests dropped", "restore": "the data is kept"}, 7, bosman.StepDone)
	revert.Steps[1].State, revert.Steps[2].State = bosman.StepSkipped, bosman.StepSkipped

	staging := bosman.Operation{App: rms, Number: 50, Instance: "staging", Plan: bosman.PlanDeploy, Release: 137, From: 136, State: bosman.OpDone, Auto: true, By: "bosman", Committed: true, CreatedAt: ago(39 * minute), StartedAt: ago(39 * minute), EndedAt: ago(38 * minute)}
	staging.Steps = stepsOf(deploy, staging.StartedAt, sec(.02, .05, 3.1, 1.6, 3.2, 1.4, .08, .9, .3, 20, .2), notes, len(deploy)-1, bosman.StepDone)

	try := bosman.Operation{App: rms, Number: 52, Instance: "testing-maria", Plan: bosman.PlanTry, Release: 134, Change: 25, State: bosman.OpRunning, By: "maria", CreatedAt: ago(9 * time.Second), StartedAt: ago(9 * time.Second)}
	try.Steps = stepsOf([]string{"fit", "admit", "copy", "close", "swap", "migrate", "start", "check", "switch", "workers", "settle"}, try.StartedAt, sec(.1, .05, 2.3, .1, .2, 1.9, 3, 0, 0, 0, 0), map[string]string{"fit": "c25 is behind staging: its merge result with main " + bosman.Short(hash(137)) + " was taken (r134 of b414)", "copy": "14 MB in 2.3 s, staging's of 4 min ago (r137)", "migrate": "1 migration: candidates 0006"}, 6, bosman.StepRunning)
	annas := bosman.Operation{App: rms, Number: 49, Instance: "testing-anna", Plan: bosman.PlanTry, Release: 133, Change: 21, State: bosman.OpDone, By: "anna", Committed: true, CreatedAt: ago(95 * minute), StartedAt: ago(95 * minute), EndedAt: ago(94 * minute)}
	annas.Steps = stepsOf([]string{"admit", "copy", "close", "swap", "migrate", "start", "check", "switch", "workers", "settle"}, annas.StartedAt, sec(.05, 2.3, .1, .2, 1.9, 3.1, 1.1, .1, .4, .1), map[string]string{"copy": "14 MB in 2.3 s, staging's of 4 min before (r136)"}, 9, bosman.StepDone)
	queued := bosman.Operation{App: rms, Number: 51, Instance: "live", Plan: bosman.PlanDeploy, Release: 137, From: 136, State: bosman.OpQueued, By: "anna", Waits: "the deploy window (Mon-Fri 09:00-15:00) opens Tue 24 Nov 09:00 CET", CreatedAt: ago(6 * minute)}
	for _, name := range deploy {
		queued.Steps = append(queued.Steps, bosman.OperationStep{Name: name, State: bosman.StepWaiting})
	}
	s.Ops = []bosman.Operation{try, queued, staging, annas, done, revert, bad, failed}
}

func (s *Story) builds(ago before) {
	good := &bosman.Report{Coverage: &bosman.Coverage{Lines: 2140, Covered: 1961, Changed: 58, ChangedOK: 55}, Findings: []bosman.Finding{
		{Path: "candidates/views.py", Line: 88, Column: 80, Code: "E501", Message: "line too long (94 > 79 characters)", Tool: "flake8", Changed: true},
		{Path: "candidates/forms.py", Line: 12, Column: 1, Code: "F401", Message: "'django.conf.settings' imported but unused", Tool: "flake8"},
	}}
	for n := range 214 {
		good.Tests = append(good.Tests, bosman.TestCase{Suite: "candidates.tests.test_list.ListTest", Name: fmt.Sprintf("test_%d", n), State: bosman.TestPassed, Seconds: .03})
	}
	red := *good
	red.Coverage = &bosman.Coverage{Lines: 2140, Covered: 1950, Changed: 21, ChangedOK: 9}
	red.Tests = append([]bosman.TestCase{
		{
			Suite: "candidates.tests.test_phones.PhoneTest", Name: "test_foreign_number_keeps_its_prefix", State: bosman.TestFailed, Seconds: .04, Message: "AssertionError: '+48 601 000 000' != '+49 601 000 000'",
			Detail: "Traceback (most recent call last):\n  File \"/app/candidates/tests/test_phones.py\", line 31, in test_foreign_number_keeps_its_prefix\n    self.assertEqual(normalise('+49 601000000'), '+49 601 000 000')\nAssertionError: '+48 601 000 000' != '+49 601 000 000'",
		},
		{Suite: "candidates.tests.test_phones.PhoneTest", Name: "test_empty", State: bosman.TestErrored, Seconds: .01, Message: "IndexError: string index out of range"},
	}, good.Tests[:212]...)
	step := func(name, variant string, test, cached bool, state bosman.StepState, at time.Time, took time.Duration, note string) bosman.BuildStep {
		return bosman.BuildStep{Name: name, Variant: variant, Test: test, Cached: cached, State: state, StartedAt: at, EndedAt: at.Add(took), Note: note}
	}
	pipeline := func(at time.Time, unit bosman.StepState, note string) []bosman.BuildStep {
		return []bosman.BuildStep{
			step("environment", "", false, true, bosman.StepDone, at, 300*time.Millisecond, ""),
			step("assets", "default", false, false, bosman.StepDone, at.Add(time.Second), 21*time.Second, ""),
			step("assets", "live", false, false, bosman.StepDone, at.Add(22*time.Second), 24*time.Second, ""),
			step("unit", "", true, false, unit, at.Add(46*time.Second), 38*time.Second, note),
			step("lint", "", true, false, bosman.StepAllowed, at.Add(84*time.Second), 3*time.Second, "2 findings"),
		}
	}
	b := func(n, change int, branch string, state bosman.BuildState, at time.Duration, release int, r *bosman.Report) {
		x := bosman.Build{App: rms, Number: n, Change: change, Branch: branch, Head: hash(500 + change), Base: hash(137), Commit: hash(release), Trust: bosman.TrustTeam, State: state, Release: release, By: "jan", CreatedAt: ago(at), StartedAt: ago(at - 2*time.Second), EndedAt: ago(at - 90*time.Second), Report: r}
		switch state {
		case bosman.BuildGreen:
			x.Steps = pipeline(x.StartedAt, bosman.StepDone, "214 passed")
		case bosman.BuildRed:
			x.Steps, x.Reason = pipeline(x.StartedAt, bosman.StepFailed, "2 of 214 failed"), "2 of 214 tests failed"
			x.Steps[3].Exit = 1
		case bosman.BuildRunning:
			x.EndedAt = time.Time{}
			x.Steps = pipeline(x.StartedAt, bosman.StepRunning, "")
			x.Steps[3].EndedAt = time.Time{}
			x.Steps[4] = bosman.BuildStep{Name: "lint", Test: true, State: bosman.StepWaiting}
		case bosman.BuildQueued, bosman.BuildError, bosman.BuildCancelled:
		}
		s.BuildList = append(s.BuildList, x)
	}
	b(419, 26, "export-csv", bosman.BuildRunning, 70*time.Second, 139, nil)
	b(418, 22, "phone-prefix", bosman.BuildRed, 22*minute, 138, &red)
	b(417, 20, "main", bosman.BuildGreen, 40*minute, 137, good)
	b(416, 21, "shortlist", bosman.BuildGreen, 2*hour, 133, good)
	b(415, 25, "remember-filter", bosman.BuildGreen, 3*hour, 134, good)
	b(414, 23, "note-colour", bosman.BuildGreen, 5*hour, 132, good)
	b(413, 24, "note-author", bosman.BuildGreen, 5*hour, 131, good)
	b(412, 19, "quick-list", bosman.BuildGreen, 28*hour, 136, good)
	b(411, 22, "phone-prefix", bosman.BuildRed, 30*hour, 0, &red)
	b(410, 18, "slots", bosman.BuildGreen, 52*hour, 135, good)
	s.BuildList[2].Change = 0
	s.BuildList[2].Commit = hash(137)
}

func station(name string, st bosman.StationState, note, who string, at time.Time) bosman.Station {
	return bosman.Station{Name: name, State: st, Note: note, Who: who, At: at}
}

func (s *Story) changes(ago before) {
	const w, g, f, r, x, sk = bosman.StationWaiting, bosman.StationGood, bosman.StationFailed, bosman.StationRunning, bosman.StationReverted, bosman.StationSkipped
	var zero time.Time
	road := func(states [6]bosman.StationState, notes [6]string, who [6]string, at time.Time) bosman.Road {
		var out bosman.Road
		for i, name := range []string{"tests", "testing", "accepted", "merged", "staging", "live"} {
			t := at
			if states[i] == w || states[i] == sk {
				t = zero
			}
			out = append(out, station(name, states[i], notes[i], who[i], t))
		}
		return out
	}
	add := func(n int, branch, title, author string, at time.Duration, rd bosman.Road) *helm.ChangeView {
		v := helm.ChangeView{Change: bosman.Change{App: rms, Number: n, Branch: branch, Head: hash(500 + n), Title: title, Author: author, PushedBy: author, Trust: bosman.TrustTeam, State: bosman.ChangeOpen, CreatedAt: ago(at + hour), UpdatedAt: ago(at)}, Road: rd}
		for i := range s.BuildList {
			if s.BuildList[i].Change == n {
				v.Build = &s.BuildList[i]
				break
			}
		}
		for i := range s.Inst {
			if s.Inst[i].Change == n {
				v.On = append(v.On, s.Inst[i])
			}
		}
		s.List = append(s.List, v)
		return &s.List[len(s.List)-1]
	}
	none := [6]string{}
	add(26, "export-csv", "Candidates as CSV, with the columns one sees", "Jan Wilk", minute, road([6]bosman.StationState{r, w, w, w, w, w}, [6]string{"b419"}, none, ago(70*time.Second)))
	add(25, "remember-filter", "The list remembers its filter", "Maria Lis", 3*hour, road([6]bosman.StationState{g, r, w, w, w, w}, [6]string{"214 passed", "maria"}, none, ago(9*time.Second)))
	c := add(21, "shortlist", "Shortlist of candidates, with the salary they expect", "Jan Wilk", 2*hour, road([6]bosman.StationState{g, g, w, w, w, w}, [6]string{"214 passed", "anna"}, none, ago(94*minute)))
	c.URL = "https://git.example.org/rms/pulls/118"
	add(22, "phone-prefix", "Phone numbers keep the prefix of their country", "Jan Wilk", 22*minute, road([6]bosman.StationState{f, w, w, w, w, w}, [6]string{"2 failed"}, none, ago(21*minute)))
	c = add(23, "note-colour", "Colours for notes", "Maria Lis", 5*hour, road([6]bosman.StationState{g, w, w, f, w, w}, [6]string{"214 passed", "", "", "migration collides with c24"}, none, ago(5*hour)))
	c.Migrations = []string{"notes.0003_colour", "candidates.0008_birth_date"}
	c.Collisions = []bosman.Collision{{With: 24, Blocks: true, Text: "c23 (0003_colour) and c24 (0003_author) both follow notes.0002", Fix: "after the first of them is merged, merge main into the other and run `python3 manage.py makemigrations --merge notes`, or renumber its migration"}}
	c.Hazards = []string{c.Collisions[0].String(), "candidates.0008_birth_date: it drops the column birth_date, which the release before still reads"}
	c.Blocked = c.Collisions[0].Text
	c = add(24, "note-author", "Notes show who wrote them", "Jan Wilk", 5*hour, road([6]bosman.StationState{g, g, f, w, w, w}, [6]string{"214 passed", "maria", "The name is missing on old notes."}, [6]string{"", "", "maria"}, ago(4*hour)))
	c.Signoffs = []bosman.Signoff{{App: rms, Change: 24, Commit: c.Head, Person: "maria", Verdict: bosman.SentBack, Why: "The name is missing on old notes.", At: ago(4 * hour)}}
	c = add(27, "page-size", "Fifty candidates on a page", "Piotr Zając", 7*hour, road([6]bosman.StationState{f, w, w, f, w, w}, [6]string{"conflicts with main", "", "", "conflicts with main in candidates/views.py"}, none, ago(7*hour)))
	c.Conflicts = []string{"candidates/views.py", "candidates/tests/test_list.py"}
	c = add(28, "typo", "Mend a typo in the README", "a-stranger", 9*hour, road([6]bosman.StationState{g, w, w, w, w, w}, [6]string{"214 passed"}, none, ago(9*hour)))
	c.Build = &bosman.Build{App: rms, Number: 409, Change: 28, State: bosman.BuildGreen}
	c.Fork, c.Trust = "a-stranger", bosman.TrustStranger
	merged := func(v *helm.ChangeView, release int, who string, at time.Time) {
		v.State, v.Merged, v.MergedBy, v.MergedAt = bosman.ChangeMerged, hash(release), who, at
		v.Signoffs = []bosman.Signoff{{App: rms, Change: v.Number, Commit: v.Head, Person: "anna", Verdict: bosman.Accepted, At: at.Add(-10 * minute)}}
	}
	merged(add(20, "cv-upload", "A candidate's CV can be replaced", "Jan Wilk", 40*minute, road([6]bosman.StationState{g, g, g, g, g, w}, [6]string{"214 passed", "anna", "", hash(137)[:8], "r137", "the deploy window opens Tue 09:00"}, [6]string{"", "", "anna", "anna", "bosman"}, ago(40*minute))), 137, "anna", ago(40*minute))
	merged(add(19, "quick-list", "The list opens in 40 ms", "Maria Lis", 26*hour, road([6]bosman.StationState{g, g, g, g, g, g}, [6]string{"211 passed", "anna", "", hash(136)[:8], "r136", "r136"}, [6]string{"", "", "anna", "anna", "bosman", "anna"}, ago(26*hour))), 136, "anna", ago(28*hour))
	merged(add(18, "slots", "Interview slots", "Jan Wilk", 50*hour, road([6]bosman.StationState{g, sk, g, g, g, x}, [6]string{"209 passed", "", "", hash(135)[:8], "r135", "d45"}, [6]string{"", "", "anna", "piotr", "bosman", "bosman"}, ago(50*hour))), 135, "piotr", ago(51*hour))
}

func (s *Story) problems(ago before) {
	s.ProblemAll = []bosman.Problem{
		{App: rms, Number: 12, Title: "NoSlot: no free slot for candidate 311", Culprit: "candidates.slots.book", Level: "error", FirstRelease: 135, LastRelease: 135, Instances: []string{"live", "staging"}, Events: 1412, Users: 38, FirstAt: ago(50 * hour), LastAt: ago(49 * hour)},
		{App: rms, Number: 11, Title: "OperationalError: canceling statement due to statement timeout", Culprit: "candidates.views.CandidateList.get_queryset", Level: "error", FirstRelease: 128, LastRelease: 136, Instances: []string{"live"}, Events: 9, Users: 4, FirstAt: ago(400 * hour), LastAt: ago(3 * hour), Regressed: true},
		{App: rms, Number: 9, Title: "Deprecated use of index_together", Culprit: "candidates.models", Level: "warning", FirstRelease: 120, LastRelease: 137, Instances: []string{"staging"}, Events: 240, FirstAt: ago(500 * hour), LastAt: ago(hour)},
		{App: rms, Number: 7, Title: "TemplateDoesNotExist: mail/digest.html", Culprit: "candidates.management.send_digest", Level: "error", FirstRelease: 131, LastRelease: 131, Instances: []string{"staging"}, Events: 1, FirstAt: ago(100 * hour), LastAt: ago(100 * hour), ResolvedAt: ago(90 * hour), ResolvedBy: "jan"},
	}
	frames := []bosman.Frame{
		{File: "django/core/handlers/base.py", Function: "_get_response", Line: 181},
		{File: "candidates/views.py", Module: "candidates.views", Function: "CandidateList.get", Line: 64, InApp: true, Pre: []string{"    def get(self, request):", "        candidate = self.get_object()"}, Context: "        slot = book(candidate, request.user)", Post: []string{"        return redirect(slot)", ""}},
		{File: "candidates/slots.py", Module: "candidates.slots", Function: "book", Line: 22, InApp: true, Pre: []string{"    free = [s for s in SLOTS if s.free]", "    if not free:"}, Context: "        raise NoSlot(f'no free slot for candidate {candidate.pk}')", Post: []string{"    return free[0].take(candidate)"}},
	}
	for n := range 6 {
		s.EventAll = append(s.EventAll, bosman.ErrorEvent{App: rms, Problem: 12, ID: hash(n)[:32], Instance: "live", Release: 135, Environment: "live", Level: "error", Type: "NoSlot", Message: fmt.Sprintf("no free slot for candidate %d", 311+n), Method: "GET", URL: "http://rms.example.org/candidates/", Transaction: "/candidates/", Platform: "python", SDK: "sentry.python 1.9.0", At: ago(49*hour + time.Duration(n)*minute), Frames: frames, Tags: map[string]string{"runtime": "CPython 3.11.2", "server_name": "web-1"}})
	}
}

func (s *Story) rest(ago before) {
	for n, at := range []time.Duration{26*hour + 11*minute, 50 * hour, 75 * hour} {
		k := bosman.Backup{App: rms, Number: 31 - n, Instance: "live", Release: 134 - n, Operation: 47, Why: fmt.Sprintf("before d%d", 47-n), By: "anna", Where: "s3://copies/rms", Encrypted: true, Bytes: 14 << 20, Content: 61 << 20, Files: 1204, VerifyTook: 3 * time.Second, Tables: 21, Rows: 3912 - int64(n)*40, CreatedAt: ago(at), Took: 2 * time.Second, VerifiedAt: ago(at - minute)}
		s.BackupAll = append(s.BackupAll, k)
	}
	s.BackupAll = append(s.BackupAll, bosman.Backup{App: rms, Number: 28, Instance: "live", Release: 132, Why: "by hand", By: "piotr", Bytes: 14 << 20, Tables: 21, Rows: 3790, CreatedAt: ago(99 * hour), Error: "the disk was full"})
	s.MailAll = []bosman.Mail{
		{ID: 8, App: rms, Instance: "testing-anna", From: "rms@testing-anna.localhost", To: []string{"ewa.kot@example.com"}, Subject: "You are on the shortlist", Text: "Dear Ewa Kot,\n\nyou are on the shortlist for Backend Developer.\n\nRMS", HTML: "<h1 style='color:#0b4f7d'>You are on the shortlist</h1><p>Dear Ewa Kot,</p><script>parent.alert(1)</script>", At: ago(60 * minute)},
		{ID: 7, App: rms, Instance: "testing-anna", From: "rms@testing-anna.localhost", To: []string{"anna@example.org", "piotr@example.org"}, Subject: "3 new candidates today", Text: "3 new candidates", At: ago(80 * minute)},
	}
	lines := []bosman.Activity{
		{At: ago(9 * time.Second), App: rms, Who: "maria", From: "web 10.0.0.7", What: "asked as d52 to try c25 (r134) on testing-maria", Subject: "d52", Instance: "testing-maria"},
		{At: ago(minute), App: rms, Who: "jan", From: "git", What: "pushed export-csv", Subject: "c26"},
		{At: ago(6 * minute), App: rms, Who: "anna", From: "web 10.0.0.3", What: "asked as d51 to deploy r137 to live", Subject: "d51", Instance: "live", Why: "CVs before the fair"},
		{At: ago(40 * minute), App: rms, Who: "anna", From: "web 10.0.0.3", What: "merged c20 (cv-upload): main is now " + hash(137)[:8], Subject: "c20"},
		{At: ago(55 * minute), App: rms, Who: "anna", From: "web 10.0.0.3", What: "accepted c20 (cv-upload)", Subject: "c20"},
		{At: ago(3 * hour), App: "intranet", Who: "piotr", From: "cli 127.0.0.1", What: "added the app intranet", Subject: "intranet"},
		{At: ago(4 * hour), App: rms, Who: "maria", From: "web 10.0.0.7", What: "sent back c24 (note-author)", Subject: "c24", Why: "The name is missing on old notes."},
		{At: ago(26 * hour), App: rms, Who: "anna", From: "cli 10.0.0.3", What: "asked as d47 to deploy r136 to live", Subject: "d47", Instance: "live"},
		{At: ago(50*hour - 3*minute), App: rms, Who: "bosman", From: "bosman", What: "asked as d46 to go back to r134 on live", Subject: "d46", Instance: "live", Why: "31 of 52 requests answered 5xx (before: 0 of 480)"},
		{At: ago(90 * hour), Who: "piotr", From: "cli 127.0.0.1", What: "added zofia as viewer", Subject: "zofia"},
	}
	for n := range lines {
		lines[n].ID = int64(100 - n)
	}
	s.Lines = lines
}

func (s *Story) jobs(ago before) {
	way := bosman.OperationRoad(s.Ops[0])
	s.Jobs = []helm.Job{
		{App: rms, Name: "live", Kind: bosman.KindLive, State: bosman.InstanceRunning, URL: "http://rms.example.org", Weather: bosman.Weather{Good: 3, Of: 5}, LastSuccess: ago(26 * hour), SuccessRef: "d47", LastFailure: ago(50 * hour), FailureRef: "d45", LastDuration: 11*minute + 3*time.Second, Release: 136, Commit: hash(136), Title: "The list opens in 40 ms", Since: ago(26 * hour), By: "anna"},
		{App: rms, Name: "staging", Kind: bosman.KindStaging, State: bosman.InstanceRunning, URL: "http://staging.rms.localhost:8080", Weather: bosman.Weather{Good: 5, Of: 5}, LastSuccess: ago(38 * minute), SuccessRef: "d50", LastDuration: 31 * time.Second, Release: 137, Commit: hash(137), Title: "A candidate's CV can be replaced", Since: ago(38 * minute), By: "bosman"},
		{App: rms, Name: "testing-anna", Kind: bosman.KindTesting, State: bosman.InstanceRunning, URL: "http://testing-anna.rms.localhost:8080", Weather: bosman.Weather{Good: 4, Of: 5}, LastSuccess: ago(94 * minute), SuccessRef: "d49", LastFailure: ago(70 * hour), FailureRef: "d41", LastDuration: 9300 * time.Millisecond, Release: 133, Change: 21, Title: "Shortlist of candidates, with the salary they expect", Since: ago(94 * minute), By: "anna", CopyFrom: "staging", CopyAt: ago(95 * minute)},
		{App: rms, Name: "testing-maria", Kind: bosman.KindTesting, State: bosman.InstanceStarting, URL: "http://testing-maria.rms.localhost:8080", Weather: bosman.Weather{Good: 2, Of: 5}, LastSuccess: ago(50 * hour), SuccessRef: "d40", LastFailure: ago(60 * hour), FailureRef: "d38", LastDuration: 8 * time.Second, Running: "d52", RunningRoad: way, Release: 134, Change: 25, Title: "The list remembers its filter", Since: ago(50 * hour), By: "maria", CopyFrom: "staging", CopyAt: ago(4 * minute)},
		{App: rms, Name: "changes", Weather: bosman.Weather{Good: 4, Of: 5}, LastSuccess: ago(38 * minute), SuccessRef: "b417", LastFailure: ago(20 * minute), FailureRef: "b418", LastDuration: 88 * time.Second, Running: "b419"},
		{App: "intranet", Name: "live", Kind: bosman.KindLive, State: bosman.InstanceEmpty},
		{App: "intranet", Name: "staging", Kind: bosman.KindStaging, State: bosman.InstanceEmpty},
		{App: "intranet", Name: "changes"},
	}
}
