package store

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "odd name?", "bosman.db"))
	if err == nil {
		t.Fatal("a missing folder should be an error")
	}
	s, err = Open(t.Context(), filepath.Join(t.TempDir(), "bosman #1.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fill sets every field of a noun to something other than zero.
func fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x'\"ż")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(`{"a":1}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Map:
		key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth+1)
		fill(val, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, val)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 11, 23, 8, 30, 0, 123_000_000, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Type != reflect.TypeFor[error]() {
				fill(v.Field(i), depth+1)
			}
		}
	}
}

func filled[T any]() T {
	var v T
	fill(reflect.ValueOf(&v).Elem(), 0)
	return v
}

// roundTrip saves a noun with every field set, twice, and reads it back.
func roundTrip[T any](t *testing.T, save func(context.Context, T) error, load func(T) (T, error)) {
	t.Helper()
	want := filled[T]()
	for range 2 {
		if err := save(t.Context(), want); err != nil {
			t.Fatalf("save %T: %v", want, err)
		}
	}
	got, err := load(want)
	if err != nil {
		t.Fatalf("load %T: %v", want, err)
	}
	if !same(t, got, want) {
		t.Errorf("%T came back as\n%+v, was\n%+v", want, got, want)
	}
}

// same compares what JSON shows: times by moment, not by how the zone is held.
func same(t *testing.T, a, b any) bool {
	t.Helper()
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return bytes.Equal(x, y)
}

func TestEveryFieldComesBack(t *testing.T) {
	s, ctx := open(t), t.Context()
	roundTrip(t, s.SaveChange, func(v bosman.Change) (bosman.Change, error) { return s.Change(ctx, v.App, v.Number) })
	roundTrip(t, s.SaveBuild, func(v bosman.Build) (bosman.Build, error) { return s.Build(ctx, v.App, v.Number) })
	roundTrip(t, s.SaveRelease, func(v bosman.Release) (bosman.Release, error) { return s.Release(ctx, v.App, v.Number) })
	roundTrip(t, s.SaveInstance, func(v bosman.Instance) (bosman.Instance, error) { return s.Instance(ctx, v.App, v.Name) })
	roundTrip(t, s.SaveOperation, func(v bosman.Operation) (bosman.Operation, error) { return s.Operation(ctx, v.App, v.Number) })
	roundTrip(t, s.SaveBackup, func(v bosman.Backup) (bosman.Backup, error) { return s.Backup(ctx, v.App, v.Number) })
	roundTrip(t, s.SaveRehearsal, func(v bosman.Rehearsal) (bosman.Rehearsal, error) { return s.Rehearsal(ctx, v.App, v.Release) })
	roundTrip(t, s.SavePerson, func(v bosman.Person) (bosman.Person, error) { return s.Person(ctx, v.Name) })
	roundTrip(t, s.SaveToken, func(v bosman.Token) (bosman.Token, error) { return s.Token(ctx, v.ID) })
	roundTrip(t, s.SaveProblem, func(v bosman.Problem) (bosman.Problem, error) { return s.Problem(ctx, v.App, v.Number) })
	roundTrip(t, s.SaveSecret, func(v SealedSecret) (SealedSecret, error) {
		all, err := s.Secrets(ctx, v.App)
		if err != nil || len(all) != 1 {
			t.Fatalf("%d secrets, %v", len(all), err)
		}
		return all[0], nil
	})

	app := filled[bosman.App]()
	if err := s.AddApp(ctx, app); err != nil {
		t.Fatal(err)
	}
	if got, err := s.App(ctx, app.Name); err != nil || !same(t, got, app) {
		t.Errorf("app came back as %+v, %v", got, err)
	}
	if err := s.AddApp(ctx, app); bosman.KindOf(err) != bosman.KindConflict {
		t.Errorf("adding an app twice: %v", err)
	}
	mail := filled[bosman.Mail]()
	if err := s.AddMail(ctx, mail); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Mails(ctx, mail.App, mail.Instance, 10); err != nil || len(got) != 1 || got[0].ID == 0 || got[0].HTML != mail.HTML || got[0].To[0] != mail.To[0] {
		t.Errorf("mail came back as %+v, %v", got, err)
	}
	if err := s.AppendActivity(ctx, bosman.Activity{App: "rms", What: "deployed"}); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveApp(ctx, app.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Build(ctx, app.Name, 7); bosman.KindOf(err) != bosman.KindNotFound {
		t.Errorf("the build of a removed app: %v", err)
	}
}

func TestActivityIsAppendOnly(t *testing.T) {
	s, ctx := open(t), t.Context()
	if err := s.AppendActivity(ctx, bosman.Activity{Who: "anna", What: "merged c1"}); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"UPDATE activity SET who = 'x'", "DELETE FROM activity"} {
		if _, err := s.DB().ExecContext(ctx, q); err == nil {
			t.Errorf("%s should be refused", q)
		}
	}
}

