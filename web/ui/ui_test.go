package ui

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/bosman-cd/bosman"
)

func TestANSI(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                           "plain",
		"\x1b[31mred\x1b[0m":              `<span class="a1">red</span>`,
		"\x1b[1;32mok\x1b[22m g":          `<span class="a2 ab">ok</span><span class="a2"> g</span>`,
		"<b>\x1b[33m&\x1b[39m":            `&lt;b&gt;<span class="a3">&amp;</span>`,
		"\x1b[38;5;31mnone\x1b[m":         "none",
		"\x1b]8;;http://x\x07link\x1b\\.": "link.",
		"a\x1b[2Kb\rc":                    "abc",
		"\x1b[":                           "",
		"\x1b":                            "",
		"a\tb":                            "a    b",
		"Gdańsk":                          "Gdańsk",
	} {
		if got := ANSI(in); got != want {
			t.Errorf("%q is %q, not %q", in, got, want)
		}
	}
}

// TestLinesAreSafe: whatever an application prints becomes the same few
// elements.
func TestLinesAreSafe(t *testing.T) {
	pieces := []string{"<script>", "<img src=x onerror=alert(1)>", "\x1b[31m", "\x1b[0m", "\"", "'", "&", "</span>", "\x1b]", "\x07", "x", "\x1b[1;4m", "\n"}
	rapid.Check(t, func(t *rapid.T) {
		l := Line{Source: rapid.String().Draw(t, "source"), Text: strings.Join(rapid.SliceOf(rapid.SampledFrom(pieces)).Draw(t, "text"), "")}
		out := l.HTML()
		if strings.ContainsAny(out, "\n\r\x1b") {
			t.Fatalf("a line holds control characters: %q", out)
		}
		n, err := html.Parse(strings.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		for c := range n.Descendants() {
			if c.Type != html.ElementNode {
				continue
			}
			if !slices.Contains([]string{"html", "head", "body", "div", "time", "b", "span"}, c.Data) {
				t.Fatalf("<%s> in %q", c.Data, out)
			}
			for _, a := range c.Attr {
				if a.Key != "class" {
					t.Fatalf("%s=%q in %q", a.Key, a.Val, out)
				}
			}
		}
	})
}

func TestWeatherGoesFromStormToSun(t *testing.T) {
	seen := map[string]bool{}
	for good := range 6 {
		var b strings.Builder
		if err := Weather(bosman.Weather{Good: good, Of: 5}).Render(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		seen[strings.Split(b.String(), "<span class=\"sr\">")[0]] = true
	}
	if len(seen) < 5 {
		t.Errorf("%d pictures", len(seen))
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "–", 400 * time.Microsecond: "under 1 ms", 400 * time.Millisecond: "400 ms", 4100 * time.Millisecond: "4.1 s", 42 * time.Second: "42 s", 10 * time.Minute: "10 min", 192 * time.Second: "3 min 12 s", 125 * time.Minute: "2 h 5 min"} {
		if got := Dur(d); got != want {
			t.Errorf("%v is %q, not %q", d, got, want)
		}
	}
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	ctx := WithNow(t.Context(), now)
	for d, want := range map[time.Duration]string{time.Second: "just now", 42 * time.Second: "42 s ago", 3 * time.Minute: "3 min ago", 26 * time.Hour: "26 h ago", 72 * time.Hour: "3 days ago", 90 * 24 * time.Hour: "25 Aug 2026", -time.Hour: "in 1 h"} {
		if got := AgoText(ctx, now.Add(-d)); got != want {
			t.Errorf("%v is %q, not %q", d, got, want)
		}
	}
	if got := Path("rms", "a/b", "<"); got != "/rms/a%2Fb/%3C" {
		t.Errorf("path %q", got)
	}
	for ref, want := range map[string]string{"b412": "/rms/builds/412", "d37": "/rms/deployments/37", "c12": "/rms/changes/12", "r136": "/rms/releases#r136", "p7": "/rms/problems/7", "k3": "", "b": "", "b0": "", "b-1": "", "bx": ""} {
		if got := RefPath("rms", ref); got != want {
			t.Errorf("%s leads to %q, not %q", ref, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 507: "507", 12480: "12,480", 1234567: "1,234,567"} {
		if got := Count(n); got != want {
			t.Errorf("%d is %q", n, got)
		}
	}
}
