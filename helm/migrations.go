package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/forge"
	"github.com/bosman-cd/bosman/store"
)

// SchemaSteps compares the migrations of two releases. A Migrations that can
// do so is asked.
type SchemaSteps interface {
	// Between gives what going from one release to another does to the schema.
	Between(ctx context.Context, app string, from, to int) (bosman.SchemaStep, error)
}

// SchemaStep gives what going from one release of an app to another does to
// the schema, as far as the migrations' texts and a rehearsal of the other
// tell. KindUnavailable when nobody can compare them.
func (h *Helm) SchemaStep(ctx context.Context, app string, from, to int) (bosman.SchemaStep, error) {
	s, ok := h.Migrations.(SchemaSteps)
	if !ok {
		return bosman.SchemaStep{}, bosman.Unavailable("the migrations of two releases cannot be compared here")
	}
	step, err := s.Between(ctx, app, from, to)
	if err != nil {
		return step, err
	}
	r, err := h.Store.Rehearsal(ctx, app, to)
	switch {
	case err == nil:
		step.Rehearsal = &r
	case bosman.KindOf(err) != bosman.KindNotFound:
		return step, err
	}
	return step, nil
}

// --- what forges are told

// migrationContext names the status about migrations at the forge.
const migrationContext = forge.DefaultContext + "/migrations"

// letter is what is owed to a forge: a status, or a comment.
type letter struct {
	forge.Status
	Comment *forge.Comment `json:",omitempty"`
	Last    bool           `json:"-"` // the pull request is not open any more
}

// ReadOwed reads what is owed to a forge into an item.
func ReadOwed(data []byte, it *forge.Item) error {
	var l letter
	err := json.Unmarshal(data, &l)
	it.Status, it.Comment = l.Status, l.Comment
	return err
}

// OwedKey is what an item is about: of the same key only the newest counts.
func OwedKey(it forge.Item) string {
	if it.Comment != nil {
		return fmt.Sprintf("comment %s %d %s", it.Comment.Repo, it.Comment.Pull, it.Comment.Key)
	}
	return StatusKey(it.Status)
}

func told(app string) string { return "migrations-told:" + app }

// tellForge has the app's forge hear what the migrations of open changes do to
// each other: a status on each change that has any, and one comment for each
// pair on both pull requests, which is edited and not repeated.
func (h *Helm) tellForge(ctx context.Context, app string, open []bosman.Change) error {
	setting, err := h.Store.Setting(ctx, originOf(app))
	if err != nil || setting == "" {
		return err
	}
	var o Origin
	if err := json.Unmarshal([]byte(setting), &o); err != nil {
		return err
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		known, err := s.Setting(ctx, told(app))
		if err != nil {
			return err
		}
		before, now := map[string]string{}, map[string]string{}
		if known != "" {
			if err := json.Unmarshal([]byte(known), &before); err != nil {
				return err
			}
		}
		strangers := map[int]bool{}
		for _, c := range open {
			strangers[c.Number] = c.Trust != bosman.TrustTeam
		}
		all := make([]map[string]letter, 0, len(open)+1)
		for _, c := range open {
			letters, err := h.lettersOf(ctx, o, c, before, strangers)
			if err != nil {
				return err
			}
			all = append(all, letters)
		}
		over, err := done(open, before)
		if err != nil {
			return err
		}
		for _, letters := range append(all, over) {
			for key, l := range letters {
				data, err := json.Marshal(l)
				if err != nil {
					return err
				}
				now[key] = string(data)
				if before[key] == now[key] {
					continue
				}
				if l.Last { // nothing more will be said there
					delete(now, key)
				}
				it := forge.Item{Status: l.Status, Comment: l.Comment}
				if err := s.Owe(ctx, store.Owed{Kind: StatusKind(app), CoalesceKey: OwedKey(it), Data: data, At: h.now()}); err != nil {
					return err
				}
			}
		}
		data, err := json.Marshal(now)
		if err != nil || string(data) == known {
			return err
		}
		return s.SetSetting(ctx, told(app), string(data))
	})
}

