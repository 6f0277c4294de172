package migration

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
)

// Changelogs of Liquibase name others, which it runs where they are named
// (include), or all of a folder, by name (includeAll). So a file is a
// changelog also where its own name does not say so, and the order in which
// changesets run is that of all files together. Facts: docs.liquibase.com,
// "include", "includeAll".

// An include is one such line.
type include struct {
	file     string // or a folder
	all      bool   // includeAll
	relative bool   // to the file it stands in; else to the search path
	optional bool   // nobody minds that there is none
	ending   string // endsWithFilter of a folder
	depths   [2]int // of a folder: from, to; to 0 is any
	chosen   string // what chooses in the folder and cannot be known here
	line     int
	at       int // how many changesets of its file come before
}

// set reads one attribute.
func (i *include) set(name, value string) {
	switch name {
	case "file", "path":
		i.file = value
	case "relativeToChangelogFile":
		i.relative = value == "true"
	case "errorIfMissing", "errorIfMissingOrEmpty":
		i.optional = value == "false"
	case "endsWithFilter":
		i.ending = value
	case "minDepth":
		i.depths[0] = small(value)
	case "maxDepth":
		i.depths[1] = small(value)
	case "filter", "resourceComparator", "resourceFilter":
		i.chosen = name
	}
}

func (i include) where() string {
	if i.line == 0 { // JSON does not tell
		return ""
	}
	return fmt.Sprintf(" (line %d)", i.line)
}

// small reads a depth; what is none counts as 0.
func small(s string) int {
	if v := parseVersion(s, " "); len(v) == 1 {
		return int(min(v[0], 1000))
	}
	return 0
}

// includeNamed says whether an element includes.
func includeNamed(name string) bool { return name == "include" || name == "includeAll" }

// maxIncluded bounds what is looked at for the includes of one tree, and
// maxSearch how many folders above a file are tried as the search path.
const (
	maxIncluded = 100_000
	maxSearch   = 40
)

// A problem is an include that does not lead to a changelog.
type problem struct {
	path, text string
	line       int
	refused    bool // Liquibase does not even begin
}

func (p problem) key() string { return p.path + "\x00" + p.text }

// A following is what the includes of one commit come to.
type following struct {
	order    Nodes           // the changesets of all files that include or are included, as they run
	files    map[string]bool // that are included
	problems []problem
}

// An includer follows the includes of one tree.
type includer struct {
	s      *Scanner
	r      Reader
	files  map[string]string // path → blob
	paths  []string          // sorted; made when a folder is asked for
	read   map[string]logFile
	budget int
	out    following
}

// follow reads the changelogs of a tree in the order in which they run; nil
// if none includes another.
func (s *Scanner) follow(ctx context.Context, r Reader, commit string, files map[string]string) (*following, error) {
	if !slices.Contains(s.tools, &liquibase) {
		return nil, nil
	}
	whole := len(commit) >= 40
	s.mu.Lock()
	known, ok := s.followed[commit]
	s.mu.Unlock()
	if ok && whole {
		return known, nil
	}
	f, err := s.followFiles(ctx, r, files)
	if err != nil || !whole {
		return f, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.followed) >= maxFollowed {
		clear(s.followed)
	}
	s.followed[commit] = f
	return f, nil
}

const maxFollowed = 100

func (s *Scanner) followFiles(ctx context.Context, r Reader, files map[string]string) (*following, error) {
	in := &includer{s: s, r: r, files: files, read: map[string]logFile{}, budget: maxIncluded, out: following{files: map[string]bool{}}}
	var begin []string
	for name := range files {
		if path.Ext(name) != ".sql" && s.candidate(name) && liquibase.claims(name) {
			begin = append(begin, name)
		}
	}
	slices.Sort(begin)
	edges, err := in.reach(ctx, begin)
	if err != nil || len(edges) == 0 {
		return nil, err
	}
	seen, stack := map[string]bool{}, map[string]bool{}
	for _, root := range []bool{true, false} { // what only includes itself in a circle has no root
		for _, name := range slices.Sorted(maps.Keys(edges)) {
			if !seen[name] && (!root || !in.out.files[name]) {
				in.walk(name, edges, seen, stack)
			}
		}
	}
	sort.SliceStable(in.out.problems, func(i, j int) bool { return in.out.problems[i].path < in.out.problems[j].path })
	return &in.out, nil
}

