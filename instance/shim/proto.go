// Package shim is the keeper of one process set: the hidden subcommand Main
// starts the processes, restarts them, owns their output and answers on a
// Unix socket. It outlives `serve`; when it dies itself, the processes go on
// and a new shim takes them over. It knows nothing of releases, routes or who
// asked.
//
// See DESIGN.md beside this file.
package shim

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance/runtime"
)

// Subcommand is the hidden subcommand that calls Main.
const Subcommand = "shim"

// Version is the version of the protocol: one JSON request and one JSON
// response a connection, each on a line. A shim answers requests of its own
// version and older; fields are only ever added.
const Version = 1

// The files of a shim in Spec.RunDir.
const (
	SocketFile = "shim.sock"
	StateFile  = "state.json"
	LockFile   = "shim.lock"
	ErrorFile  = "shim.err" // what a dying shim had to say
	AppFolder  = "app"      // belongs to the processes: their sockets
	TmpFolder  = "tmp"      // their /tmp
)

// Verb is what a request asks for.
type Verb string

// The verbs.
const (
	VerbStatus  Verb = "status"
	VerbStop    Verb = "stop"    // Timeout; answered when nothing is left
	VerbSignal  Verb = "signal"  // Process, Signal
	VerbRestart Verb = "restart" // Process ("" for all), Timeout; one after the other
	VerbReopen  Verb = "reopen"  // let go of the log's files
	VerbUpgrade Verb = "upgrade" // Process, Timeout (for readiness), Spec if it changes
)

// Request is what a client sends.
type Request struct {
	V       int
	Verb    Verb
	Process string        `json:",omitempty"`
	Signal  int           `json:",omitempty"`
	Timeout time.Duration `json:",omitempty"`
	Spec    *runtime.Spec `json:",omitempty"`
}

// Response is what the shim answers.
type Response struct {
	V      int
	Error  *Fault          `json:",omitempty"`
	Status *runtime.Status `json:",omitempty"`
}

// Fault is an error on its way over the socket.
type Fault struct {
	Kind    bosman.ErrorKind
	Message string
	Next    string
}

// dialTimeout bounds how long a dead or hung shim can hold a caller up.
const dialTimeout = time.Second

// Call asks the shim in runDir. wait is how long its answer may take beyond
// the dialling. No shim there is KindNotFound, no answer KindUnavailable.
func Call(ctx context.Context, runDir string, req Request, wait time.Duration) (Response, error) {
	req.V = Version
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "unix", filepath.Join(runDir, SocketFile))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return Response{}, bosman.NotFound("nobody keeps the processes of %s", filepath.Base(runDir)).Because(err)
		}
		return Response{}, bosman.Unavailable("the keeper of %s does not answer", filepath.Base(runDir)).Because(err)
	}
	defer func() { _ = conn.Close() }() // the exchange is over either way
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return Response{}, err
	}
	var res Response
	err = json.NewEncoder(conn).Encode(req)
	if err == nil {
		err = json.NewDecoder(conn).Decode(&res)
	}
	switch {
	case ctx.Err() != nil:
		return Response{}, ctx.Err()
	case err != nil:
		return Response{}, bosman.Unavailable("the keeper of %s does not answer", filepath.Base(runDir)).Because(err)
	case res.Error != nil:
		return res, &bosman.Error{Kind: res.Error.Kind, Message: res.Error.Message, Next: res.Error.Next}
	}
	return res, nil
}

// Probe says whether a shim lives in runDir, without waiting for an answer.
func Probe(runDir string) bool {
	conn, err := net.DialTimeout("unix", filepath.Join(runDir, SocketFile), dialTimeout)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was said
	return true
}
