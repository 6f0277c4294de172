// Package migration finds collisions and dangers of database migrations
// before a merge, from git trees alone: it reads the files of Django, Alembic,
// Rails, Prisma, Laravel, Flyway, goose, golang-migrate and Liquibase as texts
// and runs no code of the application. What is not written as a literal is
// reported as unknown, never as fine.
//
// It must not know git, changes or builds: callers hand in a Reader and
// numbers.
package migration

import (
	"context"
	"path"
	"slices"
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

// ID names a migration: the folder or app it belongs to and its own name, as
// the tool says it.
type ID struct{ App, Name string }

// String gives "shop.0007_order".
func (id ID) String() string {
	if id.App == "" {
		return clean(id.Name)
	}
	return clean(id.App + "." + id.Name)
}

// Node is one migration.
type Node struct {
	ID
	Tool       string // "django"
	Space      string // within which names and versions are unique
	Shown      string // what people call it, where that is not Name
	Number     string // its version as it is written: "0008"; "" without
	Path       string
	Blob       string // of the file; of a changeset, a sum of its text
	Parents    []ID   // dependencies, also on other apps
	Replaces   []ID   // a squashed migration stands for these
	Before     []ID   // run_before
	Operations []Operation
	Tables     []string // that it changes, as far as they are literal; not for Django
	Repeatable bool     // run again whenever it changes (Flyway)
	Unknown    []string // what could not be read, one phrase each

	version  version
	findings []finding
	creates  []string
	needs    []string // Alembic's depends_on
	labels   []string // Alembic's branch_labels: it begins a branch of its own
}

func (n *Node) shown() string {
	name := n.Name
	if n.Shown != "" {
		name = n.Shown
	}
	return strings.ReplaceAll(name, "`", "'") // backticks stand around commands only
}

func (n *Node) rule() rule {
	if t := toolOf(n.Tool); t != nil {
		return t.rule
	}
	return rule{}
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
	Called  string   // "PR 12"; "": "c12"
	Added   Nodes    // new or modified
	Deleted []string // paths, of whatever files
	Missed  Nodes    // what main got since; only where the tool goes by tables

	order    Nodes     // all changesets of changelogs that include others, as they run
	problems []problem // of includes, which main has not
}

// Options say where migrations are.
type Options struct {
	Root   string            // only files below this folder; "" or "." is all
	Tool   string            // only this tool's; "" is all, "none" is none
	Labels map[string]string // folder of Django's migrations → app label, where it is not the folder's parent
}

// Scanner reads migrations. It remembers files by path and blob, and changes
// by their two commits, so that fifty changes cost no more than what is new in
// each. Many goroutines may use one.
type Scanner struct {
	opt   Options
	tools []*tool

	mu     sync.Mutex
	known  map[file][]Node
	deltas map[[2]string]Delta

	logs     map[file]logFile      // as changelogs, whatever they are called
	followed map[string]*following // by commit
}

type file struct{ path, blob string }

const (
	maxKnown  = 50_000
	maxDeltas = 2_000
)

// NewScanner makes a Scanner; KindInvalid for a tool that does not exist.
func NewScanner(opt Options) (*Scanner, error) {
	opt.Root = strings.Trim(path.Clean("/"+opt.Root), "/")
	s := &Scanner{opt: opt, tools: tools, known: map[file][]Node{}, deltas: map[[2]string]Delta{}, logs: map[file]logFile{}, followed: map[string]*following{}}
	switch t := toolOf(opt.Tool); {
	case opt.Tool == "none":
		s.tools = nil
	case t != nil:
		s.tools = []*tool{t}
	case opt.Tool != "":
		return nil, bosman.Invalid("%q is no tool for migrations", opt.Tool).WithNext("take one of " + strings.Join(Tools(), ", ") + " or none")
	}
	return s, nil
}

// Scan gives the migrations of a commit.
func (s *Scanner) Scan(ctx context.Context, r Reader, commit string) (Nodes, error) {
	if len(s.tools) == 0 {
		return nil, nil
	}
	files, err := r.Files(ctx, commit)
	if err != nil {
		return nil, err
	}
	nodes, err := s.nodes(ctx, r, files)
	if err != nil {
		return nil, err
	}
	f, err := s.follow(ctx, r, commit, files)
	if err != nil || f == nil {
		return nodes, err
	}
	return nodes.with(f, func(string) bool { return true }), nil
}

// Delta gives what head changed since it left main. Both are best given as
// full commits: what was found for them is remembered.
func (s *Scanner) Delta(ctx context.Context, r Reader, main, head string) (Delta, error) {
	if len(s.tools) == 0 {
		return Delta{}, nil
	}
	pair := [2]string{main, head}
	remember := len(main) >= 40 && len(head) >= 40
	s.mu.Lock()
	d, ok := s.deltas[pair]
	s.mu.Unlock()
	if ok {
		return d, nil
	}
	files, deleted, err := r.ChangedBlobs(ctx, main, head)
	if err != nil {
		return d, err
	}
	d.Deleted = deleted
	if d.Added, err = s.nodes(ctx, r, files); err != nil {
		return d, err
	}
	if err := s.include(ctx, r, main, head, files, &d); err != nil {
		return d, err
	}
	if slices.ContainsFunc(d.Added, func(n Node) bool { return n.rule().tables && len(n.Tables) > 0 }) {
		missed, _, err := r.ChangedBlobs(ctx, head, main)
		if err != nil {
			return d, err
		}
		if d.Missed, err = s.nodes(ctx, r, missed); err != nil {
			return d, err
		}
	}
	if remember {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.deltas) >= maxDeltas {
			clear(s.deltas)
		}
		s.deltas[pair] = d
	}
	return d, nil
}

