package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/client"
)

// exitError ends with a code of its own; what happened was said already.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// codeOf is the exit code of an error.
func codeOf(err error) int {
	var exit exitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, client.ErrUnreachable):
		return ExitUnreachable
	case errors.Is(err, context.Canceled):
		return 130 // as a shell does after Ctrl-C
	}
	switch bosman.KindOf(err) {
	case bosman.KindInvalid:
		return ExitUsage
	case bosman.KindForbidden, bosman.KindConflict, bosman.KindBusy:
		return ExitRefused
	case bosman.KindNotFound:
		return ExitNotFound
	case bosman.KindFailed, bosman.KindUnavailable, bosman.KindInternal:
	}
	return ExitFailed
}

// fail says what happened, what was left untouched and what to do next.
func (e *env) fail(err error) int {
	code := codeOf(err)
	var exit exitError
	if errors.As(err, &exit) || code == 130 {
		return code
	}
	var be *bosman.Error
	if !errors.As(err, &be) {
		e.complain(err.Error(), "", "")
		return code
	}
	message := be.Message
	if be.Cause != nil && be.Kind != bosman.KindUnavailable {
		message += ": " + be.Cause.Error()
	}
	e.complain(message, be.Kept, be.Next)
	return code
}

func (e *env) complain(what, kept, next string) {
	for _, line := range [][2]string{{"bosman: ", what}, {"  kept: ", kept}, {"  next: ", next}} {
		if line[1] != "" {
			_, _ = fmt.Fprintln(e.stderr, line[0]+strings.ReplaceAll(line[1], "\n", "\n        ")) // nobody is left to tell
		}
	}
}

// usage explains a command line that is not understood.
func (e *env) usage(err error) int {
	next := "bosman --help"
	var pe *kong.ParseError
	if errors.As(err, &pe) && pe.Context != nil {
		if node := pe.Context.Selected(); node != nil {
			next = node.FullPath() + " --help"
		}
	}
	e.complain(err.Error(), "", next)
	return ExitUsage
}
