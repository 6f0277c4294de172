// Package github speaks with GitHub and GitHub Enterprise: deliveries of
// webhooks in, commit statuses and comments out. It must not know changes or
// builds.
package github

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	gh "github.com/google/go-github/v88/github"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/forge"
)

// Config is what one connection to GitHub needs.
type Config struct {
	// Secrets of the webhook; several while one is being replaced.
	Secrets []string
	Token   string // an application's, not a person's
	BaseURL string // "" is GitHub itself; else the address of the API, ending in /
	// Repo, if set, is the only owner/name whose deliveries are taken.
	Repo string
	HTTP *http.Client // nil: a client with a time-out of 15 s
}

// Host is a forge.Host.
type Host struct {
	cfg    Config
	client *gh.Client
}

var _ forge.Host = (*Host)(nil)

// New makes a Host. An empty secret is refused: anybody could deliver.
func New(cfg Config) (*Host, error) {
	if len(cfg.Secrets) == 0 {
		return nil, bosman.Invalid("the webhook has no secret").WithNext("set one at GitHub and here")
	}
	for _, s := range cfg.Secrets {
		if len(s) < 8 {
			return nil, bosman.Invalid("the webhook's secret is shorter than 8 characters").WithNext("set a longer one at GitHub and here")
		}
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: 15 * time.Second}
	}
	opts := []gh.ClientOptionsFunc{gh.WithHTTPClient(cfg.HTTP), gh.WithUserAgent("bosman")}
	if cfg.Token != "" {
		opts = append(opts, gh.WithAuthToken(cfg.Token))
	}
	if cfg.BaseURL != "" {
		opts = append(opts, gh.WithURLs(&cfg.BaseURL, &cfg.BaseURL))
	}
	client, err := gh.NewClient(opts...)
	if err != nil {
		return nil, bosman.Invalid("GitHub's address or token cannot be used").Because(err)
	}
	return &Host{cfg: cfg, client: client}, nil
}

// Receive checks X-Hub-Signature-256. The older SHA-1 signature is not
// enough.
func (h *Host) Receive(header http.Header, body []byte) (forge.Raw, error) {
	var none forge.Raw
	if !h.signed(header.Get("X-Hub-Signature-256"), body) {
		return none, bosman.Forbidden("the delivery's signature is missing or wrong").
			WithNext("compare the webhook's secret at GitHub with the one set here")
	}
	event, id := header.Get("X-GitHub-Event"), header.Get("X-GitHub-Delivery")
	if event == "" || id == "" || len(id) > 200 {
		return none, bosman.Invalid("the delivery has no event or number")
	}
	kind, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	switch strings.TrimSpace(kind) {
	case "application/json":
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil || form.Get("payload") == "" {
			return none, bosman.Invalid("the delivery's form has no payload").Because(err)
		}
		body = []byte(form.Get("payload"))
	default:
		return none, bosman.Invalid("the delivery is neither JSON nor a form")
	}
	sum := sha256.Sum256(append([]byte(event+"\n"), body...))
	raw := forge.Raw{ID: id, Digest: hex.EncodeToString(sum[:]), Event: event, Body: body}
	_, ok, err := h.Parse(raw)
	if err != nil {
		return none, err
	}
	if !ok {
		raw.Event = ""
	}
	return raw, nil
}

func (h *Host) signed(signature string, body []byte) bool {
	digits, ok := strings.CutPrefix(signature, "sha256=")
	given, err := hex.DecodeString(digits)
	good := false
	for _, secret := range h.cfg.Secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body) // never fails
		good = hmac.Equal(mac.Sum(nil), given) || good
	}
	return ok && err == nil && good
}

// maxDescription is GitHub's limit on the text of a status.
const maxDescription = 140

// SetStatus posts a commit status.
func (h *Host) SetStatus(ctx context.Context, s forge.Status) error {
	owner, name, err := split(s.Repo)
	if err != nil {
		return err
	}
	if s.Context == "" {
		s.Context = forge.DefaultContext
	}
	state, text := string(s.State), shorten(s.Description, maxDescription)
	status := gh.RepoStatus{State: &state, Context: &s.Context, Description: &text}
	if s.URL != "" {
		status.TargetURL = &s.URL
	}
	_, _, err = h.client.Repositories.CreateStatus(ctx, owner, name, s.Commit, status)
	return failed("the status of "+bosman.Short(s.Commit), err)
}

