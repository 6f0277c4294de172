package process_test

import (
	"os"
	"testing"

	"github.com/bosman-cd/bosman/instance/confine"
	"github.com/bosman-cd/bosman/instance/runtime/process"
	"github.com/bosman-cd/bosman/instance/runtime/runtimetest"
	"github.com/bosman-cd/bosman/instance/shim"
	"github.com/bosman-cd/bosman/internal/need"
	"go.uber.org/goleak"
)

// TestMain lets the test program play the hidden subcommands.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case shim.Subcommand:
			os.Exit(shim.Main())
		case confine.Subcommand:
			os.Exit(confine.Main())
		}
	}
	goleak.VerifyTestMain(m)
}

const testUID = 71234

func driver(t testing.TB) *process.Driver {
	t.Helper()
	d, err := process.New(process.Options{RunGlob: "/tmp/bt*"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformanceAsRoot(t *testing.T) {
	need.Root(t)
	need.File(t, "/usr/bin/python3", "python3")
	d := driver(t)
	if lacking := d.Lacking(); lacking != nil {
		t.Fatalf("this host lacks %q", lacking)
	}
	runtimetest.Run(t, runtimetest.Harness{Runtime: d, UID: testUID, Confine: true})
}
