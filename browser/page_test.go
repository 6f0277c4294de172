package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/bosman-cd/bosman/internal/need"
)

// screen is a size to look at pages with.
type screen struct {
	name          string
	width, height int64
	touch         bool
	scale         float64
}

var screens = []screen{
	{name: "desktop", width: 1280, height: 900, scale: 1},
	{name: "phone", width: 390, height: 844, touch: true, scale: 2},
}

// tab is a tab of Chromium, looked at and touched as a person would.
type tab struct {
	t     *testing.T
	ctx   context.Context //nolint:containedctx // chromedp keeps the tab in it
	touch bool
	width int64
	limit time.Duration // for what a page should show

	mu    sync.Mutex
	wrong []string // what the console complained of
}

// open starts a Chromium of its own. What its console complains of fails the
// test at the end.
func open(t *testing.T, s screen) *tab {
	t.Helper()
	need.Program(t, "chromium", "chromium")
	profile, err := os.MkdirTemp("", "bosman-chromium")
	if err != nil {
		t.Fatal(err)
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.WindowSize(int(s.width), int(s.height)),
	)
	allocator, shut := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, end := chromedp.NewContext(allocator)
	p := &tab{t: t, ctx: ctx, touch: s.touch, width: s.width, limit: time.Minute}
	t.Cleanup(func() {
		end()
		shut()
		for _, complaint := range p.wrong {
			t.Error("the browser's console:", complaint)
		}
		if err := os.RemoveAll(profile); err != nil {
			t.Error(err)
		}
	})
	sized := []chromedp.EmulateViewportOption{chromedp.EmulateScale(s.scale)}
	if s.touch {
		sized = append(sized, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	p.do(chromedp.EmulateViewport(s.width, s.height, sized...))
	p.do(chromedp.Func(p.listen))
	return p
}

// listen collects errors of scripts and of the console.
func (p *tab) listen(ctx context.Context, target *chromedp.Target) error {
	thrown, said := cdp.Events(p.ctx, target, runtime.ExceptionThrown), cdp.Events(p.ctx, target, log.EntryAdded)
	go func() {
		for e, err := range thrown {
			if err != nil {
				return
			}
			p.complain(e.ExceptionDetails.Text)
		}
	}()
	go func() {
		for e, err := range said {
			if err != nil {
				return
			}
			if e.Entry.Level == log.EntryLevelError {
				p.complain(e.Entry.Text + " " + e.Entry.URL)
			}
		}
	}()
	_, err := cdp.Call(ctx, target, log.Enable, cdp.Empty{})
	return err
}

func (p *tab) complain(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = append(p.wrong, text)
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// ask evaluates a script into out; a page that is just going away is no answer.
func (p *tab) ask(script string, out any) bool {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("JSON.stringify("+script+")"))
	if err != nil {
		if p.ctx.Err() != nil {
			p.t.Fatal(err)
		}
		return false
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		p.t.Fatalf("%s: %v", script, err)
	}
	return true
}

// until looks again and again until the page is as wanted.
func (p *tab) until(what string, ok func() bool) {
	p.t.Helper()
	end := time.Now().Add(p.limit)
	for !ok() {
		if time.Now().After(end) {
			p.t.Fatalf("not within %s: %s\n%s", p.limit, what, p.keep())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// keep describes the page when a test fails, and keeps a picture of it in
// the folder BOSMAN_TEST_PICTURES, if that is set.
func (p *tab) keep() string {
	var seen struct{ URL, Text string }
	p.ask(`({URL: location.href, Text: document.body.innerText})`, &seen)
	if dir := os.Getenv("BOSMAN_TEST_PICTURES"); dir != "" {
		file := filepath.Join(dir, strings.ReplaceAll(p.t.Name(), "/", "-")+".png")
		if picture, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot()); err == nil {
			if err := os.WriteFile(file, picture, 0o600); err != nil {
				p.t.Log(err)
			}
		}
	}
	return seen.URL + "\n" + seen.Text
}

// visit opens an address by typing it.
func (p *tab) visit(url string) {
	p.t.Helper()
	p.leave(func() {
		p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, page.Navigate, page.NavigateParams{URL: url})
			return err
		}))
	})
}

