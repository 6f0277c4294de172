//go:build pictures

package browser

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// scripts/screenshots.sh says of which Bosman the pictures are taken.
var (
	into     = flag.String("into", "", "the folder for the pictures")
	binary   = flag.String("bosman", "", "the program")
	data     = flag.String("data", "", "the data folder of the running Bosman")
	address  = flag.String("address", "", "its pages")
	password = flag.String("password", "", "anna's, to log in")
)

// biggest is how many bytes a picture may have.
const biggest = 200_000

// picture is a page to show.
type picture struct {
	name, url string
	height    int64 // on a desk; 0 fits the page
	dark      bool  // also dark on a phone; on a desk all are
}

// TestPictures takes the pictures of docs/screenshots.
func TestPictures(t *testing.T) {
	pages := gather(t)
	for _, s := range screens {
		t.Run(s.name, func(t *testing.T) {
			p := open(t, s)
			p.visit(*address + "/login")
			p.theme("light")
			p.shoot(s, picture{name: "login", height: 620}, "light")
			p.theme("dark")
			if !s.touch {
				p.shoot(s, picture{name: "login", height: 620}, "dark")
			}
			p.write("Name", "anna")
			p.write("Password", *password)
			p.follow("Log in")
			for _, one := range pages {
				for _, theme := range []string{"light", "dark"} {
					if theme == "dark" && (s.touch && !one.dark || one.name == "rms") {
						continue
					}
					p.theme(theme)
					p.size(s, s.height)
					p.visit(one.url)
					p.shoot(s, one, theme)
				}
			}
		})
	}
}

// gather finds the pages that show most.
func gather(t *testing.T) []picture {
	t.Helper()
	ask := func(out any, args ...string) {
		t.Helper()
		cmd := exec.Command(*binary, append([]string{"--json"}, args...)...)
		cmd.Env = append(os.Environ(), "BOSMAN_DATA="+*data, "BOSMAN_APP=rms", "BOSMAN_AS=", "BOSMAN_URL=")
		text, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(text, out)
		}
		if err != nil {
			t.Fatalf("bosman %v: %v", args, err)
		}
	}
	var changes []wire.ChangeView
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Second) { // what the story pushed last may still be built
		ask(&changes, "changes", "--all")
		if !slices.ContainsFunc(changes, func(c wire.ChangeView) bool { return c.Build != nil && !c.Build.State.Final() }) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("builds do not end")
		}
	}
	var ops []bosman.Operation
	ask(&ops, "deployments")
	var problems []bosman.Problem
	ask(&problems, "problems")
	var staging string
	var instances []bosman.Instance
	ask(&instances, "instances", "list")
	for _, i := range instances {
		if i.Kind == bosman.KindStaging {
			staging = i.URL
		}
	}
	app := *address + "/rms"
	out := []picture{
		{name: "overview", url: *address + "/", dark: true},
		{name: "board", url: app + "/changes?show=all"},
	}
	for branch, name := range map[string]string{"feature": "change", "failing": "change-failing", "migration-b": "change-migration"} {
		for _, c := range changes {
			if c.Branch != branch {
				continue
			}
			out = append(out, picture{name: name, url: fmt.Sprintf("%s/changes/%d", app, c.Number), dark: name == "change"})
			if branch == "feature" && c.Build != nil {
				out = append(out, picture{name: "build", url: fmt.Sprintf("%s/builds/%d", app, c.Build.Number)})
			}
		}
	}
	good, taken := 0, 0
	for _, o := range ops { // the newest come first
		switch {
		case o.Plan != bosman.PlanDeploy || o.Instance != "live":
		case o.State == bosman.OpDone && good == 0:
			good = o.Number
		case o.State == bosman.OpReverted && taken == 0:
			taken = o.Number
		}
	}
	for _, d := range []struct {
		name   string
		number int
	}{{"deployment", good}, {"deployment-reverted", taken}} {
		if d.number == 0 {
			t.Errorf("there is no deployment for the picture %s", d.name)
		}
		out = append(out, picture{name: d.name, url: fmt.Sprintf("%s/deployments/%d", app, d.number)})
	}
	out = append(
		out,
		picture{name: "live", url: app + "/instances/live"},
		picture{name: "deploy", url: app + "/instances/live/deploy"},
		picture{name: "revert", url: app + "/instances/live/revert"},
		picture{name: "data", url: app + "/data"},
		picture{name: "backup", url: app + "/backups/1"},
		picture{name: "testing", url: app + "/instances/testing-anna"},
		picture{name: "people", url: *address + "/people"},
		picture{name: "problems", url: app + "/problems"},
	)
	if len(problems) > 0 {
		out = append(out, picture{name: "problem", url: fmt.Sprintf("%s/problems/%d", app, problems[0].Number)})
	}
	return append(out, picture{name: "rms", url: strings.TrimSuffix(staging, "/") + "/candidates/", height: 800})
}