// done are the last words to pull requests that are not open any more: what
// they were told is over.
func done(open []bosman.Change, before map[string]string) (map[string]letter, error) {
	pulls := map[int]bool{}
	for _, c := range open {
		pulls[c.Pull()] = true
	}
	out := map[string]letter{}
	for key, text := range before {
		var l letter
		if !strings.HasPrefix(key, "comment ") {
			continue
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			return nil, err
		}
		if l.Comment == nil || pulls[l.Comment.Pull] || !strings.HasPrefix(l.Comment.Text, collide) {
			continue
		}
		l.Comment.Text, l.Last = "The migrations collided here while this pull request was open. It is no longer.\n", true
		out[key] = l
	}
	return out, nil
}

// lettersOf are the status and the comments of one change, by what they are
// about. before holds what was told earlier; of strangers' changes the team's
// pull requests get no comments.
func (h *Helm) lettersOf(ctx context.Context, o Origin, c bosman.Change, before map[string]string, strangers map[int]bool) (map[string]letter, error) {
	out := map[string]letter{}
	ref := changeRef(c.Number)
	page := h.Addresses.Page("/" + c.App + "/changes/" + fmt.Sprint(c.Number))
	if statusKey := "status " + ref; len(c.Migrations) > 0 || len(c.Collisions) > 0 || before[statusKey] != "" {
		st := forge.Status{Repo: o.Repo, Commit: c.Head, Context: migrationContext, State: forge.Success, URL: page}
		r, err := h.rehearsalOf(ctx, c)
		if err != nil {
			return nil, err
		}
		st.State, st.Description = verdict(c, r)
		out[statusKey] = letter{Status: st}
	}
	pull := c.Pull()
	if pull == 0 {
		return out, nil
	}
	with := map[string][]bosman.Collision{}
	for _, col := range c.Collisions {
		if strangers[col.With] && !strangers[c.Number] {
			continue
		}
		key := commentKey(c.App, c.Number, col.With)
		with[key] = append(with[key], col)
	}
	prefix := fmt.Sprintf("comment %d ", pull)
	for key, list := range with {
		out[prefix+key] = letter{Comment: &forge.Comment{Repo: o.Repo, Pull: pull, Key: key, Text: commentText(list, page)}}
	}
	for key, text := range before { // what was told and holds no longer
		name, mine := strings.CutPrefix(key, prefix)
		if !mine || out[key].Comment != nil {
			continue
		}
		var l letter
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			return nil, err
		}
		l.Comment = &forge.Comment{Repo: o.Repo, Pull: pull, Key: name, Text: "The migrations that collided here do so no longer.\n\n[" + ref + "](" + page + ")"}
		out[key] = l
	}
	return out, nil
}

// verdict is the state that a change's migrations have at the forge.
func verdict(c bosman.Change, r *bosman.Rehearsal) (forge.State, string) {
	switch {
	case c.Blocked != "":
		return forge.Failure, c.Blocked
	case r != nil && r.Stops() != "":
		return forge.Failure, "migration fails on a copy of staging's data: " + r.Reason
	case r != nil && r.State == bosman.RehearsalRunning:
		return forge.Pending, "being rehearsed on a copy of staging's data"
	case r != nil && r.State == bosman.RehearsalFailed:
		return forge.Success, "migration fails on a copy of staging's data; let pass by " + r.Accepted
	case len(c.Collisions) > 0:
		return forge.Success, c.Collisions[0].Text
	case r != nil && r.State == bosman.RehearsalSkipped:
		return forge.Success, "no collision; not rehearsed on a copy of staging's data: " + r.Reason
	case r != nil && r.State == bosman.RehearsalPassed:
		return forge.Success, fmt.Sprintf("no collision; rehearsed on a copy of staging's data in %s", took(r.Took))
	case len(c.Migrations) == 1:
		return forge.Success, "1 migration, no collision"
	case len(c.Migrations) == 0:
		return forge.Success, "no migrations"
	}
	return forge.Success, fmt.Sprintf("%d migrations, no collision", len(c.Migrations))
}

// commentKey is the same for both changes of a pair.
func commentKey(app string, a, b int) string {
	if b == 0 {
		return fmt.Sprintf("migrations-%s-c%d-main", app, a)
	}
	return fmt.Sprintf("migrations-%s-c%d-c%d", app, min(a, b), max(a, b))
}

const (
	collide      = "**Migrations collide**"
	maxSentences = 20  // in one comment
	maxSentence  = 600 // bytes; names of files may be long
)

