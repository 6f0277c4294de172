package build

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// gone marks what is being removed: a crash leaves no half of a build.
const gone = ".gone-"

// Kept lists the builds of an app whose files are on this machine, in no
// order. It first finishes removals that were cut short.
func Kept(data, app string) ([]int, error) {
	dir := filepath.Join(data, "builds", app)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, bosman.Unavailable("the logs of %s's builds cannot be listed", app).Because(err)
	}
	var out []int
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), gone) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return nil, bosman.Unavailable("what is left of a removed build of %s cannot be removed", app).Because(err)
			}
			continue
		}
		if n, err := bosman.ParseRef(bosman.LetterBuild, e.Name()); err == nil && e.IsDir() {
			out = append(out, n)
		}
	}
	return out, nil
}

// Remove removes the log and the report files of a build; none is no error.
func Remove(data, app string, n int) error {
	dir := buildDir(data, app, n)
	away := filepath.Join(filepath.Dir(dir), gone+filepath.Base(dir))
	err := os.RemoveAll(away)
	if err == nil {
		err = os.Rename(dir, away)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.RemoveAll(away)
	}
	if err != nil {
		return bosman.Unavailable("the files of %s of %s cannot be removed", bosman.Ref(bosman.LetterBuild, n), app).Because(err)
	}
	return nil
}

// SweepWork removes workspaces that ended builds of any app left behind before
// a moment; running says which builds are not ended. It gives how many.
func SweepWork(data string, before time.Time, running func(app string, n int) bool) (int, error) {
	dirs, err := filepath.Glob(filepath.Join(data, "work", "*", "*"))
	if err != nil {
		return 0, err
	}
	swept := 0
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return swept, err
		}
		n, err := bosman.ParseRef(bosman.LetterBuild, filepath.Base(dir))
		if err != nil || !info.ModTime().Before(before) || running(filepath.Base(filepath.Dir(dir)), n) {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return swept, bosman.Unavailable("an old workspace cannot be removed").Because(err)
		}
		swept++
	}
	return swept, nil
}
