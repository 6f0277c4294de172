package confine_test

import (
	"slices"
	"testing"

	"github.com/bosman-cd/bosman/instance/confine"
)

func TestPlainCommandsBecomeTheProcess(t *testing.T) {
	for run, want := range map[string]string{
		"gunicorn rms.wsgi --bind unix:$BOSMAN_SOCKET": "exec gunicorn rms.wsgi --bind unix:$BOSMAN_SOCKET",
		".venv/bin/gunicorn x > log 2>/dev/null":       "exec .venv/bin/gunicorn x > log 2>/dev/null",
		"exec gunicorn":                                "exec gunicorn",
		"cd src && gunicorn":                           "cd src && gunicorn",
		"cd src":                                       "cd src",
		"A=b gunicorn":                                 "A=b gunicorn",
		"while true; do x; done":                       "while true; do x; done",
		"./run $(cat args)":                            "./run $(cat args)",
		"\"quoted program\" x":                         "\"quoted program\" x",
		"one\ntwo":                                     "one\ntwo",
	} {
		if got := confine.Argv(run, nil); !slices.Equal(got, []string{"/bin/sh", "-c", want}) {
			t.Errorf("%q becomes %q", run, got)
		}
	}
	if got := confine.Argv("", []string{"a", "b"}); !slices.Equal(got, []string{"a", "b"}) {
		t.Error(got)
	}
}
