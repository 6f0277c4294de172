// Package migration finds collisions and dangers of database migrations
// before a merge, from git trees alone: it reads Django's migration files as
// text and runs no code of the application. What is not written as a literal
// is reported as unknown, never as fine.
//
// It must not know git, changes or builds: callers hand in a Reader and
// numbers.
package migration

import (
	"context"
	"path"
	"sort"
	"strings"
	"sync"

	"github.com/bosman-cd/bosman"
)

// Reader reads trees; *source.Repo is one.
type Reader interface {
	// Files gives the files of a commit: path and blob.
	Files(ctx context.Context, commit string) (map[string]string, error)
	// ChangedBlobs gives what head changed since it left base: added or
	// modified paths with their blobs, and deleted paths.
	ChangedBlobs(ctx context.Context, base, head string) (added map[string]string, deleted []string, err error)
	// Blobs reads blobs; those it cannot give are left out.
	Blobs(ctx context.Context, blobs []string) (map[string][]byte, error)
}

// ID names a migration as Django does: the app's label and the file's name.
type ID struct{ App, Name string }

// String gives "shop.0007_order".
func (id ID) String() string { return id.App + "." + id.Name }

// Node is one migration.
type Node struct {
	ID
	Path       string
	Blob       string
	Parents    []ID // dependencies, also on other apps
	Replaces   []ID // a squashed migration stands for these
	Before     []ID // run_before
	Operations []Operation
	Unknown    []string // what could not be read, one phrase each
}

// Operation is one operation of a migration, as far as it is literal.
type Operation struct {
	Name       string // AddField
	Model      string
	Field      string
	To         string // the new name, of a renaming
	Reversible bool   // of RunSQL and RunPython
	Line       int
	def        definition
	fields     []namedField
}

// Nodes are the migrations of one commit, in order of path.
type Nodes []Node

// Delta is what a change does to the migrations since it left main.
type Delta struct {
	Added   Nodes    // new or modified
	Deleted []string // paths, of whatever files
}

// Options say where migrations are.
type Options struct {
	Root   string            // only files below this folder; "" or "." is all
	Labels map[string]string // folder of migrations → app label, where it is not the folder's parent
}

// Scanner reads migrations. It remembers files by blob, so that fifty changes
// cost no more than what is new in each. Many goroutines may use one.
type Scanner struct {
	opt Options

	mu    sync.Mutex
	known map[string]*parsed
}

const maxKnown = 50_000

// NewScanner makes a Scanner.
func NewScanner(opt Options) *Scanner {
	opt.Root = strings.Trim(path.Clean("/"+opt.Root), "/")
	return &Scanner{opt: opt, known: map[string]*parsed{}}
}

// Scan gives the migrations of a commit.
func (s *Scanner) Scan(ctx context.Context, r Reader, commit string) (Nodes, error) {
	files, err := r.Files(ctx, commit)
	if err != nil {
		return nil, err
	}
	return s.nodes(ctx, r, files)
}

// Delta gives what head changed since it left main.
func (s *Scanner) Delta(ctx context.Context, r Reader, main, head string) (Delta, error) {
	files, deleted, err := r.ChangedBlobs(ctx, main, head)
	if err != nil {
		return Delta{}, err
	}
	added, err := s.nodes(ctx, r, files)
	return Delta{Added: added, Deleted: deleted}, err
}

func (s *Scanner) nodes(ctx context.Context, r Reader, files map[string]string) (Nodes, error) {
	var wanted []string
	s.mu.Lock()
	if len(s.known) > maxKnown {
		s.known = map[string]*parsed{}
	}
	found := map[string]*parsed{}
	for name, blob := range files {
		if !s.candidate(name) {
			continue
		}
		if p, ok := s.known[blob]; ok {
			found[blob] = p
		} else {
			found[blob] = nil
			wanted = append(wanted, blob)
		}
	}
	s.mu.Unlock()
	if len(wanted) > 0 {
		sort.Strings(wanted)
		texts, err := r.Blobs(ctx, wanted)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		for blob, text := range texts {
			found[blob] = parse(string(text))
			s.known[blob] = found[blob]
		}
		s.mu.Unlock()
	}
	var nodes Nodes
	for name, blob := range files {
		if !s.candidate(name) {
			continue
		}
		p := found[blob]
		if p == nil { // too big to be read
			p = &parsed{class: true, unknown: []string{"the file cannot be read"}}
		}
		if !p.is && (!p.class || !isMigrationPath(name)) {
			continue
		}
		nodes = append(nodes, Node{
			ID:   ID{App: label(name, s.opt.Labels), Name: strings.TrimSuffix(path.Base(name), ".py")},
			Path: name, Blob: blob, Parents: p.deps, Replaces: p.replaces, Before: p.before, Operations: p.ops, Unknown: p.unknown,
		})
	}
	sort.Slice(nodes, func(i, j int) bool { return nodes[i].Path < nodes[j].Path })
	return nodes, nil
}

// candidate says whether a file may be a migration: any Python file, since
// an app may keep them where it likes. Django skips names that begin with _
// or ~.
func (s *Scanner) candidate(name string) bool {
	if s.opt.Root != "" && !strings.HasPrefix(name, s.opt.Root+"/") {
		return false
	}
	base := path.Base(name)
	return strings.HasSuffix(base, ".py") && base[0] != '_' && base[0] != '~' && strings.Contains(name, "/")
}

// Added gives the migrations of after that before does not have, or has with
// other content: what going from one release to the next runs.
func Added(before, after Nodes) Nodes {
	had := make(map[string]string, len(before))
	for _, n := range before {
		had[n.Path] = n.Blob
	}
	var added Nodes
	for _, n := range after {
		if had[n.Path] != n.Blob {
			added = append(added, n)
		}
	}
	return added
}

// Collision is why a change does not go together with main or another change.
type Collision struct {
	Change int
	With   int    // the other change; 0 is main or the change itself
	App    string // label
	Stale  bool   // it must be mended before the change is merged
	Text   string // one sentence
	Fix    string // what to do, with the command
}

// String gives both sentences.
func (c Collision) String() string { return c.Text + "; " + c.Fix }

func changeRef(n int) string { return bosman.Ref(bosman.LetterChange, n) }