// tooWide names what reaches furthest beyond the screen, if the page does.
const tooWide = `((screen) => document.documentElement.scrollWidth <= screen ? [] :
	[...document.querySelectorAll("body *")].filter((e) => !e.closest(".thumb")).map((e) => ({e, right: e.getBoundingClientRect().right}))
	.filter((f) => f.right > screen).sort((a, b) => b.right - a.right).slice(0, 6).map((f) => f.right + ": " + f.e.outerHTML.slice(0, 120)))(%d)`

// leave does what leads to another page and waits for that to be there.
func (p *tab) leave(do func()) {
	p.t.Helper()
	p.until("the page can be marked", func() bool {
		var marked bool
		return p.ask(`(document.bosmanLeft = false, true)`, &marked)
	})
	do()
	p.until("another page comes", func() bool {
		var there bool
		return p.ask(`document.bosmanLeft === undefined && document.readyState === "complete"`, &there) && there
	})
	var wide []string
	if p.ask(fmt.Sprintf(tooWide, p.width), &wide) && len(wide) > 0 {
		p.t.Errorf("%s is wider than the screen of %d: %s", p.url(), p.width, strings.Join(wide, "\n"))
	}
}

func (p *tab) url() string {
	var url string
	p.ask(`location.href`, &url)
	return url
}

// sees waits until the page shows each text.
func (p *tab) sees(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.until(fmt.Sprintf("the page shows %q", text), func() bool { return p.shows(text) })
	}
}

// shows says whether the page shows a text now.
func (p *tab) shows(text string) bool {
	p.t.Helper()
	var yes bool
	return p.ask(fmt.Sprintf(`document.body.innerText.replace(/\s+/g, " ").includes(%s)`, quote(text)), &yes) && yes
}

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can always be quoted
	}
	return string(text)
}

// found is where something to press is.
type found struct {
	X, Y    float64
	Count   int
	Covered string
	Names   []string
}

// find gives the middle of the one visible link, button or label of a name.
const find = `((want) => {
	const name = (e) => (e.innerText || e.getAttribute("aria-label") || "").replace(/\s+/g, " ").trim();
	const all = [...document.querySelectorAll("a[href],button:not([disabled]),summary,label")].filter((e) => e.checkVisibility());
	const hits = all.filter((e) => name(e) === want);
	const places = new Set(hits.map((e, n) => e.href || n));
	if (!hits.length || places.size > 1) return {Count: places.size, Names: all.map(name)};
	const e = hits[0];
	e.scrollIntoView({block: "center", behavior: "instant"});
	const r = e.getClientRects()[0], x = r.left + r.width / 2, y = r.top + r.height / 2;
	const at = document.elementFromPoint(x, y);
	return {Count: 1, X: x, Y: y, Covered: at && e.contains(at) ? "" : at ? at.outerHTML.slice(0, 200) : "nothing"};
})`

// press presses what has a name, with the mouse or a finger, and stays on
// the page.
func (p *tab) press(name string) {
	p.t.Helper()
	var at found
	p.until(fmt.Sprintf("%q can be pressed", name), func() bool {
		return p.ask(find+"("+quote(name)+")", &at) && at.Count == 1 && at.Covered == ""
	})
	if p.touch {
		p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: input.DispatchTouchEventTypeTouchStart, TouchPoints: []*input.TouchPoint{{X: at.X, Y: at.Y}}})
			if err == nil {
				_, err = cdp.Call(ctx, t, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: input.DispatchTouchEventTypeTouchEnd, TouchPoints: []*input.TouchPoint{}})
			}
			return err
		}))
		return
	}
	p.do(chromedp.MouseClickXY(at.X, at.Y))
}

// follow presses what leads to another page.
func (p *tab) follow(name string) {
	p.t.Helper()
	p.leave(func() { p.press(name) })
}

// write types into the field with a label.
func (p *tab) write(label, text string) {
	p.t.Helper()
	p.press(label)
	p.until(fmt.Sprintf("the field %q takes what is typed", label), func() bool {
		var takes bool
		return p.ask(`[...(document.activeElement.labels || [])].some((l) => l.innerText.trim().startsWith(`+quote(label)+`))`, &takes) && takes
	})
	p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, input.InsertText, input.InsertTextParams{Text: text})
		return err
	}))
}
