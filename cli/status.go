package cli

import (
	"fmt"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

type statusCmd struct {
	App string `arg:"" optional:"" help:"Only this app."`
}

// Help gives examples.
func (statusCmd) Help() string {
	return `Each instance is a row, then the builds of changes. The weather tells of
the last five runs: ☀ all were good, ⛈ none was.

Examples:
  bosman status
  bosman status rms
  bosman status --json | jq '.[] | select(.name == "live") | .release'`
}

// Run shows the table.
func (c *statusCmd) Run(e *env) error {
	jobs, err := e.server().Status(e.ctx, first(c.App, e.getenv("BOSMAN_APP")))
	if err != nil {
		return err
	}
	if err := e.backupWarnings(first(c.App, e.getenv("BOSMAN_APP"))); err != nil {
		return err
	}
	if err := e.heldWarnings(jobs); err != nil {
		return err
	}
	defer e.remind()
	return e.show(jobs, func() error {
		rows := make([][]string, 0, len(jobs))
		for _, j := range jobs {
			rows = append(rows, e.jobRow(j))
		}
		return e.table([]string{"APP", "NAME", "STATE", "WEATHER", "RUNS", "SINCE", "LAST SUCCESS", "LAST FAILURE", "TOOK"}, rows, "there is no app yet; add one: bosman app add NAME")
	})
}

// heldWarnings says which instances do not follow main, why, and what to do.
func (e *env) heldWarnings(jobs []wire.Job) error {
	for _, j := range jobs {
		if j.Held == nil {
			continue
		}
		if _, err := fmt.Fprintf(e.stderr, "! %s/%s stays on %s: %s\n  %s\n", j.App, j.Name, releaseRef(j.Release), j.Held.Why, j.Held.Next); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) jobRow(j wire.Job) []string {
	state := string(j.State)
	switch {
	case j.Running != "":
		state = j.Running + " at work"
		for _, st := range j.RunningRoad {
			if st.State == bosman.StationRunning {
				state = j.Running + " " + st.Name
			}
		}
	case j.Kind == "":
		state = "-"
	}
	runs := "-"
	if j.Release != 0 {
		runs = strings.TrimSpace(releaseRef(j.Release) + " " + cut(j.Title, 32))
	}
	since := e.ago(j.Since)
	if j.By != "" && !j.Since.IsZero() {
		since += " by " + j.By
	}
	return []string{j.App, j.Name, state, e.weather(j.Weather), runs, since, e.lastRun(j.SuccessRef, j), e.lastRun(j.FailureRef, j), took(j.LastDuration)}
}

func (e *env) lastRun(ref string, j wire.Job) string {
	switch ref {
	case "":
		return "-"
	case j.SuccessRef:
		return e.ago(j.LastSuccess) + " " + ref
	}
	return e.ago(j.LastFailure) + " " + ref
}

// weather is the picture of the last runs.
func (e *env) weather(w bosman.Weather) string {
	if w.Of == 0 {
		return "-"
	}
	pictures := []string{"⛈", "🌧", "☁", "⛅", "☀"}
	if e.global.Plain {
		pictures = []string{"storm", "rain", "clouds", "fair", "sun"}
	}
	return pictures[w.Sky()]
}
