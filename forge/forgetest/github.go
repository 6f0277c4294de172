package forgetest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// GitHub is a local double of the few parts of GitHub's REST API that we use:
// commit statuses, comments and the list of pull requests.
type GitHub struct {
	URL   string // of the API, ending in /
	Token string

	mu       sync.Mutex
	statuses []Posted
	comments map[string][]comment // by owner/name/number
	lastID   int64
	pulls    []json.RawMessage
	answers  []answer
	requests int
}

// Posted is a status as it arrived.
type Posted struct {
	Repo, Commit                      string
	State, Context, Description, Link string
}

type comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
}

type answer struct {
	status int
	header map[string]string
}

// NewGitHub starts the double; it ends with the test.
func NewGitHub(t testing.TB) *GitHub {
	g := &GitHub{Token: "app-token", comments: map[string][]comment{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /repos/{owner}/{repo}/statuses/{sha}", g.postStatus)
	mux.HandleFunc("GET /repos/{owner}/{repo}/issues/{number}/comments", g.listComments)
	mux.HandleFunc("POST /repos/{owner}/{repo}/issues/{number}/comments", g.postComment)
	mux.HandleFunc("PATCH /repos/{owner}/{repo}/issues/comments/{id}", g.editComment)
	mux.HandleFunc("GET /repos/{owner}/{repo}/pulls", g.listPulls)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.requests++
		if r.Header.Get("Authorization") != "Bearer "+g.Token {
			reply(w, http.StatusUnauthorized, map[string]string{"message": "Bad credentials"})
			return
		}
		if len(g.answers) > 0 {
			a := g.answers[0]
			g.answers = g.answers[1:]
			for k, v := range a.header {
				w.Header().Set(k, v)
			}
			reply(w, a.status, map[string]string{"message": "injected"})
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	g.URL = srv.URL + "/"
	return g
}

// Answer has the next request answered with a status and headers.
func (g *GitHub) Answer(status int, header map[string]string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answers = append(g.answers, answer{status, header})
}

// Statuses gives the statuses in the order of their arrival.
func (g *GitHub) Statuses() []Posted {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Posted(nil), g.statuses...)
}

// Requests counts all requests, refused ones too.
func (g *GitHub) Requests() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests
}

// Comments gives the texts of the comments on a pull request.
func (g *GitHub) Comments(repo string, number int) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var texts []string
	for _, c := range g.comments[fmt.Sprint(repo, "/", number)] {
		texts = append(texts, c.Body)
	}
	return texts
}

// AddComment writes a comment of somebody else.
func (g *GitHub) AddComment(repo string, number int, body string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(fmt.Sprint(repo, "/", number), body)
}

// AddPull opens a pull request: the JSON object GitHub gives.
func (g *GitHub) AddPull(pull json.RawMessage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pulls = append(g.pulls, pull)
}

func (g *GitHub) add(key, body string) comment {
	g.lastID++
	c := comment{g.lastID, body}
	g.comments[key] = append(g.comments[key], c)
	return c
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

func repoOf(r *http.Request) string { return r.PathValue("owner") + "/" + r.PathValue("repo") }

func (g *GitHub) postStatus(w http.ResponseWriter, r *http.Request) {
	var s struct {
		State       string `json:"state"`
		TargetURL   string `json:"target_url"`
		Description string `json:"description"`
		Context     string `json:"context"`
	}
	err := json.NewDecoder(r.Body).Decode(&s)
	known := s.State == "pending" || s.State == "success" || s.State == "failure" || s.State == "error"
	if err != nil || !known || len([]rune(s.Description)) > 140 || len(r.PathValue("sha")) != 40 {
		reply(w, http.StatusUnprocessableEntity, map[string]string{"message": "Validation Failed"})
		return
	}
	g.statuses = append(g.statuses, Posted{
		Repo: repoOf(r), Commit: r.PathValue("sha"), State: s.State, Context: s.Context, Description: s.Description, Link: s.TargetURL,
	})
	reply(w, http.StatusCreated, map[string]any{"id": len(g.statuses), "state": s.State})
}

func (g *GitHub) listComments(w http.ResponseWriter, r *http.Request) {
	page(w, r, g.comments[repoOf(r)+"/"+r.PathValue("number")])
}

func (g *GitHub) listPulls(w http.ResponseWriter, r *http.Request) { page(w, r, g.pulls) }

// page answers with one page and GitHub's Link header.
func page[T any](w http.ResponseWriter, r *http.Request, list []T) {
	size, err := strconv.Atoi(r.URL.Query().Get("per_page"))
	if err != nil || size <= 0 || size > 100 {
		size = 30
	}
	n, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || n < 1 {
		n = 1
	}
	from, to := min(len(list), (n-1)*size), min(len(list), n*size)
	if to < len(list) {
		w.Header().Set("Link", fmt.Sprintf("<http://%s%s?per_page=%d&page=%d>; rel=\"next\"", r.Host, r.URL.Path, size, n+1))
	}
	reply(w, http.StatusOK, append([]T{}, list[from:to]...))
}

func (g *GitHub) postComment(w http.ResponseWriter, r *http.Request) {
	var c comment
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || c.Body == "" {
		reply(w, http.StatusUnprocessableEntity, map[string]string{"message": "Validation Failed"})
		return
	}
	reply(w, http.StatusCreated, g.add(repoOf(r)+"/"+r.PathValue("number"), c.Body))
}

func (g *GitHub) editComment(w http.ResponseWriter, r *http.Request) {
	var edited comment
	err := json.NewDecoder(r.Body).Decode(&edited)
	for _, list := range g.comments {
		for i := range list {
			if err == nil && strconv.FormatInt(list[i].ID, 10) == r.PathValue("id") {
				list[i].Body = edited.Body
				reply(w, http.StatusOK, list[i])
				return
			}
		}
	}
	reply(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
}

// Sign gives GitHub's signature of a body.
func Sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body) // never fails
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}