// An edge is an include with the files it leads to.
type edge struct {
	include
	to []string
}

// reach reads all files that can be come to, those of one step at a time, and
// gives the includes of each that has any.
func (in *includer) reach(ctx context.Context, todo []string) (map[string][]edge, error) {
	edges, asked := map[string][]edge{}, map[string]bool{}
	for _, name := range todo {
		asked[name] = true
	}
	for len(todo) > 0 {
		if err := in.load(ctx, todo); err != nil {
			return nil, err
		}
		var next []string
		for _, name := range todo {
			for _, i := range in.read[name].includes {
				e := edge{i, in.resolve(name, i)}
				edges[name] = append(edges[name], e)
				for _, to := range e.to {
					in.out.files[to] = true
					if !asked[to] {
						asked[to] = true
						next = append(next, to)
					}
				}
			}
		}
		todo = next
	}
	return edges, nil
}

// load reads files, of which the scanner knows most.
func (in *includer) load(ctx context.Context, names []string) error {
	var fresh []file
	var blobs []string
	in.s.mu.Lock()
	for _, name := range names {
		f := file{name, in.files[name]}
		if known, ok := in.s.logs[f]; ok {
			in.read[name] = known
			continue
		}
		fresh, blobs = append(fresh, f), append(blobs, f.blob)
	}
	in.s.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	slices.Sort(blobs)
	texts, err := in.r.Blobs(ctx, slices.Compact(blobs))
	if err != nil {
		return err
	}
	for _, f := range fresh {
		text, readable := texts[f.blob]
		p := readLog(f.path, string(text), readable)
		for i := range p.nodes {
			p.nodes[i].Blob = cmp.Or(p.nodes[i].Blob, f.blob)
		}
		in.read[f.path] = p
		in.s.mu.Lock()
		if len(in.s.logs) > maxKnown {
			clear(in.s.logs)
		}
		in.s.logs[f] = p
		in.s.mu.Unlock()
	}
	return nil
}

// logFile is what a changelog holds.
type logFile struct {
	nodes    []Node
	includes []include
}

// readLog reads a file as a changelog.
func readLog(name, text string, readable bool) logFile {
	p := logFile{nodes: readFile([]*tool{&included}, name, text, readable)}
	if l := readChangelog(name, strings.TrimPrefix(text, "\ufeff")); l != nil && readable {
		p.includes = l.includes
	}
	return p
}

// included is Liquibase where a file is included: its name does not matter.
var included = tool{
	name:   liquibase.name,
	claims: func(string) bool { return true },
	byPath: func(string) (Node, bool) { return Node{}, false },
	read: func(name, text string) []Node {
		l := readChangelog(name, text)
		switch {
		case l != nil:
			return l.nodes
		case path.Ext(name) != ".sql" || strings.TrimSpace(text) == "":
			return nil
		}
		// SQL without a format is one changeset.
		l = &changelog{name: name}
		s := &script{}
		s.sql(text, 0)
		l.add(changeset{id: "raw", author: "includeAll", text: text}, s)
		return l.nodes
	},
}

