package browser

import (
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// A tester without a shell walks the whole road in a browser; the command
// line only says whether what the pages show is true.
func TestStory(t *testing.T) {
	for _, s := range screens {
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t)
			p := open(t, s)
			tell(w, p)
		})
	}
}

func tell(w *world, p *tab) {
	t := w.t
	t.Log("the login wall: staging asks who looks, then shows itself")
	p.visit(w.host("staging"))
	p.sees("Log in to Bosman")
	p.write("Name", "anna")
	p.write("Password", "anna-password")
	p.follow("Log in")
	p.sees("hello one", "This is staging.")
	p.write("Note", "written on staging")
	p.follow("Keep it")
	p.sees("written on staging")

	t.Log("the change is found from the overview")
	p.visit(w.url)
	p.sees("tiny", "live", "staging")
	p.follow("2 changes on their way")
	p.sees("Say hello twice", "Say hello at length")
	p.follow("Say hello twice")
	change := p.url()
	p.sees("Say hello twice", "louder", "by Piotr")

	t.Log("Try: her own instance with a copy of staging's data")
	p.follow("Try it")
	p.arrives("try c1 on testing-anna")
	p.follow("Open testing-anna")
	p.sees("hello two", "This is testing-anna.", "written on staging")
	p.write("Note", "written by anna")
	p.follow("Keep it")
	p.sees("written by anna")

	t.Log("Fresh copy: what she wrote is gone, what staging has is there")
	p.visit(change)
	p.follow("Fresh copy")
	p.arrives("testing-anna")
	p.follow("Open testing-anna")
	p.sees("hello two", "written on staging")
	if p.shows("written by anna") {
		t.Error("after a fresh copy the note that anna wrote is still there")
	}

	t.Log("Send back, with a reason")
	p.visit(w.url + "/tiny/changes")
	p.follow("Say hello at length")
	p.press("Send back…")
	p.write("What is wrong?", "Nobody reads so much.")
	p.follow("Send it back")
	p.sees("You sent c2 back.", "anna sent it back", "Nobody reads so much.", "It cannot be merged yet")
	c2 := w.view("longer")
	if len(c2.Signoffs) != 1 || c2.Signoffs[0].Person != "anna" || c2.Signoffs[0].Verdict != bosman.SentBack || c2.Signoffs[0].Why != "Nobody reads so much." {
		t.Errorf("c2 was not sent back: %+v", c2.Signoffs)
	}

	t.Log("Accept and merge; staging follows by itself, and the page says so")
	p.visit(change)
	p.follow("Accept")
	p.sees("You accepted c1.", "anna accepted it")
	p.follow("Merge")
	p.sees("Merged by anna")
	p.stays(func() { p.station("staging", "good") })
	w.runs("staging", 2)
	if c1 := w.view("louder"); c1.State != bosman.ChangeMerged || c1.MergedBy != "anna" {
		t.Errorf("c1 is %s, merged by %q", c1.State, c1.MergedBy)
	}
	p.visit(w.host("staging"))
	p.sees("hello two", "This is staging.", "written on staging")

	t.Log("Deploy to live, looking on while it goes")
	p.visit(w.url)
	p.follow("live")
	p.follow("Deploy…")
	p.sees("Deploy to live", "Say hello twice", "green, ran on staging", "What will happen", "The database and files are backed up")
	p.follow("Deploy to live")
	if first := p.arrives("deploy r2 to live"); first == "done" {
		t.Error("the page of the deployment showed only its end")
	}
	if i := w.instance("live"); i.Release != 2 || i.UpdatedBy != "anna" {
		t.Errorf("live runs r%d, deployed by %q", i.Release, i.UpdatedBy)
	}
	p.follow("Open live")
	p.sees("hello two", "This is live.")

	t.Log("Revert")
	p.visit(w.url)
	p.follow("live")
	p.follow("Revert to r1…")
	p.sees("Revert live", "Nothing that people wrote is lost.", "r2 is marked bad")
	p.write("Why", "Once was enough.")
	p.follow("Revert to r1 now")
	p.arrives("back to r1 on live")
	p.sees("Once was enough.")
	p.follow("Open live")
	p.sees("hello one", "This is live.")
	w.runs("live", 1)
	var releases []bosman.Release
	w.bosman(&releases, "releases")
	for _, r := range releases {
		if (r.Bad != "") != (r.Number == 2) {
			t.Errorf("r%d is marked bad: %q", r.Number, r.Bad)
		}
	}
}

// host is the address of an instance.
func (w *world) host(instance string) string {
	return "http://" + instance + ".tiny.localhost:" + w.port + "/"
}

func (w *world) view(branch string) wire.ChangeView {
	w.t.Helper()
	var v wire.ChangeView
	w.bosman(&v, "changes", branch)
	return v
}

// arrives looks at the page of an operation until that is done. The page
// must get there by itself, without being loaded again. What it said first is
// returned.
func (p *tab) arrives(wish string) (first string) {
	p.t.Helper()
	p.until("the page of the operation: "+wish, func() bool {
		var title string
		return p.ask(`document.querySelector("h1").innerText`, &title) && strings.Contains(strings.ToLower(title), wish)
	})
	p.stays(func() {
		p.until("it is done, each station of its road good", func() bool {
			var now struct {
				State string
				Road  []string
			}
			if !p.ask(`({State: document.querySelector("#head .says").innerText.trim(), Road: [...document.querySelectorAll("#head .road > li")].map((s) => s.className)})`, &now) {
				return false
			}
			if first == "" {
				first = now.State
			}
			if now.State == "failed" || now.State == "reverted" || now.State == "cancelled" {
				p.t.Fatalf("it is %s:\n%s", now.State, p.keep())
			}
			return now.State == "done" && len(now.Road) > 2 && strings.Count(strings.Join(now.Road, " "), "good")+strings.Count(strings.Join(now.Road, " "), "skipped") == len(now.Road)
		})
	})
	return first
}

// station waits until a station of the road is in a state.
func (p *tab) station(name, state string) {
	p.t.Helper()
	p.until("the station "+name+" is "+state, func() bool {
		var yes bool
		return p.ask(`[...document.querySelectorAll("#head .road > li")].some((s) => s.querySelector(".name").innerText === `+quote(name)+` && s.classList.contains(`+quote(state)+`))`, &yes) && yes
	})
}

// stays looks while something comes to be, and fails when the page was loaded
// again meanwhile: what it shows must have come over the stream of events.
func (p *tab) stays(look func()) {
	p.t.Helper()
	var marked bool
	p.ask(`(document.bosmanStays = true)`, &marked)
	look()
	var same bool
	if !p.ask(`document.bosmanStays === true`, &same) || !marked || !same {
		p.t.Error("the page was loaded again meanwhile")
	}
}