func (s *Scanner) nodes(ctx context.Context, r Reader, files map[string]string) (Nodes, error) {
	var wanted []string
	var fresh []file
	var nodes Nodes
	s.mu.Lock()
	if len(s.known) > maxKnown {
		clear(s.known)
	}
	for name, blob := range files {
		if !s.candidate(name) {
			continue
		}
		f := file{name, blob}
		if known, ok := s.known[f]; ok {
			nodes = append(nodes, known...)
			continue
		}
		fresh, wanted = append(fresh, f), append(wanted, blob)
	}
	s.mu.Unlock()
	if len(fresh) > 0 {
		slices.Sort(wanted)
		texts, err := r.Blobs(ctx, slices.Compact(wanted))
		if err != nil {
			return nil, err
		}
		for _, f := range fresh {
			text, readable := texts[f.blob]
			found := readFile(s.tools, f.path, string(text), readable)
			for i := range found {
				if found[i].Blob == "" {
					found[i].Blob = f.blob
				}
				if l, ok := s.opt.Labels[found[i].Space]; ok {
					found[i].App = l
				}
			}
			s.mu.Lock()
			s.known[f] = found
			s.mu.Unlock()
			nodes = append(nodes, found...)
		}
	}
	sort.SliceStable(nodes, func(i, j int) bool { return nodes[i].Path < nodes[j].Path })
	return nodes, nil
}

// candidate says whether a file may hold migrations.
func (s *Scanner) candidate(name string) bool {
	if s.opt.Root != "" && !strings.HasPrefix(name, s.opt.Root+"/") {
		return false
	}
	return slices.ContainsFunc(s.tools, func(t *tool) bool { return t.claims(name) })
}

// Added gives the migrations of after that before does not have, or has with
// other content: what going from one release to the next runs.
func Added(before, after Nodes) Nodes {
	had := make(map[[2]string]string, len(before))
	for _, n := range before {
		had[[2]string{n.Path, n.Name}] = n.Blob
	}
	var added Nodes
	for _, n := range after {
		if had[[2]string{n.Path, n.Name}] != n.Blob {
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
