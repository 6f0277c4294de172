package github

import (
	"encoding/json"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/forge"
)

// The parts of GitHub's payloads that we read.
type (
	user struct {
		Login string `json:"login"`
	}
	repository struct {
		ID       int64  `json:"id"`
		FullName string `json:"full_name"`
		CloneURL string `json:"clone_url"`
		Owner    user   `json:"owner"`
	}
	branch struct {
		Ref  string      `json:"ref"`
		SHA  string      `json:"sha"`
		User user        `json:"user"`
		Repo *repository `json:"repo"` // null once the fork is deleted
	}
	pullRequest struct {
		Number         int    `json:"number"`
		Title          string `json:"title"`
		HTMLURL        string `json:"html_url"`
		Draft          bool   `json:"draft"`
		Merged         bool   `json:"merged"`
		MergeCommitSHA string `json:"merge_commit_sha"`
		User           user   `json:"user"`
		Head           branch `json:"head"`
		Base           branch `json:"base"`
	}
	payload struct {
		Action      string       `json:"action"`
		Ref         string       `json:"ref"`
		RefType     string       `json:"ref_type"`
		Before      string       `json:"before"`
		After       string       `json:"after"`
		Deleted     bool         `json:"deleted"`
		Forced      bool         `json:"forced"`
		PullRequest *pullRequest `json:"pull_request"`
		Repository  *repository  `json:"repository"`
		Sender      user         `json:"sender"`
	}
)

// Parse understands push, delete, pull_request and ping. Others, and actions
// that change nothing for us (labels, reviews), give ok false.
func (h *Host) Parse(raw forge.Raw) (forge.Delivery, bool, error) {
	d := forge.Delivery{ID: raw.ID}
	switch raw.Event {
	case "push", "delete", "pull_request", "ping":
	default:
		return d, false, nil
	}
	var p payload
	if err := json.Unmarshal(raw.Body, &p); err != nil {
		return d, false, bosman.Invalid("the delivery is not the JSON that GitHub sends").Because(err)
	}
	if p.Repository == nil {
		if raw.Event == "ping" { // of an organisation's hook
			d.Kind = forge.Ping
			return d, true, nil
		}
		return d, false, bosman.Invalid("the delivery names no repository")
	}
	if h.cfg.Repo != "" && !strings.EqualFold(h.cfg.Repo, p.Repository.FullName) {
		return d, false, bosman.Forbidden("the delivery is of %s, not of %s", p.Repository.FullName, h.cfg.Repo)
	}
	d.Repo, d.CloneURL, d.Sender = p.Repository.FullName, p.Repository.CloneURL, p.Sender.Login
	switch raw.Event {
	case "ping":
		d.Kind = forge.Ping
		return d, true, nil
	case "push":
		return push(d, p)
	case "delete":
		d.Branch, d.Trust = p.Ref, bosman.TrustTeam
		d.Kind = map[string]forge.Kind{"branch": forge.BranchDeleted, "tag": forge.TagDeleted}[p.RefType]
		return d, d.Kind != "" && d.Branch != "", nil
	}
	return pull(d, p)
}

func push(d forge.Delivery, p payload) (forge.Delivery, bool, error) {
	d.Trust = bosman.TrustTeam // only who may write to the repository pushes
	d.Old, d.Head, d.Forced = commit(p.Before), commit(p.After), p.Forced
	kinds := [2]forge.Kind{forge.BranchPushed, forge.BranchDeleted}
	name, ok := strings.CutPrefix(p.Ref, "refs/heads/")
	if !ok {
		if name, ok = strings.CutPrefix(p.Ref, "refs/tags/"); !ok {
			return d, false, nil
		}
		kinds = [2]forge.Kind{forge.TagPushed, forge.TagDeleted}
	}
	d.Branch, d.Kind = name, kinds[0]
	if p.Deleted || d.Head == "" {
		d.Kind = kinds[1]
	}
	if name == "" || d.Old == "" && d.Head == "" {
		return d, false, bosman.Invalid("the push names no commits")
	}
	return d, true, nil
}

func pull(d forge.Delivery, p payload) (forge.Delivery, bool, error) {
	switch p.Action {
	case "opened", "synchronize", "reopened", "edited", "ready_for_review", "converted_to_draft":
		d.Kind = forge.PullUpdated
	case "closed":
		d.Kind = forge.PullClosed
	default:
		return d, false, nil
	}
	pr := p.PullRequest
	if pr == nil || pr.Number <= 0 || commit(pr.Head.SHA) == "" || pr.Head.Ref == "" || pr.Base.Repo == nil {
		return d, false, bosman.Invalid("the delivery lacks its pull request")
	}
	d.Old = commit(p.Before)
	pr.fill(&d)
	return d, true, nil
}

// fill judges trust: whatever is not the repository itself is a stranger's,
// also when the fork is gone.
func (pr *pullRequest) fill(d *forge.Delivery) {
	d.Pull, d.Title, d.URL, d.Author, d.Draft = pr.Number, pr.Title, pr.HTMLURL, pr.User.Login, pr.Draft
	d.Branch, d.Head, d.Base = pr.Head.Ref, commit(pr.Head.SHA), pr.Base.Ref
	if d.Merged = pr.Merged; d.Merged {
		d.Merge = commit(pr.MergeCommitSHA)
	}
	d.Trust = bosman.TrustTeam
	if head := pr.Head.Repo; head == nil || pr.Base.Repo == nil || head.ID == 0 || head.ID != pr.Base.Repo.ID {
		d.Trust = bosman.TrustStranger
		d.Fork = pr.Head.User.Login
		if head != nil && head.Owner.Login != "" {
			d.Fork = head.Owner.Login
		}
		if d.Fork == "" {
			d.Fork = "unknown"
		}
	}
}

// commit gives a full commit hash, "" for anything else and for zeros.
func commit(s string) string {
	if len(s) != 40 && len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" || strings.Trim(s, "0") == "" {
		return ""
	}
	return s
}
