package cli

import (
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func TestRevertIsExplainedAndConfirmed(t *testing.T) {
	s := newScript(t)
	k := s.rig.WayBack()
	if err := s.rig.Helm.Store.SaveBackup(t.Context(), bosman.Backup{App: "rms", Number: 4, Instance: "staging", CreatedAt: time.Now().Add(-3 * time.Hour), VerifiedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--explain", "--dry-run"} {
		s.run("", "revert", "staging", flag).want(t, flag, ExitOK, "goes from r2 back to r1; d3 is taken back", "R3: ", "column public.x.y dropped", "public.candidate 2", "The code alone does not go back", "a kept copy (14.0 MB) takes the place")
	}
	s.run("", "revert", "staging", "--explain", "--json").want(t, "for scripts", ExitOK, `"policy": "R3"`)
	s.run("", "revert", "staging").want(t, "below the floor", ExitRefused, "rollback floor", "--database restore")
	s.run("", "revert", "staging", "--database", "restore").want(t, "without a word", ExitUsage, "2 rows in 1 table", "3 h ago", "The present data is kept", "--confirm-loss")
	s.run("", "revert", "staging", "--database", "restore", "--confirm-loss").want(t, "confirmed", ExitOK, "take staging back to r1")

	id := k.Copies[0].ID
	s.run("", "kept").want(t, "list", ExitOK, id, "was replaced", "14.0 MB", "RELEASE", "r2")
	s.run("", "kept", "restore", "staging", id, "--plan").want(t, "planned", ExitOK, "It holds the data of r2, which staging runs")
	s.run("", "kept", "list", "--instance", "live").want(t, "of another", ExitOK, "nothing was replaced yet")
	s.run("", "kept", "restore", "staging", id).want(t, "put back without a word", ExitUsage, "will be replaced by what they were", "--yes")
	s.run("", "kept", "restore", "staging", id, "--yes").want(t, "put back", ExitOK, "put back what was kept of staging")
	s.run("", "kept", "remove", "staging", id).want(t, "removal without a word", ExitUsage, "gone for good", "--yes")
	s.run("", "kept", "remove", "staging", "nothing").want(t, "what is not there", ExitNotFound)
	s.run("", "kept", "remove", "staging", id, "-y").want(t, "removal", ExitOK, "removed what was kept of staging")
}

func TestRevertOfADatabaseThatIsNotOurs(t *testing.T) {
	e, _ := screen(t)
	got := e.explain(bosman.RevertPlan{
		Instance: "live", Release: 4, From: 5, Reverts: 9, Policy: bosman.RevertAsk, Why: "a person decides", Backup: 3,
		Adopted: true, Lost: []string{"restore: it is not ours"}, ByHand: "restore by hand:\n    pg_restore",
	})
	want := "live goes from r5 back to r4; d9 is taken back.\nR3: a person decides.\nThe database is not Bosman's: a revert takes back the code alone.\n  no restore: it is not ours\nTo put the data of k3 back, restore by hand:\n    pg_restore"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
