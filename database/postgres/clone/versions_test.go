package clone

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/databasetest"
	"github.com/bosman-cd/bosman/database/postgres"
)

// hostOf gives a host and a durable cluster of a version, on a file system of
// their own. 18 clones files by itself and needs no servers of copies.
func hostOf(t *testing.T, version int) (*Host, *postgres.Cluster) {
	t.Helper()
	_, main := world(t)
	h := another(t, "xfs", 1<<30)
	if version == 15 {
		return h, main
	}
	bin, clients := databasetest.PostgresVersion(t, version)
	h.ClientDir, h.bins[""], h.bins[strconv.Itoa(version)] = clients, bin, bin
	return h, mainOf(t, bin, clients)
}

// mainOf starts a durable cluster of the programs in a folder.
func mainOf(t *testing.T, bin, clients string) *postgres.Cluster {
	t.Helper()
	dir, err := tempDir("/dev/shm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := clear(dir); err != nil {
			t.Error(err)
		}
	})
	main := &postgres.Cluster{Name: "main", Profile: postgres.Main, Dir: filepath.Join(dir, "main"), BinDir: bin, ClientDir: clients}
	if _, err := main.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return main
}

// TestStrangeContentOfVersions: whatever a database holds, and whichever
// version made it, is in its copies: made of a golden copy, in advance, by a
// dump, restored from a backup; it is there after a kill and a swap.
func TestStrangeContentOfVersions(t *testing.T) {
	for _, version := range []int{13, 14, 15, 16, 17} {
		t.Run(strconv.Itoa(version), func(t *testing.T) {
			t.Parallel()
			h, main := hostOf(t, version)
			if !strings.HasPrefix(main.Version(), strconv.Itoa(version)+".") {
				t.Fatalf("PostgreSQL %s runs", main.Version())
			}
			s := sceneOn(t, "odd"+strconv.Itoa(version), h, main)
			s.sql(t, s.from, databasetest.PostgresContent()...)
			if err := s.staging.Extend(t.Context(), s.from, []string{"pageinspect"}); err != nil { // only a superuser may
				t.Fatal(err)
			}
			want, err := s.staging.Inspect(t.Context(), s.from)
			if err != nil || want.Rows["large objects"] != 1 {
				t.Fatalf("%v, %v", want.Rows, err)
			}
			same := func(what string, d bosman.Database) {
				t.Helper()
				got, err := s.Inspect(t.Context(), d)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if diff := database.Differences(database.BackupInfo{Rows: want.Rows, Schema: want.Schema}, got); len(diff) > 0 {
					t.Errorf("%s differs: %v", what, diff)
				}
			}
			usable := func(what string, d bosman.Database) {
				t.Helper()
				same(what, d)
				s.sql(t, d, "SELECT 1 / (length(lo_get(42)) - 19999)", `INSERT INTO "o'Neil ""Ala"" 🐘; --" VALUES (99)`, `DELETE FROM "o'Neil ""Ala"" 🐘; --" WHERE "select" = 99`)
			}
			if _, err := s.Refresh(t.Context(), s.from, 1); err != nil {
				t.Fatal(err)
			}
			anna := s.copy(t, "testing-anna")
			usable("a copy", anna)
			if p, err := s.Fill(t.Context(), s.from, 1); err != nil || p.Ready != 1 {
				t.Fatalf("%+v, %v", p, err)
			}
			next := s.copy(t, "testing-anna__next")
			same("one made in advance", next)
			ben, _, err := s.Copy(t.Context(), anna, "testing-ben", database.CopyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			usable("a copy of a copy", ben)
			if err := syscall.Kill(pidIn(t, s.dir(t, anna)), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			s.until(t, "it is started again", func() bool {
				n, err := s.host.Tend(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				return n == 1
			})
			usable("a copy whose server was killed", anna)
			kept, err := s.Swap(t.Context(), anna, next)
			if err != nil {
				t.Fatal(err)
			}
			usable("what took its place", anna)
			if in, err := s.Inspect(t.Context(), kept); err != nil || in.Rows["public.Osoba żółta"] != 200 {
				t.Errorf("what is kept holds %v, %v", in.Rows, err)
			}
			dir := t.TempDir()
			if _, err := s.staging.Backup(t.Context(), s.from, dir); err != nil {
				t.Fatal(err)
			}
			restored, err := s.Restore(t.Context(), dir, "testing-eve")
			if err != nil {
				t.Fatal(err)
			}
			usable("restored", restored)
		})
	}
}

// TestOlderThanStaging: servers of copies that are older than staging's are not
// tried, and nothing is left of them.
func TestOlderThanStaging(t *testing.T) {
	_, _ = world(t)
	h := another(t, "xfs", 1<<30)
	bin, clients := databasetest.PostgresVersion(t, 18)
	s := sceneOn(t, "newer", h, mainOf(t, bin, clients))
	_, _, err := s.Copy(t.Context(), s.from, "testing-anna", database.CopyOptions{})
	if bosman.KindOf(err) != bosman.KindUnavailable || !strings.Contains(err.Error(), "an older one cannot hold its copies") || !strings.Contains(bosman.AsError(err).Next, "apt-get install postgresql-18") {
		t.Errorf("a copy of 18 on 15: %v", err)
	}
	if all, err := s.Goldens(t.Context(), s.from); err != nil || len(all) != 0 {
		t.Errorf("golden copies %+v, %v", all, err)
	}
	dir := t.TempDir()
	info, err1 := s.staging.Backup(t.Context(), s.from, dir)
	if err := errors.Join(err1, s.Accepts(t.Context(), info)); bosman.KindOf(err) != bosman.KindInvalid || !strings.Contains(err.Error(), "cannot read it") {
		t.Errorf("a backup of 18 on 15: %v", err)
	}
}