// resolve gives the files that an include leads to, in order.
func (in *includer) resolve(from string, i include) []string {
	tell := func(refused bool, format string, args ...any) {
		p := problem{path: from, line: i.line, refused: refused, text: fmt.Sprintf(format, args...)}
		in.out.problems = append(in.out.problems, p)
	}
	what := "include"
	if i.all {
		what = "includeAll"
	}
	in.budget--
	if in.budget < 0 {
		if in.budget == -1 {
			tell(false, "its includes lead to more than is followed (%d)", maxIncluded)
		}
		return nil
	}
	said := cutTo(i.file, 200)
	if i.file == "" || strings.Contains(i.file, "${") {
		tell(false, "what its %s names is not literal%s", what, i.where())
		return nil
	}
	if i.chosen != "" {
		tell(false, "the %s of %s in %s cannot be known here%s", i.chosen, what, said, i.where())
	}
	name := strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(i.file, "classpath*:"), "classpath:"), `\`, "/")
	bases := []string{path.Dir(from)}
	if !i.relative {
		name = strings.TrimLeft(name, "/")
		bases = above(from)
	}
	outside := true
	for _, base := range bases {
		at := path.Join(base, name)
		if at == ".." || strings.HasPrefix(at, "../") || path.IsAbs(at) {
			continue
		}
		outside = false
		in.budget--
		if !i.all {
			if _, ok := in.files[at]; ok {
				return []string{at}
			}
			continue
		}
		if found := in.folder(at, i); len(found) > 0 {
			return found
		}
	}
	switch {
	case i.optional:
	case outside:
		tell(false, "it includes %s, which leads out of the repository%s", said, i.where())
	case i.relative:
		tell(true, "it includes %s, which is not there%s: Liquibase refuses to run", said, i.where())
	default:
		tell(false, "it includes %s, which is not found here%s", said, i.where())
	}
	return nil
}

// above gives the folders that may be the search path, the nearest first.
func above(name string) []string {
	var out []string
	for dir := path.Dir(name); len(out) < maxSearch-1 && dir != "."; dir = path.Dir(dir) {
		out = append(out, dir)
	}
	return append(out, ".")
}

var logEndings = []string{".xml", ".yaml", ".yml", ".json", ".sql"}

// folder gives the changelogs in a folder and below it, by name.
func (in *includer) folder(dir string, i include) []string {
	if in.paths == nil {
		in.paths = slices.Sorted(maps.Keys(in.files))
	}
	prefix := dir + "/"
	if dir == "." {
		prefix = ""
	}
	first, _ := slices.BinarySearch(in.paths, prefix)
	var out []string
	for _, name := range in.paths[first:] {
		below, ok := strings.CutPrefix(name, prefix)
		if !ok || in.budget < 0 {
			break
		}
		in.budget--
		depth := 1 + strings.Count(below, "/")
		if slices.Contains(logEndings, path.Ext(name)) && strings.HasSuffix(name, i.ending) && depth >= i.depths[0] && (i.depths[1] == 0 || depth <= i.depths[1]) {
			out = append(out, name)
		}
	}
	return out
}

// walk puts the changesets of a file, and of what it includes, in order. The
// depth is that of a stack of our own: a chain of includes may be long.
func (in *includer) walk(name string, edges map[string][]edge, seen, stack map[string]bool) {
	type frame struct {
		name     string
		edge, to int // the next to be followed
		put      int // changesets that were put
	}
	frames := []frame{{name: name}}
	seen[name], stack[name] = true, true
	for len(frames) > 0 {
		f := &frames[len(frames)-1]
		nodes, out := in.read[f.name].nodes, edges[f.name]
		if f.edge == len(out) {
			in.out.order = append(in.out.order, nodes[min(f.put, len(nodes)):]...)
			delete(stack, f.name)
			frames = frames[:len(frames)-1]
			continue
		}
		e := out[f.edge]
		if at := min(e.at, len(nodes)); f.put < at {
			in.out.order = append(in.out.order, nodes[f.put:at]...)
			f.put = at
		}
		if f.to == len(e.to) {
			f.edge, f.to = f.edge+1, 0
			continue
		}
		to := e.to[f.to]
		f.to++
		switch {
		case stack[to]:
			text := fmt.Sprintf("it includes %s, which includes it in turn%s: Liquibase does not run that", cutTo(to, 200), e.where())
			in.out.problems = append(in.out.problems, problem{path: f.name, line: e.line, refused: true, text: text})
		case !seen[to]:
			seen[to], stack[to] = true, true
			frames = append(frames, frame{name: to})
		}
	}
}
