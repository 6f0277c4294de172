package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// result is a line of the table at the end.
type result struct {
	chapter, name, note string
	took                time.Duration
	ok                  bool
}

// show prints how the story goes: a line for each step, redrawn while it
// runs if that is a terminal.
type show struct {
	w    io.Writer
	live bool

	mu      sync.Mutex
	chapter string
	name    string
	detail  string
	since   time.Time
	stop    chan struct{}
	stopped chan struct{}
	results []result
}

func newShow(w io.Writer) *show {
	f, isFile := w.(*os.File)
	return &show{w: w, live: isFile && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"}
}

// part begins a part of the story.
func (s *show) part(title string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chapter = title
	s.print("\n%s\n", title)
}

func (s *show) print(format string, args ...any) {
	_, _ = fmt.Fprintf(s.w, format, args...) // a story goes on without its listeners
}

// step does something and says how it went. do gives a note for people.
func (s *show) step(name string, do func() (string, error)) error {
	s.begin(name)
	note, err := do()
	s.end(note, err)
	return err
}

func (s *show) begin(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.detail, s.since = name, "", time.Now()
	if !s.live {
		return
	}
	s.stop, s.stopped = make(chan struct{}), make(chan struct{})
	go func(stop, stopped chan struct{}) {
		defer close(stopped)
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		for {
			s.mu.Lock()
			s.draw()
			s.mu.Unlock()
			select {
			case <-stop:
				return
			case <-t.C:
			}
		}
	}(s.stop, s.stopped)
}

// draw shows the running step on its line.
func (s *show) draw() {
	text := fmt.Sprintf("  ◐ %s  %.0f s", s.name, time.Since(s.since).Seconds())
	if s.detail != "" {
		text += "  " + s.detail
	}
	if f, ok := s.w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 1 {
			if r := []rune(text); len(r) >= width {
				text = string(r[:width-1])
			}
		}
	}
	s.print("\r\x1b[K%s", text)
}

// tell says what the running step does now.
func (s *show) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detail = strings.TrimSpace(fmt.Sprintf(format, args...))
}

func (s *show) end(note string, err error) {
	if s.live {
		close(s.stop)
		<-s.stopped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	took := time.Since(s.since)
	mark := "✓"
	if err != nil {
		mark, note = "✕", firstLine(err.Error())
	}
	s.results = append(s.results, result{chapter: s.chapter, name: s.name, note: note, took: took, ok: err == nil})
	if s.live {
		s.print("\r\x1b[K")
	}
	s.print("  %s %s  %s", mark, s.name, seconds(took))
	if note != "" {
		s.print("\n      %s", strings.ReplaceAll(note, "\n", "\n      "))
	}
	s.print("\n")
}

// table prints what was checked.
func (s *show) table(total time.Duration, ok bool) error {
	width, bad := 0, 0
	for _, r := range s.results {
		width = max(width, len([]rune(r.name)))
	}
	var b strings.Builder
	b.WriteString("\nWhat was checked\n")
	chapter := ""
	for _, r := range s.results {
		if r.chapter != chapter {
			chapter = r.chapter
			b.WriteString("  " + chapter + "\n")
		}
		mark := "✓"
		if !r.ok {
			mark = "✕"
			bad++
		}
		fmt.Fprintf(&b, "    %s %s%s %8s\n", mark, r.name, strings.Repeat(" ", width-len([]rune(r.name))), seconds(r.took))
	}
	if ok {
		fmt.Fprintf(&b, "\n%d steps, all as they should be, in %s\n", len(s.results), seconds(total))
	} else {
		fmt.Fprintf(&b, "\n%d of %d steps not as they should be, after %s; the story ended there\n", bad, len(s.results), seconds(total))
	}
	_, err := io.WriteString(s.w, b.String())
	return err
}

func seconds(d time.Duration) string {
	if d >= time.Minute {
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}