func TestOneOwner(t *testing.T) {
	s, ctx := open(t), t.Context()
	first, err := s.Take(ctx, "rms", "live", 1)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Take(ctx, "rms", "live", 1); err != nil || again != first {
		t.Errorf("taking twice: fence %d, then %d, %v", first, again, err)
	}
	if _, err := s.Take(ctx, "rms", "live", 2); bosman.KindOf(err) != bosman.KindBusy {
		t.Errorf("taking what is taken: %v", err)
	}
	fence, prev, err := s.TakeOver(ctx, "rms", "live", 3)
	if err != nil || prev != 1 || fence <= first {
		t.Errorf("take over: fence %d after %d, from %d, %v", fence, first, prev, err)
	}
	if err := s.GiveBack(ctx, "rms", "live", 1); err != nil {
		t.Error(err)
	}
	if owner, err := s.Owner(ctx, "rms", "live"); err != nil || owner != 3 {
		t.Errorf("owner %d, %v: the old owner must not give back what was taken over", owner, err)
	}
	if err := s.GiveBack(ctx, "rms", "live", 3); err != nil {
		t.Error(err)
	}
	if last, err := s.Take(ctx, "rms", "live", 2); err != nil || last <= fence {
		t.Errorf("fence %d after %d, %v", last, fence, err)
	}
}

func TestNumbersUnderLoad(t *testing.T) {
	s, ctx := open(t), t.Context()
	var mu sync.Mutex
	seen := map[int]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				err := s.InTx(ctx, func(s *Store) error {
					n, err := s.Next(ctx, "rms", bosman.LetterBuild)
					if err != nil {
						return err
					}
					mu.Lock()
					seen[n] = true
					mu.Unlock()
					return s.SaveBuild(ctx, bosman.Build{App: "rms", Number: n, State: bosman.BuildQueued})
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(seen) != 160 || !seen[1] || !seen[160] {
		t.Errorf("%d different numbers, want 1 to 160", len(seen))
	}
}

func TestEventsWakeAfterCommit(t *testing.T) {
	s, ctx := open(t), t.Context()
	wake := s.Wake()
	err := s.InTx(ctx, func(s *Store) error {
		if err := s.AppendEvent(ctx, bosman.Event{App: "rms", Kind: bosman.EventMainMoved, Subject: "main"}); err != nil {
			return err
		}
		select {
		case <-wake:
			t.Error("woken before the commit")
		default:
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-wake:
	default:
		t.Error("not woken after the commit")
	}
	events, err := s.EventsAfter(ctx, 0, 10)
	if err != nil || len(events) != 1 || events[0].Kind != bosman.EventMainMoved {
		t.Fatalf("%v, %v", events, err)
	}
	last, err := s.LastEvent(ctx)
	if err != nil || last != events[0].ID {
		t.Errorf("last %d, %v", last, err)
	}
}

func TestErrorEventsGroupAndRegress(t *testing.T) {
	s, ctx := open(t), t.Context()
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	add := func(id string, release int, at time.Time) (bosman.Problem, bool, bool) {
		t.Helper()
		p, isNew, added, err := s.SaveErrorEvent(ctx, bosman.ErrorEvent{App: "rms", ID: id, Instance: "live", Release: release, Level: "error", At: at, ReceivedAt: at}, "fine", "coarse", "KeyError", "views.list", "key")
		if err != nil {
			t.Fatal(err)
		}
		return p, isNew, added
	}
	if p, isNew, added := add("a", 3, at); !isNew || !added || p.Events != 1 {
		t.Errorf("first: %+v %v %v", p, isNew, added)
	}
	if _, isNew, added := add("a", 3, at); isNew || added {
		t.Error("the same event again should not count")
	}
	p, isNew, _ := add("b", 4, at.Add(time.Minute))
	if isNew || p.Events != 2 || p.FirstRelease != 3 || p.LastRelease != 4 {
		t.Errorf("second: %+v %v", p, isNew)
	}
	p.ResolvedAt, p.ResolvedBy = at.Add(2*time.Minute), "anna"
	if err := s.SaveProblem(ctx, p); err != nil {
		t.Fatal(err)
	}
	if open, err := s.Problems(ctx, "rms", false, 0); err != nil || len(open) != 0 {
		t.Errorf("%d open problems, %v", len(open), err)
	}
	if p, _, _ = add("c", 4, at.Add(3*time.Minute)); !p.Regressed || !p.ResolvedAt.IsZero() {
		t.Errorf("after it was resolved: %+v", p)
	}
	if n, err := s.CountErrors(ctx, "rms", "live", 4, at.Add(30*time.Second)); err != nil || n != 2 {
		t.Errorf("%d errors, %v", n, err)
	}
}

func TestOutboxKeepsTheNewest(t *testing.T) {
	s, ctx := open(t), t.Context()
	now := time.Now()
	for i, state := range []string{"pending", "success"} {
		if err := s.Owe(ctx, Owed{Kind: "status", CoalesceKey: "rms abc", Data: []byte(state), At: now.Add(time.Duration(i)), NextAt: now}); err != nil {
			t.Fatal(err)
		}
	}
	due, err := s.Due(ctx, "status", now.Add(time.Second), 10)
	if err != nil || len(due) != 1 || string(due[0].Data) != "success" {
		t.Fatalf("%+v, %v", due, err)
	}
	if err := s.Postpone(ctx, due[0], now.Add(time.Minute), "502"); err != nil {
		t.Fatal(err)
	}
	if due, err := s.Due(ctx, "status", now.Add(time.Second), 10); err != nil || len(due) != 0 {
		t.Errorf("due too early: %v, %v", due, err)
	}
}
