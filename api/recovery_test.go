package api_test

import (
	"strings"
	"testing"
)

// TestRecoveryKeyIsShownOnce, to administrators, and never again.
func TestRecoveryKeyIsShownOnce(t *testing.T) {
	const at = "/api/v1/recovery"
	r := newRig(t)
	r.want(200, "jan", "GET", at, "", `"key_made":false`)
	for _, who := range []string{"jan", "anna", "piotr"} {
		r.want(403, who, "POST", at+"/key", `{}`)
		r.want(403, who, "POST", at+"/confirm", `{"answer":"x"}`)
		r.want(403, who, "POST", at+"/backup", "")
	}
	r.want(200, "ola", "POST", at+"/key", `{}`, `"secret":"AGE-SECRET-KEY-1`, `"fingerprint":"3f2a`)
	r.want(409, "ola", "POST", at+"/key", `{}`)
	r.want(400, "ola", "POST", at+"/confirm", `{"answer":"wrong"}`)
	r.want(200, "ola", "POST", at+"/confirm", `{"answer":"AGE-SECRET-KEY-1TEST"}`, `"confirmed_by":"ola"`)
	r.want(200, "ola", "POST", at+"/key", `{"renew":true}`, `"secret":"AGE-SECRET-KEY-1`)
	r.want(200, "ola", "POST", at+"/backup", "", `"state_at":"20`)
	text := r.want(200, "jan", "GET", at, "", `"key_made":true`) + r.want(200, "ola", "GET", "/api/v1/activity", "", "renewed the recovery key")
	if strings.Contains(text, "AGE-SECRET") {
		t.Errorf("the key is shown again: %s", text)
	}
}
