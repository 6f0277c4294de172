package helm

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman"
)

// ChangeView is a change with all that its row and page show.
type ChangeView struct {
	bosman.Change
	Road      bosman.Road       `json:"road"`
	Build     *bosman.Build     `json:"build,omitempty"` // newest, with report
	Signoffs  []bosman.Signoff  `json:"signoffs,omitempty"`
	On        []bosman.Instance `json:"on,omitempty"`        // instances that show it
	Stale     bool              `json:"stale"`               // main moved since its build
	Rehearsal *bosman.Rehearsal `json:"rehearsal,omitempty"` // of its present head on a copy of staging's database
}

// Changes lists changes with their roads, newest activity first; merged and
// closed ones only if asked, at most max (0: 200).
func (h *Helm) Changes(ctx context.Context, a bosman.Actor, app string, all bool, max int) ([]ChangeView, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return nil, err
	}
	if max == 0 {
		max = 200
	}
	state := bosman.ChangeOpen
	if all {
		state = ""
	}
	list, err := h.Store.Changes(ctx, app, state, max)
	if err != nil {
		return nil, err
	}
	out := make([]ChangeView, 0, len(list))
	for _, c := range list {
		v, err := h.view(ctx, c)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// ChangePage gives one change with its road, newest build and sign-offs.
func (h *Helm) ChangePage(ctx context.Context, a bosman.Actor, app, ref string) (ChangeView, error) {
	c, err := h.FindChange(ctx, a, app, ref)
	if err != nil {
		return ChangeView{}, err
	}
	return h.view(ctx, c)
}

func (h *Helm) view(ctx context.Context, c bosman.Change) (ChangeView, error) {
	v := ChangeView{Change: c}
	b, err := h.Store.LatestBuild(ctx, c.App, c.Number)
	if err == nil {
		v.Build = &b
	} else if bosman.KindOf(err) != bosman.KindNotFound {
		return v, err
	}
	if v.Signoffs, err = h.Store.Signoffs(ctx, c.App, c.Number); err != nil {
		return v, err
	}
	if v.Rehearsal, err = h.rehearsalOf(ctx, c); err != nil {
		return v, err
	}
	instances, err := h.Store.Instances(ctx, c.App)
	if err != nil {
		return v, err
	}
	for _, i := range instances {
		if i.Change == c.Number {
			v.On = append(v.On, i)
		}
	}
	known, err := h.Store.Setting(ctx, knownMain(c.App))
	if err != nil {
		return v, err
	}
	v.Stale = v.Build != nil && c.State == bosman.ChangeOpen && v.Build.Base != known
	v.Road, err = h.changeRoad(ctx, v, instances)
	return v, err
}

// changeRoad is the way of a change: tests → testing → accepted → merged →
// staging → live.
func (h *Helm) changeRoad(ctx context.Context, v ChangeView, instances []bosman.Instance) (bosman.Road, error) {
	road := bosman.Road{testsStation(v), {Name: "testing", State: bosman.StationWaiting}, acceptedStation(v), {Name: "merged", State: bosman.StationWaiting}}
	var who []string
	for _, i := range v.On {
		if isPreview(i) {
			continue // nobody looks at it yet
		}
		who = append(who, strings.TrimPrefix(i.Name, "testing-"))
		road[1].At, road[1].Path = i.UpdatedAt, "/"+v.App+"/instances/"+i.Name
		road[1].State = bosman.StationGood
		if i.Operation != 0 {
			road[1].State = bosman.StationRunning
		}
	}
	road[1].Note = strings.Join(who, ", ")
	if road[1].State == bosman.StationWaiting && (road[2].State == bosman.StationGood || v.State == bosman.ChangeMerged) {
		road[1].State = bosman.StationSkipped
	}
	switch {
	case v.State == bosman.ChangeMerged:
		road[3] = bosman.Station{Name: "merged", State: bosman.StationGood, Who: v.MergedBy, At: v.MergedAt, Note: bosman.Short(v.Merged)}
		if road[2].State == bosman.StationWaiting {
			road[2].State = bosman.StationSkipped
		}
	case v.MergeWanted != "":
		road[3] = bosman.Station{Name: "merged", State: bosman.StationRunning, Who: v.MergeWanted, Note: "once the tests are green"}
	case len(v.Conflicts) > 0:
		road[3] = bosman.Station{Name: "merged", State: bosman.StationFailed, Note: "conflicts with main in " + v.Conflicts[0]}
	case v.Blocked != "":
		road[3] = bosman.Station{Name: "merged", State: bosman.StationFailed, Note: v.Blocked}
	}
	for _, name := range []string{"staging", "live"} {
		st := bosman.Station{Name: name, State: bosman.StationWaiting}
		for _, i := range instances {
			if i.Name != name || v.State != bosman.ChangeMerged {
				continue
			}
			if v.Build != nil && v.Build.Unconcerned() { // no release has it to bring
				st.State, st.Note = bosman.StationSkipped, v.Build.Reason
				continue
			}
			var err error
			if st, err = h.arrived(ctx, v.Change, i); err != nil {
				return nil, err
			}
		}
		road = append(road, st)
	}
	return road, nil
}

func testsStation(v ChangeView) bosman.Station {
	st := bosman.Station{Name: "tests", State: bosman.StationWaiting}
	if len(v.Conflicts) > 0 && v.State == bosman.ChangeOpen {
		st.Note = "conflicts with main"
		st.State = bosman.StationFailed
		return st
	}
	b := v.Build
	if b == nil {
		return st
	}
	st.At, st.Path, st.Note = b.EndedAt, "/"+v.App+"/builds/"+strconv.Itoa(b.Number), buildRef(b.Number)
	switch b.State {
	case bosman.BuildRunning:
		st.State, st.At = bosman.StationRunning, b.StartedAt
	case bosman.BuildGreen:
		st.State = bosman.StationGood
		if passed, _, _ := b.Report.Count(); passed > 0 {
			st.Note = fmt.Sprintf("%d passed", passed)
		}
		if b.Unconcerned() {
			st.Note = b.Reason
		}
	case bosman.BuildRed, bosman.BuildError:
		st.State = bosman.StationFailed
		if _, failed, _ := b.Report.Count(); failed > 0 {
			st.Note = fmt.Sprintf("%d failed", failed)
		}
	case bosman.BuildCancelled:
		st.Note = b.Reason
	case bosman.BuildQueued:
		st.Note = "queued"
	}
	return st
}

func acceptedStation(v ChangeView) bosman.Station {
	st := bosman.Station{Name: "accepted", State: bosman.StationWaiting}
	for _, s := range v.Signoffs {
		if s.Commit != v.Head {
			continue
		}
		st.Who, st.At, st.Note = s.Person, s.At, s.Why
		st.State = bosman.StationGood
		if s.Verdict == bosman.SentBack {
			st.State = bosman.StationFailed
		}
	}
	return st
}

// arrived says whether the release with a merged change reached an instance.
func (h *Helm) arrived(ctx context.Context, c bosman.Change, i bosman.Instance) (bosman.Station, error) {
	st := bosman.Station{Name: i.Name, State: bosman.StationWaiting}
	repo, err := h.Repos.Open(c.App)
	if err != nil {
		return st, err
	}
	contains := func(release int) (bool, error) {
		if release == 0 {
			return false, nil
		}
		r, err := h.Store.Release(ctx, c.App, release)
		if err != nil {
			return false, err
		}
		return repo.IsAncestor(ctx, c.Merged, r.Commit)
	}
	there, err := contains(i.Release)
	if err != nil {
		return st, err
	}
	if there {
		return bosman.Station{Name: i.Name, State: bosman.StationGood, Who: i.UpdatedBy, At: i.UpdatedAt, Note: releaseRef(i.Release), Path: "/" + c.App + "/instances/" + i.Name}, nil
	}
	ops, err := h.Store.Operations(ctx, c.App, i.Name, 10)
	if err != nil {
		return st, err
	}
	for _, o := range ops {
		if o.Plan != bosman.PlanDeploy || o.Release == 0 {
			continue
		}
		with, err := contains(o.Release)
		if err != nil {
			return st, err
		}
		if !with {
			break
		}
		st.Path, st.Who, st.At = fmt.Sprintf("/%s/deployments/%d", c.App, o.Number), o.By, o.EndedAt
		st.Note = opRef(o.Number)
		switch o.State {
		case bosman.OpRunning, bosman.OpWatching:
			st.State = bosman.StationRunning
		case bosman.OpQueued:
			st.Note = o.Waits
		case bosman.OpReverted:
			st.State = bosman.StationReverted
		case bosman.OpFailed:
			st.State = bosman.StationFailed
		case bosman.OpDone: // it was there and another release went back behind it
			st.State = bosman.StationReverted
		case bosman.OpSuperseded, bosman.OpCancelled:
			continue
		}
		break
	}
	return st, nil
}
