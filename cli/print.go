package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/bosman-cd/bosman"
)

// say prints a line for people.
func (e *env) say(format string, args ...any) error {
	_, err := fmt.Fprintf(e.stdout, format+"\n", args...)
	return err
}

// show prints v as JSON if that was asked for, else what text prints.
func (e *env) show(v any, text func() error) error {
	if !e.global.JSON {
		return text()
	}
	out := json.NewEncoder(e.stdout)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(v)
}

// noted shows the answer of a verb.
func (e *env) noted(v any, err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return e.show(v, func() error { return e.say(format, args...) })
}

// table prints rows below a head, aligned; empty says what is printed when
// there are none.
func (e *env) table(head []string, rows [][]string, empty string) error {
	if len(rows) == 0 {
		return e.say("%s", empty)
	}
	width := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for n, cell := range row {
			width[n] = max(width[n], cells(cell))
		}
	}
	var b strings.Builder
	for n, row := range append([][]string{head}, rows...) {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", width[i]-cells(cell)+2))
			}
		}
		text := strings.TrimRight(line.String(), " ")
		if n == 0 && e.colour() {
			text = "\x1b[1m" + text + "\x1b[0m"
		}
		b.WriteString(text + "\n")
	}
	_, err := io.WriteString(e.stdout, b.String())
	return err
}

// cells is how wide a text is on a terminal.
func cells(s string) int {
	n := utf8.RuneCountInString(s)
	for _, r := range s {
		if r >= 0x1F300 && r < 0x1FAFF { // pictures take two
			n++
		}
	}
	return n
}

// terminal says whether w is one, and how wide.
func terminal(w any) (width int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	return width, err == nil
}

func (e *env) colour() bool {
	_, ok := terminal(e.stdout)
	return ok && !e.global.Plain && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb"
}

// ago is a moment as people say it; "-" for never.
func (e *env) ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := e.now().Sub(t)
	switch {
	case d < -time.Minute:
		return "in " + long(-d)
	case d < 45*time.Second:
		return "just now"
	}
	return long(d) + " ago"
}

// long is a stretch of time in one unit.
func long(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%d min", max(1, int(d.Round(time.Minute).Minutes())))
	case d < 36*time.Hour:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Round(24*time.Hour).Hours())/24)
}

// spent is the time between two moments; "-" when either never came.
func spent(from, to time.Time) string {
	if from.IsZero() || to.IsZero() {
		return "-"
	}
	return took(to.Sub(from))
}

// took is how long something ran; "-" when it did not.
func took(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// size is a number of bytes as people say it.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// cut shortens a text to its first line and at most n letters; 0 is no limit.
func cut(s string, n int) string {
	s, _, _ = strings.Cut(s, "\n")
	if n <= 0 || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

func buildRef(n int) string   { return bosman.Ref(bosman.LetterBuild, n) }
func releaseRef(n int) string { return bosman.Ref(bosman.LetterRelease, n) }
func opRef(n int) string      { return bosman.Ref(bosman.LetterOperation, n) }
func changeRef(n int) string  { return bosman.Ref(bosman.LetterChange, n) }
func backupRef(n int) string  { return bosman.Ref(bosman.LetterBackup, n) }

// compact prints v as JSON on one line.
func (e *env) compact(v any) error {
	out := json.NewEncoder(e.stdout)
	out.SetEscapeHTML(false)
	return out.Encode(v)
}
