// Package faults lets tests break Bosman at named points: kill the process,
// fail a call or hold it. Without BOSMAN_FAULTS in the environment every
// point is a no-op. It must not know any stage.
package faults

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

var (
	load   sync.Once
	mu     sync.Mutex
	armed  map[string]string // point → action
	record string            // file that lists the points passed
)

// Env is the variable read at the first point: "POINT=kill", "POINT=fail",
// "POINT=sleep:3s", several separated by commas; "record=FILE" appends the
// name of every point passed to FILE.
const Env = "BOSMAN_FAULTS"

// Point is a place where a test may kill, fail or delay the process. A kill
// happens once for each file named BOSMAN_FAULTS_ONCE, so that the restarted
// process survives: the file is created before dying.
func Point(name string) error {
	load.Do(read)
	mu.Lock()
	action, hit := armed[name]
	file := record
	mu.Unlock()
	if file != "" {
		note(file, name)
	}
	if !hit {
		return nil
	}
	switch {
	case action == "kill":
		if once := os.Getenv(Env + "_ONCE"); once != "" {
			f, err := os.OpenFile(once, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return nil // already died here
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {} // the signal is on its way
	case action == "fail":
		return fmt.Errorf("fault injected at %s", name)
	case strings.HasPrefix(action, "sleep:"):
		d, err := time.ParseDuration(strings.TrimPrefix(action, "sleep:"))
		if err != nil {
			return err
		}
		time.Sleep(d)
	}
	return nil
}

func read() {
	mu.Lock()
	defer mu.Unlock()
	armed = map[string]string{}
	for _, part := range strings.Split(os.Getenv(Env), ",") {
		name, action, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			continue
		}
		if name == "record" {
			record = action
			continue
		}
		armed[name] = action
	}
}

func note(file, name string) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return // a test aid must not break what it observes
	}
	_, _ = f.WriteString(name + "\n") // likewise
	_ = f.Close()                     // likewise
}
