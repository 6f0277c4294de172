package helm

import (
	"context"
	"testing"

	"github.com/bosman-cd/bosman"
)

type storedAt struct{ app string }

func (s *storedAt) Storage(_ context.Context, app string) (bosman.Storage, error) {
	s.app = app
	return bosman.Storage{Databases: []bosman.StoredDatabase{{App: app, Name: "rms__staging", Bytes: 7}}}, nil
}

func TestExactCopiesAndWhatDatabasesTake(t *testing.T) {
	r, ctx := newRig(t), t.Context()
	anna := bosman.Actor{Person: "anna", From: "test"}
	r.ends(0, bosman.BuildGreen)
	r.done(r.last())
	r.branch("feature", "new.py", "x\n")
	r.ends(1, bosman.BuildGreen)
	plain, err := r.Try(ctx, anna, "rms", "feature", "testing-anna")
	if err != nil || plain.Exact {
		t.Fatalf("%+v, %v", plain, err)
	}
	exact, err := r.TryExact(ctx, anna, "rms", "feature", "testing-anna")
	if err != nil || !exact.Exact {
		t.Fatalf("%+v, %v", exact, err)
	}
	if kept, err := r.Store.Operation(ctx, "rms", exact.Number); err != nil || !kept.Exact || kept.Plan != bosman.PlanTry {
		t.Errorf("the row %+v, %v", kept, err)
	}
	r.done(exact)
	if again, err := r.ResetExact(ctx, anna, "rms", "testing-anna"); err == nil && !again.Exact {
		t.Errorf("a reset %+v", again)
	}

	if got, err := r.DatabasesOf(ctx, anna, "rms"); err != nil || got.Databases == nil || got.Servers == nil {
		t.Errorf("nothing is listed as null: %+v, %v", got, err)
	}
	all := &storedAt{}
	r.Config.Storage = all
	if got, err := r.DatabasesOf(ctx, anna, "rms"); err != nil || len(got.Databases) != 1 || all.app != "rms" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = r.DatabasesOf(ctx, bosman.Actor{Person: "nobody", From: "test"}, "rms")
	wantKind(t, "a stranger", err, bosman.KindForbidden)
	_, err = r.DatabasesOf(ctx, bosman.System(), "none")
	wantKind(t, "no such app", err, bosman.KindNotFound)
}

func (s *storedAt) Adopted(_ context.Context, i bosman.Instance) bosman.AdoptedDatabase {
	return bosman.AdoptedDatabase{Instance: i.Name, Name: i.Database.Name, ByHand: "restore by hand", Abilities: []bosman.Ability{
		{Name: bosman.CanBackup, OK: true}, {Name: bosman.CanRestore, Why: "it is not ours"}, {Name: bosman.CanRoles, Why: "none"},
	}}
}
