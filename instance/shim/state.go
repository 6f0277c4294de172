package shim

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bosman-cd/bosman/instance/pid"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// State is what a shim writes down, so that the next one can take over. It
// holds no secrets.
type State struct {
	Version int
	ID      string
	Shim    pid.ID
	Slots   []SlotState
	Listen  []Listening
	Stopped bool           // stopped on purpose
	Exits   []runtime.Exit // the last ones, oldest first
	At      time.Time
}

// SlotState is one copy of one process.
type SlotState struct {
	Name     string // "web.1"
	Run      pid.ID // zero while it does not run
	Gen      int    // counts its starts
	Since    time.Time
	Restarts int
}

// Listening is an open listening socket.
type Listening struct {
	Addr  string
	Inode uint64
}

// keptExits is how many exits are remembered.
const keptExits = 20

// ReadState reads what the last shim in runDir wrote; fs.ErrNotExist if there
// was none.
func ReadState(runDir string) (State, error) {
	var s State
	b, err := os.ReadFile(filepath.Join(runDir, StateFile))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// Alive gives the processes of the state that still run.
func (s State) Alive() []SlotState {
	var out []SlotState
	for _, sl := range s.Slots {
		if sl.Run.Alive() {
			out = append(out, sl)
		}
	}
	return out
}

// save writes the state to the disk; s.mu is held. A state that cannot be
// saved (the disk is full) must not keep an application down: the groups and
// marks of its processes still find them, and the status says so.
func (s *shim) save() {
	st := State{Version: Version, ID: s.spec.ID, Shim: s.self, Stopped: s.gone, Exits: s.exits, At: time.Now().UTC()}
	for _, sl := range s.slots {
		ss := SlotState{Name: sl.name, Gen: sl.gen, Restarts: sl.restarts}
		if sl.run != nil {
			ss.Run, ss.Since = sl.run.id, sl.run.since
		}
		st.Slots = append(st.Slots, ss)
	}
	for _, l := range s.listen {
		st.Listen = append(st.Listen, Listening{Addr: l.addr, Inode: l.inode})
	}
	b, err := json.MarshalIndent(st, "", " ")
	if err == nil {
		err = atomicfile.Write(filepath.Join(s.spec.RunDir, StateFile), b, 0o600)
	}
	s.unsaved = err
}

func readStateIfAny(runDir string) (State, error) {
	st, err := ReadState(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	var broken *json.SyntaxError
	if errors.As(err, &broken) {
		return State{}, nil // atomicfile forbids it; the groups still find the processes
	}
	return st, err
}
