package process_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/instance/confine"
	"github.com/bosman-cd/bosman/instance/runtime"
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
		case "starter": // stands for serve in tests
			os.Exit(starter())
		case "execer":
			os.Exit(execer())
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

// starter starts the spec on its standard input and stays.
func starter() int {
	var s runtime.Spec
	d, err := process.New(process.Options{})
	if err == nil {
		err = json.NewDecoder(os.Stdin).Decode(&s)
	}
	if err == nil {
		_, err = d.Start(context.Background(), s)
	}
	if err != nil {
		return 1
	}
	if _, err := os.Stdout.WriteString("!"); err != nil {
		return 1
	}
	time.Sleep(time.Minute)
	return 0
}

// execer runs a command that does not end in the spec on its standard input.
func execer() int {
	var s runtime.Spec
	d, err := process.New(process.Options{})
	if err == nil {
		err = json.NewDecoder(os.Stdin).Decode(&s)
	}
	if err == nil {
		_, err = d.Exec(context.Background(), s, runtime.Command{Label: "d37.release", Shell: "trap '' PIPE; echo begun; while :; do sleep 0.1; done", Stdout: os.Stdout})
	}
	if err != nil {
		return 1
	}
	return 0
}
