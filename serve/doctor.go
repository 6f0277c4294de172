package serve

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/build/sandbox"
	"github.com/bosman-cd/bosman/instance/runtime/process"
)

// finding is one line of the doctor.
type finding struct {
	good bool
	what string
	get  string // what to do about it
}

// programs are what Bosman calls, and the Debian packages they come in.
var programs = []struct{ name, debian, why string }{
	{"git", "git", "keeps repositories"},
	{"bwrap", "bubblewrap", "keeps builds apart from the host"},
	{"tar", "tar", "exports trees"},
	{"zstd", "zstd", "reads backups by hand"},
}

// Doctor says what the host lacks and how to get it. It fails if something
// that Bosman cannot do without is missing.
func Doctor(ctx context.Context, opt Options, out io.Writer) error {
	var all []finding
	for _, p := range programs {
		f := finding{what: p.name + ", which " + p.why, get: "apt-get install " + p.debian}
		if path, err := exec.LookPath(p.name); err == nil {
			f.good, f.what = true, path+" "+p.why
		}
		all = append(all, f)
	}
	servers, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return err
	}
	all = append(all, finding{len(servers) > 0, "PostgreSQL " + orNone(servers), "apt-get install postgresql, unless your apps use SQLite or no database"})
	all = append(all, serverFindings(ctx, opt)...)
	box := sandbox.New(sandbox.Options{HostEnv: os.Environ()})
	all = append(all, finding{box.Degraded() == "", "builds are kept apart" + reason(box.Degraded()), "run as root or allow user namespaces, and install bubblewrap; until then code of strangers is refused"})
	driver, err := process.New(process.Options{Program: opt.Program, RunGlob: filepath.Join(opt.Data, "instances", "*", "*", "run", "*")})
	if err != nil {
		return err
	}
	lacking := strings.Join(driver.Lacking(), "; ")
	all = append(all, finding{lacking == "", "instances are kept apart" + reason(lacking), "run bosman serve as root on a host with namespaces and cgroup v2"})
	_, systemd := os.Stat("/run/systemd/system")
	supervised := "systemd restarts Bosman"
	if systemd != nil {
		supervised = "there is no systemd: should serve and a shim both die, nothing restarts a crash"
	}
	all = append(all, finding{systemd == nil, supervised, "start bosman serve from your own supervisor"})
	all = append(all, dataFolder(opt.Data))
	all = append(all, takenFinding(ctx, opt.Data)...)
	all = append(all, custodyFindings(ctx, opt)...)
	all = append(all, timelineFindings(opt)...)
	all = append(all, storageFindings(opt)...)
	all = append(all, lossFindings(opt.Data)...)
	all = append(all, downFindings(opt.Data)...)
	all = append(all, adoptedFindings(opt)...)
	bad := 0
	for _, f := range all {
		mark := "✓"
		if !f.good {
			mark, bad = "✕", bad+1
		}
		if _, err := fmt.Fprintf(out, "%s %s\n", mark, f.what); err != nil {
			return err
		}
		if !f.good {
			if _, err := fmt.Fprintf(out, "    %s\n", f.get); err != nil {
				return err
			}
		}
	}
	if _, err := exec.LookPath("git"); err != nil {
		return bosman.Unavailable("Bosman cannot run without git").WithNext("apt-get install git")
	}
	if bad == 0 {
		_, err = fmt.Fprintln(out, "this machine has all that Bosman needs")
	}
	return err
}

func orNone(found []string) string {
	if len(found) == 0 {
		return "is not installed"
	}
	return "is at " + filepath.Dir(found[len(found)-1])
}

func reason(why string) string {
	if why == "" {
		return ""
	}
	return ": no: " + why
}

// dataFolder looks whether the data folder can be used.
func dataFolder(dir string) finding {
	f := finding{what: "the data folder " + dir, get: "name one you may write to: bosman serve --data DIR"}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil && at != filepath.Dir(at) {
			continue
		}
		f.good = err == nil && info.IsDir()
		return f
	}
}
