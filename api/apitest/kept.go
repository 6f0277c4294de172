package apitest

import (
	"context"

	"github.com/bosman-cd/bosman"
)

// Kept is the data that stands beside that of instances, as a test says.
type Kept struct {
	Copies []bosman.KeptCopy
	Since  bosman.Written
	Gone   []string // ids of what was dropped
}

// Kept lists it.
func (k *Kept) Kept(_ context.Context, i bosman.Instance) ([]bosman.KeptCopy, error) {
	var out []bosman.KeptCopy
	for _, c := range k.Copies {
		if c.Instance == i.Name {
			out = append(out, c)
		}
	}
	return out, nil
}

// DropKept notes what was dropped.
func (k *Kept) DropKept(_ context.Context, _ bosman.Instance, c bosman.KeptCopy) error {
	k.Gone = append(k.Gone, c.ID)
	return nil
}

// Written gives what the test says.
func (k *Kept) Written(context.Context, bosman.Instance, int) (bosman.Written, error) {
	return k.Since, nil
}

// WayBack lets staging run r2, brought by d3, which took something away and
// left a kept copy; two rows were written since.
func (r *Rig) WayBack() *Kept {
	r.t.Helper()
	ctx := r.t.Context()
	k := &Kept{
		Copies: []bosman.KeptCopy{{App: "rms", Instance: "staging", ID: "20261123t090000000", Database: "rms__staging__kept_20261123t090000000", Bytes: 14_000_000}},
		Since:  bosman.Written{Known: true, Certain: true, Tables: []bosman.TableRows{{Table: "public.candidate", Rows: 2}}},
	}
	r.Helm.KeptData = k
	i, err := r.Helm.Store.Instance(ctx, "rms", "staging")
	if err != nil {
		r.t.Fatal(err)
	}
	i.Release, i.Previous = 2, 1
	if err := r.Helm.Store.SaveInstance(ctx, i); err != nil {
		r.t.Fatal(err)
	}
	if err := r.Helm.Store.SaveOperation(ctx, bosman.Operation{
		App: "rms", Number: 3, Instance: "staging", Plan: bosman.PlanDeploy, From: 1, Release: 2, Backup: 4, State: bosman.OpDone, Committed: true,
		WayBack: &bosman.WayBack{Schema: "column public.x.y dropped", Destructive: true, Kept: "rms__staging__way_back_d3", KeptBytes: 14_000_000},
	}); err != nil {
		r.t.Fatal(err)
	}
	return k
}
