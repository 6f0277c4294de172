package bosman_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func TestRevertPolicy(t *testing.T) {
	none := bosman.Written{Known: true, Certain: true}
	some := bosman.Written{Known: true, Certain: true, Tables: []bosman.TableRows{{Table: "public.candidate", Rows: 9}, {Table: "public.note", Rows: 3}}}
	added := "column public.x.y added"
	for name, c := range map[string]struct {
		way      *bosman.WayBack
		written  bosman.Written
		want     bosman.RevertPolicy
		byItself bool
		why      string
	}{
		"nothing known":                      {nil, bosman.Written{}, bosman.RevertCode, true, "only the code"},
		"no migration":                       {&bosman.WayBack{}, some, bosman.RevertCode, true, "only the code"},
		"additive and proven":                {&bosman.WayBack{Schema: added, Proof: bosman.ProofGood}, some, bosman.RevertAhead, true, "stays ahead"},
		"additive, not tried":                {&bosman.WayBack{Schema: added}, some, bosman.RevertAhead, false, "not proven"},
		"additive, the proof failed, quiet":  {&bosman.WayBack{Schema: added, Proof: bosman.ProofFailed}, none, bosman.RevertRestore, true, "was not well"},
		"additive, the proof failed, busy":   {&bosman.WayBack{Schema: added, Proof: bosman.ProofFailed}, some, bosman.RevertAsk, false, "12 rows in 2 tables"},
		"destructive, quiet":                 {&bosman.WayBack{Schema: "dropped", Destructive: true}, none, bosman.RevertRestore, true, "nothing was written"},
		"destructive, quiet, not certain":    {&bosman.WayBack{Schema: "dropped", Destructive: true}, bosman.Written{Known: true}, bosman.RevertAsk, false, "nothing is known"},
		"destructive, nobody counted":        {&bosman.WayBack{Schema: "dropped", Destructive: true}, bosman.Written{}, bosman.RevertAsk, false, "not known"},
		"destructive, written since":         {&bosman.WayBack{Schema: "dropped", Destructive: true}, some, bosman.RevertAsk, false, "public.candidate 9"},
		"destructive, but the data was back": {&bosman.WayBack{Schema: "dropped", Destructive: true, RestoredAt: time.Now()}, some, bosman.RevertCode, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, why := bosman.RevertPolicyOf(c.way, c.written)
			if got != c.want || !strings.Contains(why, c.why) {
				t.Errorf("%s: %s", got, why)
			}
			if got.ByItself(c.way) != c.byItself {
				t.Errorf("by itself: %v", !c.byItself)
			}
		})
	}
}
