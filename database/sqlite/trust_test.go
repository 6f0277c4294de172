package sqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
)

// TestLinkToANeighboursDatabase: the instance owns its database's folder. With
// a link to live's database in the place of its own, Bosman, who may read
// everything, would hand live's data to it, or exchange or block it.
func TestLinkToANeighboursDatabase(t *testing.T) {
	e, err := NewEngine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	holding := func(name, text string) bosman.Database {
		t.Helper()
		d, err := e.Create(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		statements(t, d, "CREATE TABLE word (text TEXT)", "INSERT INTO word VALUES ('"+text+"')")
		return d
	}
	live, anna, next := holding("live", "live"), holding("testing-anna", "anna"), holding(database.Beside("testing-anna", database.TagNext), "next")
	if err := errors.Join(os.Rename(anna.Name, anna.Name+".mine"), os.Symlink(live.Name, anna.Name)); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error) {
		t.Helper()
		if bosman.KindOf(err) != bosman.KindConflict || bosman.AsError(err).Kept == "" || bosman.AsError(err).Next == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, _, err = e.Copy(t.Context(), anna, "testing-ben", database.CopyOptions{})
	refused("a copy of it", err)
	_, err = e.Backup(t.Context(), anna, t.TempDir())
	refused("a backup of it", err)
	_, err = e.Inspect(t.Context(), anna)
	refused("a look into it", err)
	_, err = e.Swap(t.Context(), anna, next)
	refused("a swap", err)
	if err := e.Drop(t.Context(), anna); err != nil {
		t.Errorf("its end: %v", err)
	}
	if in, err := e.Inspect(t.Context(), live); err != nil || in.Rows["word"] != 1 {
		t.Errorf("live holds %v, %v", in.Rows, err)
	}
}

// TestLinkPutThereMeanwhile: between the look and the opening.
func TestLinkPutThereMeanwhile(t *testing.T) {
	e, err := NewEngine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	live, err1 := e.Create(t.Context(), "live")
	anna, err2 := e.Create(t.Context(), "testing-anna")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	statements(t, live, "PRAGMA journal_mode = DELETE", "CREATE TABLE secret (text TEXT)")
	statements(t, anna, "PRAGMA journal_mode = DELETE", "CREATE TABLE own (text TEXT)")
	stop, cancel := context.WithCancel(t.Context())
	var owner sync.WaitGroup
	owner.Go(func() {
		aside := anna.Name + ".mine"
		for stop.Err() == nil {
			if err := errors.Join(os.Rename(anna.Name, aside), os.Symlink(live.Name, anna.Name), os.Remove(anna.Name), os.Rename(aside, anna.Name)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer owner.Wait()
	defer cancel()
	opened := 0
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		s, err := e.Schema(t.Context(), anna)
		if err != nil {
			continue // caught in the middle
		}
		opened++
		for _, table := range s.Tables {
			if table.Name == "secret" {
				t.Fatal("live's database was opened in the place of anna's")
			}
		}
	}
	if opened == 0 {
		t.Log("anna's own was never met")
	}
}

// TestWhatAnInstanceLeavesInItsFolder: a pipe or an endless device in the
// place of Bosman's note must stop no listing.
func TestWhatAnInstanceLeavesInItsFolder(t *testing.T) {
	e, err := NewEngine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(note string) error{
		"pipe": func(note string) error { return unix.Mkfifo(note, 0o600) },
		"zero": func(note string) error { return os.Symlink("/dev/zero", note) },
		"long": func(note string) error {
			return os.WriteFile(note, []byte(`{"from":"`+strings.Repeat("x", 1<<20)+`"}`), 0o600)
		},
	} {
		d, err := e.Create(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		note := filepath.Join(filepath.Dir(d.Name), "bosman.json")
		if err := errors.Join(os.Remove(note), put(note)); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan int, 1)
	go func() {
		all, err := e.List(t.Context())
		if err != nil {
			t.Error(err)
		}
		done <- len(all)
	}()
	select {
	case n := <-done:
		if n != 3 {
			t.Errorf("%d are listed", n)
		}
	case <-time.After(time.Minute):
		t.Fatal("the listing waits for an instance")
	}
}
