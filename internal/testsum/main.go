// Package main is testsum: it runs `go test -json` and says in few lines what
// came of it: each failed test with its output, each skipped one with the
// reason, and a last line with the counts. It must not know any test, and no
// part of Bosman imports it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run carries out `testsum [-skips FILE] -- [go test arguments]`. It gives 0 when
// all went well, 1 when a test failed or was skipped without leave, 2 when the
// tests could not be run.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("testsum", flag.ContinueOnError)
	flags.SetOutput(stderr)
	skips := flags.String("skips", "", "file of tests that may be skipped in a full run; without -short every other skip is a failure")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	var allowed map[test]string
	if *skips != "" {
		text, err := os.ReadFile(*skips)
		if err == nil {
			allowed, err = parseSkips(string(text))
		}
		if err != nil {
			return complain(stderr, err)
		}
	}

	command := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, flags.Args()...)...)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.Stderr = stderr
	events, err := command.StdoutPipe()
	if err != nil {
		return complain(stderr, err)
	}
	if err := command.Start(); err != nil {
		return complain(stderr, err)
	}
	s := newSummary(stdout)
	readErr := s.read(events)
	runErr := command.Wait()

	full := *skips != "" && !slices.ContainsFunc(flags.Args(), isShort)
	ok := s.finish(full, allowed)
	var exit *exec.ExitError
	switch {
	case readErr != nil:
		return complain(stderr, readErr)
	case runErr != nil && !errors.As(runErr, &exit):
		return complain(stderr, runErr)
	case runErr != nil && s.failed == 0:
		return complain(stderr, fmt.Errorf("go test: %w, though no test failed", runErr))
	case !ok:
		return 1
	}
	return 0
}

func isShort(arg string) bool {
	return arg == "-short" || arg == "--short" || arg == "-short=true" || arg == "-test.short"
}

// complain says why the tests could not be run or judged.
func complain(stderr io.Writer, err error) int {
	if _, printErr := fmt.Fprintln(stderr, "testsum:", err); printErr != nil {
		return 3
	}
	return 2
}
