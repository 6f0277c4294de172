package logfile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bosman-cd/bosman/internal/logfile"
	"github.com/bosman-cd/bosman/internal/need"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLinesAndOffsetsAcrossRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	w := logfile.New(path, logfile.Options{MaxSize: 1000})
	for i := range 200 {
		if err := w.Line("web.1", fmt.Sprintf("line %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(path + ".0*")
	if err != nil || len(files) < 3 {
		t.Fatalf("rotated into %v (%v)", files, err)
	}
	lines, next, err := logfile.Read(path, 0, 1000)
	if err != nil || len(lines) != 200 {
		t.Fatalf("read %d lines, %v", len(lines), err)
	}
	for i, l := range lines {
		if l.Text != fmt.Sprintf("line %d", i) || l.Source != "web.1" || time.Since(l.At) > time.Minute {
			t.Fatalf("line %d is %+v", i, l)
		}
		again, _, err := logfile.Read(path, l.Offset, 1)
		if err != nil || len(again) != 1 || again[0] != l {
			t.Fatalf("offset %d gives %+v, %v", l.Offset, again, err)
		}
		inside, _, err := logfile.Read(path, l.Offset+1, 1)
		if err != nil || (i < 199 && inside[0] != lines[i+1]) {
			t.Fatalf("an offset inside line %d gives %+v, %v", i, inside, err)
		}
	}
	if end, err := logfile.End(path); err != nil || end != next {
		t.Errorf("End %d (%v), read up to %d", end, err, next)
	}
	tail, err := logfile.Tail(path, 30)
	if err != nil || len(tail) != 30 || tail[29].Text != "line 199" || tail[0].Text != "line 170" {
		t.Errorf("Tail: %d lines, %v", len(tail), err)
	}
}

func TestKeepPrunesAndReaderJumps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	w := logfile.New(path, logfile.Options{MaxSize: 500, Keep: 2})
	for i := range 300 {
		if err := w.Line("x", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	lines, _, err := logfile.Read(path, 0, 1000)
	if err != nil || len(lines) == 0 || lines[0].Offset == 0 || lines[len(lines)-1].Text != "299" {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first segment should be gone: %v", err)
	}
}

func TestStreamCutsLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	w := logfile.New(path, logfile.Options{})
	s := w.Stream("web one")
	for _, part := range []string{"hel", "lo\r\nsecond\n", strings.Repeat("x", logfile.MaxLine+10), "\nlast"} {
		if n, err := s.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lines, _, err := logfile.Read(path, 0, 10)
	if err != nil || len(lines) != 5 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	want := []string{"hello", "second", strings.Repeat("x", logfile.MaxLine), strings.Repeat("x", 10), "last"}
	for i, l := range lines {
		if l.Text != want[i] || l.Source != "web_one" {
			t.Errorf("line %d: source %q, %d bytes", i, l.Source, len(l.Text))
		}
	}
}

// Two writers, as two process sets of one instance have during a switch, and
// a follower: nothing is lost, doubled or torn.
func TestTwoWritersAndAFollower(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	const each = 500
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	seen := map[string]int{}
	var end int64
	done := make(chan error, 1)
	enough := errors.New("enough")
	go func() {
		done <- logfile.Follow(ctx, path, 0, func(l logfile.Line) error {
			if l.Offset != end {
				return fmt.Errorf("line at %d, expected %d", l.Offset, end)
			}
			end = l.Next
			if seen[l.Source+l.Text]++; len(seen) == 2*each {
				return enough
			}
			return nil
		})
	}()
	var wg sync.WaitGroup
	for _, source := range []string{"a", "b"} {
		wg.Go(func() {
			w := logfile.New(path, logfile.Options{MaxSize: 2000})
			for i := range each {
				if err := w.Line(source, fmt.Sprintf("%04d", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := <-done; !errors.Is(err, enough) {
		t.Fatalf("followed %d of %d lines: %v", len(seen), 2*each, err)
	}
}

func TestFullDiskDropsAndSaysSo(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, bytes.Repeat([]byte("b"), 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "app.log")
	w := logfile.New(path, logfile.Options{})
	s := w.Stream("web.1")
	for range 100 {
		if _, err := s.Write(append(bytes.Repeat([]byte("y"), 1000), '\n')); err != nil {
			t.Fatal(err)
		}
	}
	if w.Dropped() == 0 {
		t.Fatal("100 KB fitted into 24 KB")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := w.Line("web.1", "room again"); err != nil {
		t.Fatal(err)
	}
	lines, _, err := logfile.Read(path, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if l.Source == "" {
			t.Fatalf("torn line %q", l.Text)
		}
	}
	if note := lines[len(lines)-2]; !strings.Contains(note.Text, fmt.Sprintf("%d lines were dropped", w.Dropped())) {
		t.Errorf("no note of the loss: %q", note.Text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