func commentText(list []bosman.Collision, page string) string {
	var b strings.Builder
	b.WriteString(collide + "\n\n")
	blocks := false
	for n, col := range list {
		if n < maxSentences {
			fmt.Fprintf(&b, "- %s.\n  To mend it: %s.\n", plain(col.Text), withCommands(col.Fix))
		}
		blocks = blocks || col.Blocks
	}
	if more := len(list) - maxSentences; more > 0 {
		fmt.Fprintf(&b, "- and %d more\n", more)
	}
	switch {
	case blocks:
		b.WriteString("\nThis change is not merged before that.\n")
	case list[0].With != 0:
		b.WriteString("\nWhichever is merged second is blocked until this is mended.\n")
	}
	fmt.Fprintf(&b, "\n[What Bosman knows of this change](%s)\n", page)
	return b.String()
}

// withCommands leaves the commands, which stand between backticks, as they are.
func withCommands(s string) string {
	parts := strings.Split(s, "`")
	if len(parts)%2 == 0 || len(s) > 8*maxSentence || strings.Contains(s, "``") { // Markdown pairs runs of one length
		return plain(s)
	}
	for n := range parts {
		if n%2 == 0 {
			parts[n] = plain(parts[n])
		}
	}
	return strings.Join(parts, "`")
}

// plain takes away what Markdown, a mention, a link or a reference would make
// of a file's name.
func plain(s string) string {
	if len(s) > maxSentence {
		s = strings.ToValidUTF8(s[:maxSentence], "") + "…"
	}
	return markdown.Replace(s)
}

var markdown = strings.NewReplacer("\n", " ", "\r", " ", "<", "‹", ">", "›", "&", "&amp;", "@", "@\u200b", "`", "'", "[", "(", "]", ")", "\\", "\\\\",
	"_", "\\_", "*", "\\*", "~", "\\~", "|", "\\|", "$", "\\$", "#", "#\u200b", "://", ":\u200b//", "www.", "www\u200b.", "!", "\\!")

// --- rehearsals

// Rehearser rehearses releases on copies of staging's database. A Migrations
// that can do so is asked.
type Rehearser interface {
	// Rehearse has a release rehearsed soon, also if it was before; on behalf
	// of a change, 0: of main.
	Rehearse(ctx context.Context, app string, release, change int) error
	// Due has the release of a build rehearsed unless it was, or brings no
	// migrations.
	Due(ctx context.Context, app string, build int) error
}

// LiveGuard knows which releases' applications must be watched before they
// migrate live. A Migrations that can do so is asked.
type LiveGuard interface {
	// BeforeLive says what a deployment to live waits for: a rehearsal that
	// shows which database the application uses. An error says that live must
	// not be migrated with it.
	BeforeLive(ctx context.Context, op bosman.Operation, i bosman.Instance) (waits string, err error)
}

// Rehearse has a release's command run on a throw-away copy of staging's
// database, also if it was before. ref is r12 or a change.
func (h *Helm) Rehearse(ctx context.Context, a bosman.Actor, app, ref string) (int, error) {
	if err := h.may(ctx, a, bosman.MayPush, app, ""); err != nil {
		return 0, err
	}
	rel, change, err := h.releaseFor(ctx, a, app, ref)
	if err != nil {
		return 0, err
	}
	if rel.Trust != bosman.TrustTeam {
		return 0, bosman.Forbidden("%s is code of strangers and gets no copy", releaseRef(rel.Number)).WithKept("nothing was copied")
	}
	r, ok := h.Migrations.(Rehearser)
	if !ok {
		return 0, bosman.Unavailable("releases cannot be rehearsed here")
	}
	err = h.Store.InTx(ctx, func(s *store.Store) error {
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "asked to rehearse " + releaseRef(rel.Number), Subject: releaseRef(rel.Number)})
	})
	if err == nil {
		err = r.Rehearse(ctx, app, rel.Number, change)
	}
	return rel.Number, err
}

// Rehearsal gives the rehearsal of a release or of a change's newest build;
// KindNotFound if there was none.
func (h *Helm) Rehearsal(ctx context.Context, a bosman.Actor, app, ref string) (bosman.Rehearsal, error) {
	if err := h.may(ctx, a, bosman.MaySee, app, ""); err != nil {
		return bosman.Rehearsal{}, err
	}
	rel, _, err := h.releaseFor(ctx, a, app, ref)
	if err != nil {
		return bosman.Rehearsal{}, err
	}
	return h.Store.Rehearsal(ctx, app, rel.Number)
}

