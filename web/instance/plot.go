package instance

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/texts"
	"github.com/bosman-cd/bosman/web/ui"
)

// plotted is the traffic as paths of an SVG 900 wide, the axis at 80.
type plotted struct {
	requests, errors string
	switches         []mark
	sum, bad         int64
	span             time.Duration
}

// mark is a switch: where on the plot, and to what.
type mark struct{ x, percent, label string }

func newPlot(v View) plotted {
	p := plotted{span: v.Step * time.Duration(len(v.Traffic))}
	var most int64 = 1
	for _, t := range v.Traffic {
		most = max(most, t.Requests)
		p.sum += t.Requests
		p.bad += t.Errors
	}
	const width, height = 900.0, 70.0
	step := width / float64(len(v.Traffic))
	var all, bad strings.Builder
	all.WriteString("M0 80")
	last := 0
	for n, t := range v.Traffic {
		x := float64(n) * step
		y := 80 - height*float64(t.Requests)/float64(most)
		fmt.Fprintf(&all, "L%.1f %.1fL%.1f %.1f", x, y, x+step, y)
		if t.Errors > 0 {
			h := max(3, height*float64(t.Errors)/float64(most))
			fmt.Fprintf(&bad, "M%.1f 80v-%.1fh%.1fv%.1fz", x, h, max(step, 2), h)
		}
		if t.Release != 0 {
			if last != 0 && t.Release != last {
				p.switches = append(p.switches, mark{strconv.FormatFloat(x, 'f', 1, 64), strconv.FormatFloat(100*x/width, 'f', 2, 64) + "%", ui.Release(t.Release)})
			}
			last = t.Release
		}
	}
	all.WriteString("L900 80z")
	p.requests, p.errors = all.String(), bad.String()
	return p
}

func (p plotted) label(ctx context.Context) string {
	if p.sum == 1 && p.bad == 0 {
		return texts.T(ctx, "one request in %s, and it was answered well", ui.Dur(p.span))
	}
	if p.bad == 0 {
		return texts.T(ctx, "%s requests in %s, none failed", ui.Count(p.sum), ui.Dur(p.span))
	}
	return texts.T(ctx, "%s requests in %s, %s of them failed", ui.Count(p.sum), ui.Dur(p.span), ui.Count(p.bad))
}

func subject(ctx context.Context, m bosman.Mail) string {
	if m.Subject == "" {
		return texts.T(ctx, "(no subject)")
	}
	return m.Subject
}
