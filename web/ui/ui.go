// Package ui holds the small parts that pages are made of: times, marks,
// weather, sizes, logs, plots, buttons. It must not know any page, HTTP
// request or stage.
package ui

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/texts"
)

// Tone is how a state looks: each has its own shape, colour and word.
type Tone string

// The tones.
const (
	Good     Tone = "good"
	Failed   Tone = "failed"
	Running  Tone = "running"
	Waiting  Tone = "waiting"
	Reverted Tone = "reverted"
	Skipped  Tone = "skipped"
	Warning  Tone = "warning"
)

// OfStation is the tone of a station.
func OfStation(s bosman.StationState) Tone { return Tone(s) }

// OfBuild is the tone of a build.
func OfBuild(s bosman.BuildState) Tone {
	switch s {
	case bosman.BuildRunning:
		return Running
	case bosman.BuildGreen:
		return Good
	case bosman.BuildRed, bosman.BuildError:
		return Failed
	case bosman.BuildCancelled:
		return Skipped
	case bosman.BuildQueued:
	}
	return Waiting
}

// OfOperation is the tone of an operation.
func OfOperation(s bosman.OperationState) Tone {
	switch s {
	case bosman.OpRunning, bosman.OpWatching:
		return Running
	case bosman.OpDone:
		return Good
	case bosman.OpFailed:
		return Failed
	case bosman.OpReverted:
		return Reverted
	case bosman.OpSuperseded, bosman.OpCancelled:
		return Skipped
	case bosman.OpQueued:
	}
	return Waiting
}

// OfInstance is the tone of an instance.
func OfInstance(s bosman.InstanceState) Tone {
	switch s {
	case bosman.InstanceRunning:
		return Good
	case bosman.InstanceStarting:
		return Running
	case bosman.InstanceUnwell:
		return Warning
	case bosman.InstanceFailed:
		return Failed
	case bosman.InstanceStopped:
		return Skipped
	case bosman.InstanceEmpty, bosman.InstanceUnknown:
	}
	return Waiting
}

// OfStep is the tone of a step.
func OfStep(s bosman.StepState) Tone {
	switch s {
	case bosman.StepRunning:
		return Running
	case bosman.StepDone:
		return Good
	case bosman.StepFailed:
		return Failed
	case bosman.StepAllowed:
		return Warning
	case bosman.StepSkipped:
		return Skipped
	case bosman.StepUndone:
		return Reverted
	case bosman.StepWaiting:
	}
	return Waiting
}

type nowKey struct{}

// WithNow fixes what "now" is for the times on a page, and its zone.
func WithNow(ctx context.Context, now time.Time) context.Context {
	return context.WithValue(ctx, nowKey{}, now)
}

// Now is the moment a page is made at, in the zone its times are shown in.
func Now(ctx context.Context) time.Time {
	if t, ok := ctx.Value(nowKey{}).(time.Time); ok {
		return t
	}
	return time.Now().UTC()
}

// AgoText says how long before now a moment was: "3 min ago".
func AgoText(ctx context.Context, t time.Time) string {
	d := Now(ctx).Sub(t)
	future := d < 0
	if future {
		d = -d
	}
	var s string
	switch {
	case d < 10*time.Second:
		return texts.T(ctx, "just now")
	case d < time.Minute:
		s = texts.T(ctx, "%d s", int(d.Seconds()))
	case d < time.Hour:
		s = texts.T(ctx, "%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		s = texts.T(ctx, "%d h", int(d.Hours()))
	case d < 60*24*time.Hour:
		s = texts.N(ctx, int(d.Hours()/24), "%d day", "%d days")
	default:
		return t.In(Now(ctx).Location()).Format("2 Jan 2006")
	}
	if future {
		return texts.T(ctx, "in %s", s)
	}
	return texts.T(ctx, "%s ago", s)
}

// ExactText is a moment in full, with its zone.
func ExactText(ctx context.Context, t time.Time) string {
	return t.In(Now(ctx).Location()).Format("Mon 2 Jan 2006, 15:04:05 MST")
}

// ClockText is a moment of today as 15:04, of another day with its date.
func ClockText(ctx context.Context, t time.Time) string {
	now := Now(ctx)
	t = t.In(now.Location())
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04 MST")
	}
	return t.Format("Mon 2 Jan, 15:04 MST")
}

// Dur is a duration for people: "0.4 s", "42 s", "3 min 12 s", "2 h 5 min".
func Dur(d time.Duration) string {
	switch {
	case d <= 0:
		return "–"
	case d < time.Millisecond:
		return "under 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour && d%time.Minute < time.Second:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// Took is the duration between two moments, up to now while end is zero.
func Took(ctx context.Context, start, end time.Time) string {
	if start.IsZero() {
		return ""
	}
	if end.IsZero() {
		end = Now(ctx)
	}
	return Dur(max(end.Sub(start), time.Millisecond))
}

// Bytes is a size for people: "14 MB".
func Bytes(n int64) string {
	const k = 1024
	switch {
	case n < k:
		return fmt.Sprintf("%d B", n)
	case n < k*k:
		return fmt.Sprintf("%d kB", n/k)
	case n < 10*k*k:
		return fmt.Sprintf("%.1f MB", float64(n)/k/k)
	case n < k*k*k:
		return fmt.Sprintf("%d MB", n/k/k)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/k/k/k)
}

// Count writes a number with thin groups: 12,480.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Refs of numbers with their letters.

// Release is "r136".
func Release(n int) string { return bosman.Ref(bosman.LetterRelease, n) }

// Build is "b412".
func Build(n int) string { return bosman.Ref(bosman.LetterBuild, n) }

// Op is "d37".
func Op(n int) string { return bosman.Ref(bosman.LetterOperation, n) }

// Change is "c12".
func Change(n int) string { return bosman.Ref(bosman.LetterChange, n) }

// Backup is "k12".
func Backup(n int) string { return bosman.Ref(bosman.LetterBackup, n) }

// Problem is "p7".
func Problem(n int) string { return bosman.Ref(bosman.LetterProblem, n) }

// Path joins parts of a page's address: Path("rms", "builds", 412) is
// "/rms/builds/412".
func Path(parts ...any) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(escape(fmt.Sprint(p)))
	}
	return b.String()
}

func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// RefPath is the page of a ref such as b412 or d37; "" for what has none.
func RefPath(app, ref string) string {
	if len(ref) < 2 || app == "" {
		return ""
	}
	n, err := strconv.Atoi(ref[1:])
	if err != nil || n <= 0 {
		return ""
	}
	folder := map[byte]string{'b': "builds", 'd': "deployments", 'c': "changes", 'p': "problems"}[ref[0]]
	switch {
	case folder != "":
		return Path(app, folder, n)
	case ref[0] == 'r':
		return Path(app, "releases") + "#" + ref
	}
	return ""
}

// Host is what people read of an address: without http:// and a last slash.
func Host(url string) string {
	url = strings.TrimPrefix(strings.TrimPrefix(url, "http://"), "https://")
	return strings.TrimSuffix(url, "/")
}

// WebURL says whether an address may be linked to from a page.
func WebURL(url string) bool {
	return strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://")
}

// Sentence makes a sentence of a clause: it begins with a capital letter,
// unless it begins with a ref such as c12, and ends with a stop.
func Sentence(s string) string {
	if s == "" {
		return ""
	}
	if word, _, _ := strings.Cut(s, " "); !strings.ContainsAny(word, "0123456789") {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	return strings.TrimSuffix(s, ".") + "."
}