// AcceptRehearsal lets a release pass although its rehearsal failed, or never
// came to the database it was given.
func (h *Helm) AcceptRehearsal(ctx context.Context, a bosman.Actor, app, ref, why string) error {
	if err := h.may(ctx, a, bosman.MayAdminister, app, bosman.KindLive); err != nil {
		return err
	}
	if strings.TrimSpace(why) == "" {
		return bosman.Invalid("letting a release pass needs a reason").WithKept("nothing was changed").WithNext(`say it: bosman rehearse ` + ref + ` --accept --why "it migrates nothing"`)
	}
	rel, _, err := h.releaseFor(ctx, a, app, ref)
	if err != nil {
		return err
	}
	return h.Store.InTx(ctx, func(s *store.Store) error {
		r, err := s.Rehearsal(ctx, app, rel.Number)
		if err != nil {
			return err
		}
		r.Accepted = a.Person + ": " + why
		if err := s.SaveRehearsal(ctx, r); err != nil {
			return err
		}
		return h.note(ctx, s, a, bosman.Activity{App: app, What: "let " + releaseRef(rel.Number) + " pass although its rehearsal " + unlike(r), Subject: releaseRef(rel.Number), Why: why},
			event(bosman.EventRehearsed, releaseRef(rel.Number)))
	})
}

// unlike says what a rehearsal that is accepted did not do as it should.
func unlike(r bosman.Rehearsal) string {
	switch {
	case r.State == bosman.RehearsalFailed:
		return "failed"
	case len(r.Outside) == 0 && r.State == bosman.RehearsalSkipped:
		return "was not carried out"
	case len(r.Outside) > 0:
		return "tried to reach something else than its database"
	}
	return "never came to its database"
}

// releaseFor finds a release by r12 or by what names a change.
func (h *Helm) releaseFor(ctx context.Context, a bosman.Actor, app, ref string) (rel bosman.Release, change int, err error) {
	if strings.HasPrefix(ref, string(rune(bosman.LetterRelease))) {
		if n, err := bosman.ParseRef(bosman.LetterRelease, ref); err == nil {
			rel, err = h.Store.Release(ctx, app, n)
			return rel, 0, err
		}
	}
	c, err := h.FindChange(ctx, a, app, ref)
	if err != nil {
		return rel, 0, err
	}
	b, err := h.Store.LatestBuild(ctx, app, c.Number)
	if err != nil {
		return rel, c.Number, err
	}
	if b.Release == 0 {
		return rel, c.Number, bosman.NotFound("%s of %s has made no release", buildRef(b.Number), changeRef(c.Number)).WithNext("wait for its build")
	}
	rel, err = h.Store.Release(ctx, app, b.Release)
	return rel, c.Number, err
}

// rehearsalOf gives the rehearsal of a change's present head; nil without.
func (h *Helm) rehearsalOf(ctx context.Context, c bosman.Change) (*bosman.Rehearsal, error) {
	builds, err := h.Store.Builds(ctx, c.App, c.Number, 1)
	if err != nil || len(builds) == 0 || builds[0].Head != c.Head || builds[0].Release == 0 {
		return nil, err
	}
	r, err := h.Store.Rehearsal(ctx, c.App, builds[0].Release)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// rehearsed are the sentences of a rehearsal that stand among the hazards.
func rehearsed(r *bosman.Rehearsal) []string {
	switch {
	case r == nil:
		return nil
	case r.State == bosman.RehearsalFailed:
		return []string{"migration fails on a copy of staging's data: " + r.Reason}
	case r.State == bosman.RehearsalSkipped:
		return []string{"not rehearsed on a copy of staging's data: " + r.Reason}
	}
	var out []string
	if strayed := r.Strayed(); strayed != "" {
		out = append(out, "rehearsed on a copy of staging's data: "+strayed)
	}
	for _, d := range r.Dangers {
		out = append(out, "rehearsed: "+d.Text)
	}
	for _, l := range r.Locks {
		if l.Stops != "" && l.For >= longLock {
			out = append(out, fmt.Sprintf("rehearsed: %s of %s would wait %s", l.Stops, l.Table, took(l.For)))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// longLock is how long a lock must be held to be worth a sentence.
const longLock = 100 * time.Millisecond

func took(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
