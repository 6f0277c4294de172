package deployment

import (
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func TestTimeLine(t *testing.T) {
	start := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	at := start
	step := func(name string, took time.Duration) bosman.OperationStep {
		s := bosman.OperationStep{Name: name, State: bosman.StepDone, StartedAt: at, EndedAt: at.Add(took)}
		at = s.EndedAt
		return s
	}
	o := bosman.Operation{StartedAt: start, Steps: []bosman.OperationStep{
		step("wait", 5*time.Hour), step("backup", 4*time.Second), step("check", 6*time.Second), step("watch", 10*time.Minute), step("settle", time.Millisecond),
		{Name: "never", State: bosman.StepWaiting},
	}}
	o.EndedAt = at
	got := spans(o, at.Add(time.Hour))
	if !got[0].cut || !got[3].cut || got[1].cut {
		t.Errorf("what waits is not cut: %+v", got)
	}
	if got[1].width < 100 || got[2].width <= got[1].width {
		t.Errorf("the work cannot be seen: %+v", got)
	}
	if got[4].width < 6 || got[5].width != 0 {
		t.Errorf("a short step or one that never ran: %+v", got)
	}
	for n, s := range got {
		if s.from < 0 || s.from+s.width > 1000 || n > 0 && s.width > 0 && s.from < got[n-1].from {
			t.Errorf("step %d lies outside: %+v", n, s)
		}
	}
	if got := spans(bosman.Operation{Steps: []bosman.OperationStep{{Name: "wait", State: bosman.StepWaiting}}}, at); got[0].width != 0 {
		t.Errorf("nothing ran: %+v", got)
	}
	running := bosman.Operation{StartedAt: start, Steps: []bosman.OperationStep{{Name: "start", State: bosman.StepRunning, StartedAt: start}}}
	if got := spans(running, start.Add(time.Second)); got[0].width != 1000 {
		t.Errorf("what goes on: %+v", got)
	}
}
