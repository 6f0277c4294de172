package api_test

import (
	"testing"

	"github.com/bosman-cd/bosman"
)

func TestRevertOverTheAPI(t *testing.T) {
	r := newRig(t)
	k := r.WayBack()
	const at = "/api/v1/apps/rms/instances/staging"
	p := decode[bosman.RevertPlan](t, r.want(200, "ola", "GET", at+"/revert", ""))
	if p.Policy != bosman.RevertAsk || p.Release != 1 || !p.Kept || p.Written.Total() != 2 || p.Floor.Below != 1 {
		t.Errorf("%+v", p)
	}
	r.want(403, "jan", "GET", at+"/revert", "")
	r.want(409, "ola", "POST", at+"/revert", `{}`, "rollback floor")
	r.want(409, "ola", "POST", at+"/revert", `{"database":"restore"}`, "public.candidate 2", "--confirm-loss")
	r.want(403, "anna", "POST", at+"/revert", `{"override":"I know"}`)
	r.want(200, "ola", "POST", at+"/revert", `{"database":"restore","confirm_loss":true}`, `"confirmed":true`, `"backup":4`)
	r.want(200, "ola", "POST", at+"/revert", `{"override":"I know"}`, `"override":"I know"`)

	r.want(200, "jan", "GET", "/api/v1/apps/rms/kept?instance=staging", "", k.Copies[0].ID)
	r.want(403, "anna", "POST", at+"/kept/"+k.Copies[0].ID+"/restore", "")
	r.want(404, "ola", "POST", at+"/kept/20200101t000000000/restore", "")
	if p := decode[bosman.KeptPlan](t, r.want(200, "ola", "GET", at+"/kept/"+k.Copies[0].ID+"/restore", "")); p.Runs != 2 || p.Copy.Release != 2 || p.Copy.Against != "" {
		t.Errorf("%+v", p)
	}
	r.want(403, "anna", "GET", at+"/kept/"+k.Copies[0].ID+"/restore", "")
	r.want(200, "ola", "POST", at+"/kept/"+k.Copies[0].ID+"/restore", "", `"plan":"restore"`)
	r.want(200, "ola", "DELETE", at+"/kept/"+k.Copies[0].ID, "", "removed what was kept")
	if len(k.Gone) != 1 {
		t.Errorf("dropped %v", k.Gone)
	}
}
