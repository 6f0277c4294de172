package instance_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance"
	"github.com/bosman-cd/bosman/internal/need"
)

// TestDataFoldersFollowNoLinks: release 1 has the folder media/ and makes a
// link in it; release 2 says that a folder behind the link is its data. It
// must not be made, given to the instance or shown to it.
func TestDataFoldersFollowNoLinks(t *testing.T) {
	need.Root(t)
	dir := data(t)
	sv, d := supervisor(t, dir)
	o := order(t, dir)
	outside := filepath.Join(dir, "outside")
	media := instance.DataDir(o.Dir, "media")
	if err := errors.Join(os.MkdirAll(outside+"/cron.d", 0o755), os.WriteFile(outside+"/secret", []byte("x"), 0o600),
		os.MkdirAll(media, 0o750), os.Symlink(outside, media+"/link"), os.Symlink(".", media+"/self")); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{"media/link", "media/link/cron.d", "media/link/new", "media/self/x"} {
		o.Manifest.Data = []string{"media/", place}
		_, err := instance.Assemble(o)
		if bosman.KindOf(err) != bosman.KindConflict || !strings.Contains(err.Error(), place) {
			t.Errorf("%s: %v", place, err)
		}
	}
	for _, path := range []string{outside, outside + "/cron.d"} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 {
			t.Errorf("%s was given to %d", path, st.Uid)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 2 {
		t.Errorf("outside there is %v, %v", left, err)
	}

	// What was a folder when the release was looked at is a link when it starts:
	// the processes of the release before still run and can do that.
	o.Manifest.Data = []string{"media/", "media/sub"}
	if err := os.MkdirAll(filepath.Join(o.Tree, "media/sub"), 0o755); err != nil { // its mount points are sealed with a release
		t.Fatal(err)
	}
	s := assemble(t, o)
	if err := errors.Join(os.Remove(media+"/sub"), os.Symlink(outside, media+"/sub")); err != nil {
		t.Fatal(err)
	}
	defer stop(t, d, s)
	_, err := sv.Start(t.Context(), s)
	if err == nil {
		_, err = sv.AwaitWell(t.Context(), s, instance.Judgement{Timeout: 3e9})
	}
	if err == nil {
		t.Error("it runs, and sees what the link leads to")
	}
}
