package bosman_test

import (
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

// The road of what is over waits for nothing and shows where it was taken back.
func TestOperationRoadAtTheEnd(t *testing.T) {
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	steps := []bosman.OperationStep{
		{Name: "switch", State: bosman.StepDone, StartedAt: at, EndedAt: at},
		{Name: "watch", State: bosman.StepSkipped, StartedAt: at, EndedAt: at},
		{Name: "settle", State: bosman.StepWaiting},
	}
	for _, c := range []struct {
		state         bosman.OperationState
		watch, settle bosman.StationState
	}{
		{bosman.OpWatching, bosman.StationSkipped, bosman.StationWaiting},
		{bosman.OpReverted, bosman.StationReverted, bosman.StationSkipped},
		{bosman.OpFailed, bosman.StationSkipped, bosman.StationSkipped},
	} {
		road := bosman.OperationRoad(bosman.Operation{State: c.state, Steps: steps})
		if road[0].State != bosman.StationGood || road[1].State != c.watch || road[2].State != c.settle {
			t.Errorf("%s: %s, %s, %s", c.state, road[0].State, road[1].State, road[2].State)
		}
	}
}