// Comment writes or replaces the comment that bears the key's mark.
func (h *Host) Comment(ctx context.Context, c forge.Comment) error {
	owner, name, err := split(c.Repo)
	if err != nil {
		return err
	}
	mark := "<!-- bosman:" + c.Key + " -->"
	body := mark + "\n" + c.Text
	what := fmt.Sprintf("the comment on pull request %d", c.Pull)
	opts := &gh.IssueListCommentsOptions{ListOptions: gh.ListOptions{PerPage: 100}}
	for {
		list, resp, err := h.client.Issues.ListComments(ctx, owner, name, c.Pull, opts)
		if err != nil {
			return failed(what, err)
		}
		for _, old := range list {
			if !strings.HasPrefix(old.GetBody(), mark) {
				continue
			}
			if old.GetBody() == body {
				return nil
			}
			_, _, err := h.client.Issues.EditComment(ctx, owner, name, old.GetID(), &gh.IssueComment{Body: &body})
			return failed(what, err)
		}
		if resp.NextPage == 0 {
			break
		}
		opts.Page = resp.NextPage
	}
	_, _, err = h.client.Issues.CreateComment(ctx, owner, name, c.Pull, &gh.IssueComment{Body: &body})
	return failed(what, err)
}

// Pulls lists the open pull requests.
func (h *Host) Pulls(ctx context.Context, repo string) ([]forge.Delivery, error) {
	owner, name, err := split(repo)
	if err != nil {
		return nil, err
	}
	var found []forge.Delivery
	opts := &gh.PullRequestListOptions{State: "open", ListOptions: gh.ListOptions{PerPage: 100}}
	for {
		list, resp, err := h.client.PullRequests.List(ctx, owner, name, opts)
		if err != nil {
			return nil, failed("the pull requests of "+repo, err)
		}
		for _, p := range list {
			found = append(found, listed(repo, p))
		}
		if resp.NextPage == 0 {
			return found, nil
		}
		opts.Page = resp.NextPage
	}
}

func listed(repo string, p *gh.PullRequest) forge.Delivery {
	head, base := p.GetHead(), p.GetBase()
	w := pullRequest{
		Number: p.GetNumber(), Title: p.GetTitle(), HTMLURL: p.GetHTMLURL(), Draft: p.GetDraft(),
		User: user{Login: p.GetUser().GetLogin()},
		Head: branch{Ref: head.GetRef(), SHA: head.GetSHA(), User: user{Login: head.GetUser().GetLogin()}},
		Base: branch{Ref: base.GetRef(), SHA: base.GetSHA(), Repo: &repository{ID: base.GetRepo().GetID(), FullName: repo, CloneURL: base.GetRepo().GetCloneURL()}},
	}
	if r := head.GetRepo(); r != nil {
		w.Head.Repo = &repository{ID: r.GetID(), FullName: r.GetFullName(), Owner: user{Login: r.GetOwner().GetLogin()}}
	}
	d := forge.Delivery{Kind: forge.PullUpdated, Repo: repo, CloneURL: w.Base.Repo.CloneURL}
	w.fill(&d)
	return d
}

func split(repo string) (owner, name string, err error) {
	owner, name, ok := strings.Cut(repo, "/")
	if !ok || owner == "" || name == "" || strings.ContainsAny(repo, " ?#%\\") || strings.Contains(name, "/") || strings.Contains(repo, "..") {
		return "", "", bosman.Invalid("%q does not name a repository at GitHub", repo).WithNext("write it as owner/name")
	}
	return owner, name, nil
}

func shorten(s string, limit int) string {
	r := []rune(s)
	if len(r) <= limit {
		return s
	}
	return string(r[:limit-1]) + "…"
}

// failed tells apart what may pass from what will not.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	var rate *gh.RateLimitError
	var abuse *gh.AbuseRateLimitError
	var resp *gh.ErrorResponse
	switch {
	case errors.As(err, &rate):
		return &forge.Later{At: rate.Rate.Reset.Time, Err: bosman.Unavailable("GitHub's rate limit is used up").Because(err)}
	case errors.As(err, &abuse):
		wait := time.Minute
		if abuse.RetryAfter != nil {
			wait = *abuse.RetryAfter
		}
		return &forge.Later{At: time.Now().Add(wait), Err: bosman.Unavailable("GitHub asks for a pause").Because(err)}
	case errors.As(err, &resp) && resp.Response != nil:
		switch code := resp.Response.StatusCode; {
		case code == http.StatusUnauthorized || code == http.StatusForbidden:
			return bosman.Forbidden("GitHub does not let us write %s", what).Because(err).WithNext("check the token and its rights")
		case code == http.StatusNotFound || code == http.StatusUnprocessableEntity || code == http.StatusGone:
			return bosman.Invalid("GitHub does not accept %s", what).Because(err)
		}
	}
	return bosman.Unavailable("GitHub did not take %s", what).Because(err)
}
