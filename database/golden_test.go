package database

import (
	"errors"
	"testing"
	"time"

	bosman "github.com/bosman-cd/bosman"
)

func TestChooseAGeneration(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	broken := errors.New("broken")
	golden := func(release int, age, took time.Duration) bosman.CopyInfo {
		return bosman.CopyInfo{Release: release, TakenAt: now.Add(-age), Took: took}
	}
	upTo := func(n int) func(int) bool { return func(release int) bool { return release <= n } }
	for what, tt := range map[string]struct {
		all     []bosman.CopyInfo
		opt     CopyOptions
		stale   bool
		failing error
		want    int // the release; 9 is the one just made
		kind    bosman.ErrorKind
	}{
		"none yet":               {want: 9},
		"none, and none made":    {failing: broken, kind: bosman.KindInternal},
		"the newest":             {all: []bosman.CopyInfo{golden(3, 0, 0), golden(2, 0, 0)}, want: 3},
		"the newest that suits":  {all: []bosman.CopyInfo{golden(3, 0, 0), golden(2, 0, 0)}, opt: CopyOptions{Accept: upTo(2)}, want: 2},
		"none suits":             {all: []bosman.CopyInfo{golden(3, 0, 0)}, opt: CopyOptions{Accept: upTo(2)}, kind: bosman.KindConflict},
		"old, of any age":        {all: []bosman.CopyInfo{golden(3, time.Hour, 0)}, stale: true, want: 3},
		"old and stale":          {all: []bosman.CopyInfo{golden(3, time.Hour, 0)}, opt: CopyOptions{MaxAge: time.Minute}, stale: true, want: 9},
		"old, made slowly":       {all: []bosman.CopyInfo{golden(3, time.Hour, time.Minute)}, opt: CopyOptions{MaxAge: time.Minute}, stale: true, want: 3},
		"old, nothing written":   {all: []bosman.CopyInfo{golden(3, time.Hour, 0)}, opt: CopyOptions{MaxAge: time.Minute}, want: 3},
		"stale, but young":       {all: []bosman.CopyInfo{golden(3, time.Second, 0)}, opt: CopyOptions{MaxAge: time.Minute}, stale: true, want: 3},
		"this moment":            {all: []bosman.CopyInfo{golden(3, 0, 0)}, opt: CopyOptions{Exact: true}, want: 9},
		"this moment, unfit":     {all: []bosman.CopyInfo{golden(3, 0, 0)}, opt: CopyOptions{Exact: true, Accept: upTo(3)}, kind: bosman.KindConflict},
		"a new one does not fit": {all: []bosman.CopyInfo{golden(3, time.Hour, 0)}, opt: CopyOptions{MaxAge: time.Minute, Accept: upTo(3)}, stale: true, want: 3},
	} {
		got, err := Generations[bosman.CopyInfo]{
			All:     func() ([]bosman.CopyInfo, error) { return tt.all, nil },
			Copy:    func(c bosman.CopyInfo) bosman.CopyInfo { return c },
			Stale:   func() (bool, error) { return tt.stale, nil },
			Refresh: func(bool) (bosman.CopyInfo, error) { return golden(9, 0, 0), tt.failing },
			Quick:   3 * time.Second,
			Now:     now,
		}.Choose(bosman.Database{Name: "rms__staging"}, tt.opt)
		if bosman.KindOf(err) != tt.kind || err == nil && got.Release != tt.want {
			t.Errorf("%s: release %d, %v", what, got.Release, err)
		}
	}
}
