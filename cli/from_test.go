package cli

import (
	"strings"
	"testing"
)

func TestWhichAddressesAreFetched(t *testing.T) {
	for _, good := range []string{
		"https://example.org/team/rms.git", "http://127.0.0.1:8080/rms.git", "ssh://git@example.org:2222/rms.git", "ssh://example.org/~anna/rms",
		"git@example.org:team/rms.git", "https://anna@example.org/rms.git", "https://[::1]/rms.git",
	} {
		if err := checkURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, why := range map[string]string{
		"":                                 "neither a folder",
		"rms":                              "neither a folder",
		"../rms.git":                       "neither a folder",
		"ext::sh -c id":                    "neither a folder",
		"ext::https://example.org/x":       "not fetched by ext://",
		"https::https://example.org/x":     "is not the address",
		"fd::17":                           "neither a folder",
		"--upload-pack=id":                 "neither a folder",
		"-oProxyCommand=id@example.org:x":  "neither a folder",
		"git@-oProxyCommand=id:x":          "neither a folder",
		"git@example.org:-x":               "neither a folder",
		"file:///etc":                      "not fetched by file://",
		"file://localhost/etc":             "not fetched by file://",
		"git://example.org/rms.git":        "not fetched by git://",
		"https:///rms.git":                 "is not the address",
		"ssh://-oProxyCommand=id/x":        "is not the address",
		"ssh://-oProxyCommand=id@host/x":   "is not the address",
		"https://anna:secret@example.org/": "holds a password",
	} {
		if err := checkURL(bad); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", bad, err, why)
		}
	}
}