func (p *tab) size(s screen, height int64) {
	p.t.Helper()
	sized := []chromedp.EmulateViewportOption{chromedp.EmulateScale(s.scale)}
	if s.touch {
		sized = append(sized, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	p.do(chromedp.EmulateViewport(s.width, height, sized...))
}

// shoot takes a picture of what is shown: on a desk of the whole page unless
// that is very long, on a phone of one screen.
func (p *tab) shoot(s screen, one picture, theme string) {
	p.t.Helper()
	if !s.touch {
		height := one.height
		if height == 0 {
			var page float64
			p.ask(`document.querySelector("main").getBoundingClientRect().bottom + scrollY`, &page)
			height = min(max(int64(math.Ceil(page)), 480), 1400)
		}
		p.size(s, height)
	}
	var ready bool
	p.until("the page is drawn", func() bool { return p.ask(`document.fonts.status === "loaded"`, &ready) && ready })
	text, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	small, err := squeeze(text)
	if err != nil {
		p.t.Fatal(err)
	}
	if len(small) > biggest {
		p.t.Errorf("the picture %s has %d bytes, more than %d", one.name, len(small), biggest)
	}
	name := one.name + "-" + s.name
	if theme == "dark" {
		name += "-dark"
	}
	for _, name := range names(name) {
		if err := os.WriteFile(filepath.Join(*into, name+".png"), small, 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
}

// names are those of the files of a picture: the README shows overview.png.
func names(name string) []string {
	if name == "overview-desktop" {
		return []string{name, "overview"}
	}
	return []string{name}
}

// squeeze writes a picture with 256 of its colours: pages have few, so nobody
// sees the difference.
func squeeze(text []byte) ([]byte, error) {
	drawn, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	area := drawn.Bounds()
	count := map[color.RGBA]int{}
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			count[color.RGBAModel.Convert(drawn.At(x, y)).(color.RGBA)]++
		}
	}
	most := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	// Of colours that are nearly the same the most frequent stands for all, so
	// that rare ones, such as those of marks, find a place.
	var colours color.Palette
	near := map[color.RGBA]bool{}
	for _, c := range most {
		alike := color.RGBA{R: c.R >> 4, G: c.G >> 4, B: c.B >> 4}
		if !near[alike] && len(colours) < 256 {
			near[alike] = true
			colours = append(colours, c)
		}
	}
	for _, c := range most {
		if len(colours) < 256 && !slices.Contains(colours, color.Color(c)) {
			colours = append(colours, c)
		}
	}
	index := map[color.RGBA]uint8{}
	for c := range count {
		index[c] = uint8(colours.Index(c)) //nolint:gosec // a palette has no more than 256
	}
	small := image.NewPaletted(area, colours)
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			small.SetColorIndex(x, y, index[color.RGBAModel.Convert(drawn.At(x, y)).(color.RGBA)])
		}
	}
	var out bytes.Buffer
	e := png.Encoder{CompressionLevel: png.BestCompression}
	err = e.Encode(&out, small)
	return out.Bytes(), err
}

// theme asks for the light or the dark pages.
func (p *tab) theme(name string) {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
		return err
	}))
}
