package bosman

import "time"

// StationState is how far a station of a road was passed.
type StationState string

// The states of a station, each with its own shape and word.
const (
	StationWaiting  StationState = "waiting"  // ◌ not reached
	StationRunning  StationState = "running"  // ◐ going on
	StationGood     StationState = "good"     // ✓ passed
	StationFailed   StationState = "failed"   // ✕ stopped here
	StationReverted StationState = "reverted" // ↩ was passed, then taken back
	StationSkipped  StationState = "skipped"  // – not needed
)

// Mark is the sign of the state on pages and terminals.
func (s StationState) Mark() string {
	switch s {
	case StationRunning:
		return "◐"
	case StationGood:
		return "✓"
	case StationFailed:
		return "✕"
	case StationReverted:
		return "↩"
	case StationSkipped:
		return "–"
	case StationWaiting:
	}
	return "◌"
}

// Station is one stop of a road: a name, how far, a short note and who or
// what put it there.
type Station struct {
	Name  string       `json:"name"`
	State StationState `json:"state"`
	Note  string       `json:"note,omitempty"`
	Who   string       `json:"who,omitempty"`
	At    time.Time    `json:"at"`
	Path  string       `json:"path,omitempty"` // page of what happened there
}

// Road is the way of a change, a release or an operation.
type Road []Station

// OperationRoad is the road of an operation: its steps.
func OperationRoad(o Operation) Road {
	road := make(Road, 0, len(o.Steps))
	for _, s := range o.Steps {
		st := Station{Name: s.Name, Note: s.Note, At: s.EndedAt}
		switch s.State {
		case StepRunning:
			st.State, st.At = StationRunning, s.StartedAt
		case StepDone:
			st.State = StationGood
		case StepFailed, StepAllowed:
			st.State = StationFailed
		case StepUndone:
			st.State = StationReverted
		case StepSkipped:
			st.State = StationSkipped
		case StepWaiting:
			st.State = StationWaiting
		}
		// What is over waits for nothing; where it was taken back is told apart.
		switch {
		case o.State == OpReverted && s.State == StepSkipped && !s.StartedAt.IsZero():
			st.State = StationReverted
		case o.State.Final() && s.State == StepWaiting:
			st.State = StationSkipped
		}
		road = append(road, st)
	}
	return road
}

// Weather is Jenkins' picture of the last runs.
type Weather struct {
	Good int `json:"good"` // of the last Of runs
	Of   int `json:"of"`   // at most 5
}

// Sky is 0 (storm) to 4 (sun): how many of the last runs were good. Without
// any run it is 4.
func (w Weather) Sky() int {
	if w.Of == 0 {
		return 4
	}
	return w.Good * 4 / w.Of
}
