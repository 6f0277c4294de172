// Package demo plays Bosman's story from nothing to a revert: it starts a
// Bosman of its own with the example application examples/rms, pushes,
// tries, merges, deploys, breaks and reverts, and checks each time what a
// person would look at. It drives the program as people do, by its command
// line, git and HTTP; it must not reach into stages.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/serve"
)

// Options say how the demo is played.
type Options struct {
	Data        string // its folder; "" is .demo here
	Program     string // our own program; "" is the running one
	Example     string // the folder examples/rms; "" is looked for
	Port        int    // 0: 8080 or the next free one
	BaseDomain  string // as of serve
	PortPerInst int    // as of serve
	Once        bool   // shut all down at the end
	Clean       bool   // only stop an earlier demo and remove its folder
	Stderr      io.Writer
}

// Run plays the demo, or cleans up after one. An error means that a check
// did not hold.
func Run(ctx context.Context, opt Options, stdout io.Writer) error {
	if err := opt.complete(); err != nil {
		return err
	}
	if opt.Clean {
		return clean(ctx, opt, stdout)
	}
	if _, err := os.Stat(opt.Data); err == nil {
		if err := clean(ctx, opt, io.Discard); err != nil {
			return err
		}
	}
	w := &world{opt: opt, show: newShow(stdout), began: time.Now()}
	err := w.play(ctx)
	if err != nil && ctx.Err() == nil {
		w.explain(opt.Stderr, err)
	}
	if opt.Once || err != nil {
		if serr := w.shutDown(context.WithoutCancel(ctx), err != nil); serr != nil {
			err = errors.Join(err, serr)
		}
	}
	if terr := w.show.table(time.Since(w.began), err == nil); terr != nil {
		return errors.Join(err, terr)
	}
	if err == nil {
		w.show.print("measured: %s\n", w.times)
	}
	switch {
	case err != nil:
		return bosman.Failed("the demo did not get to its end").WithKept("its folder " + opt.Data + " stays for a look").
			WithNext("read " + w.path("serve.log") + "; then bosman demo --clean").Because(err)
	case opt.Once:
		return os.RemoveAll(opt.Data)
	}
	return w.farewell(ctx, stdout)
}

// complete fills in what was not said.
func (o *Options) complete() (err error) {
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Program == "" {
		if o.Program, err = os.Executable(); err != nil {
			return fmt.Errorf("find our own program: %w", err)
		}
	}
	if o.Data == "" {
		o.Data = ".demo"
	}
	if o.Data, err = filepath.Abs(o.Data); err != nil {
		return err
	}
	if o.Clean {
		return nil
	}
	if err := fits(o.Data); err != nil {
		return err
	}
	if o.Example, err = findExample(o.Example, o.Program); err != nil {
		return err
	}
	if o.Port == 0 {
		o.Port, err = freePort()
	}
	return err
}

// longestSocket is the deepest socket below the data folder.
const longestSocket = "/data/instances/rms/testing-maria/run/d100-work/app/web.sock"

// fits refuses folders whose sockets would have too long a path, and those
// that are not ours.
func fits(data string) error {
	if len(data)+len(longestSocket) > 107 {
		return bosman.Invalid("the path of %s is too long: its Unix sockets could not be opened", data).
			WithKept("nothing was made").WithNext("bosman demo --data /tmp/demo")
	}
	entries, err := os.ReadDir(data)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if _, merr := os.Stat(filepath.Join(data, marker)); err != nil || merr != nil {
		return bosman.Invalid("%s is not the folder of a demo", data).WithKept("it was left as it is").WithNext("name a new one: bosman demo --data /tmp/demo")
	}
	return nil
}

// marker is the file that says that a folder is a demo's.
const marker = "this-is-a-demo"

// findExample looks for examples/rms here and beside the program.
func findExample(named, program string) (string, error) {
	places := []string{named}
	if named == "" {
		places = []string{"examples/rms", filepath.Join(filepath.Dir(program), "../examples/rms")}
	}
	for _, p := range places {
		if _, err := os.Stat(filepath.Join(p, "history", "history.sh")); err == nil {
			return filepath.Abs(p)
		}
	}
	return "", bosman.NotFound("the example application is not in %s", strings.Join(places, " or ")).
		WithNext("call bosman demo in the folder of Bosman's source, where examples/rms is")
}

// freePort is 8080 or the next port above that nobody uses.
func freePort() (int, error) {
	for port := 8080; port < 8180; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, bosman.Unavailable("no port from 8080 to 8179 is free").WithNext("name one: bosman demo --listen :9000")
}

// clean stops what a demo left running and removes its folder.
func clean(ctx context.Context, opt Options, stdout io.Writer) error {
	if _, err := os.Stat(opt.Data); errors.Is(err, os.ErrNotExist) {
		_, err = fmt.Fprintf(stdout, "there is no demo in %s\n", opt.Data)
		return err
	}
	if _, err := os.Stat(filepath.Join(opt.Data, marker)); err != nil {
		return bosman.Invalid("%s is not the folder of a demo", opt.Data).WithKept("it was left as it is").WithNext("name the demo's folder: bosman demo --clean --data DIR")
	}
	w := &world{opt: opt}
	if err := w.shutDown(ctx, false); err != nil {
		return err
	}
	if err := os.RemoveAll(opt.Data); err != nil {
		return bosman.Unavailable("the demo's folder %s could not be removed", opt.Data).WithNext("remove it by hand").Because(err)
	}
	_, err := fmt.Fprintf(stdout, "the demo in %s is stopped and removed\n", opt.Data)
	return err
}

// shutDown ends serve, the edge, all instances and the database servers.
func (w *world) shutDown(ctx context.Context, broken bool) error {
	if err := w.endServe(); err != nil {
		return err
	}
	if _, err := os.Stat(w.data()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := serve.StopAll(ctx, w.data(), w.opt.Program); err != nil {
		return bosman.Unavailable("not everything of the demo could be stopped").Because(err)
	}
	if left := w.processes(); len(left) > 0 && !broken {
		return bosman.Failed("these processes were left over: %v", left)
	}
	return nil
}
