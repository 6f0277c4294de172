package source

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// Merge is what merging a head into a base gives.
type Merge struct {
	Base, Head  string
	Commit      string   // the merge commit; "" with conflicts
	Tree        string   // its tree; "" with conflicts
	Conflicts   []string // files that conflict, in order
	FastForward bool     // head already contains base: Tree is head's tree
	Merged      bool     // base already contains head: Commit is base
}

// MergeResult merges head into base (main) without a work tree. Main later
// moves to exactly this commit, so what was tested is what main gets:
//
//   - always a real merge commit with the parents base and head, also where a
//     fast-forward were possible (--no-ff); only when base already contains
//     head is it base itself;
//   - the same base, head and message give the same commit on every machine:
//     its author is Bosman and its date the later one of its parents'. Who
//     merged is in the activity log;
//   - it is kept under refs/bosman/merge until Forget.
//
// base "" (no main yet) gives head itself. Conflicts are a result, not an
// error. Histories that share no commit are KindConflict.
func (r *Repo) MergeResult(ctx context.Context, base, head, message string) (Merge, error) {
	m := Merge{Base: base, Head: head}
	if base == "" {
		if !isHash(head) {
			return m, bosman.Invalid("merging needs full commit hashes, not %q", head)
		}
		tree, err := r.TreeOf(ctx, head)
		m.Commit, m.Tree, m.FastForward = head, tree, true
		return m, err
	}
	if !isHash(base) || !isHash(head) {
		return m, bosman.Invalid("merging needs full commit hashes, not %q and %q", base, head)
	}
	parents, err := r.commits(ctx, []string{"--no-walk=unsorted", base, head})
	if err != nil {
		return m, err
	}
	if len(parents) == 1 { // base is head
		parents = append(parents, parents[0])
	}
	common, err := r.mergeBase(ctx, base, head)
	if err != nil {
		return m, err
	}
	switch common {
	case head:
		m.Merged, m.Commit, m.Tree = true, base, parents[0].Tree
		return m, nil
	case base:
		m.FastForward, m.Tree = true, parents[1].Tree
	default:
		if m.Tree, m.Conflicts, err = r.mergeTree(ctx, base, head); err != nil || m.Tree == "" {
			return m, err
		}
	}
	if message == "" {
		message = "Merge " + bosman.Short(head)
	}
	at := parents[0].Committed
	if parents[1].Committed.After(at) {
		at = parents[1].Committed
	}
	by := Signature{Name: "Bosman", Email: "bosman@localhost", At: at}
	out, err := r.run(ctx, call{
		args:  []string{"commit-tree", "--no-gpg-sign", "-p", base, "-p", head, "-F", "-", m.Tree},
		stdin: strings.NewReader(strings.TrimSpace(message) + "\n"),
		env:   append(by.env("AUTHOR"), by.env("COMMITTER")...),
	})
	if err != nil {
		return m, err
	}
	m.Commit = strings.TrimSpace(string(out))
	return m, r.setHidden(ctx, mergePrefix, []string{m.Commit}, true)
}

// mergeBase gives one best common ancestor, which is head or base itself
// where one contains the other.
func (r *Repo) mergeBase(ctx context.Context, base, head string) (string, error) {
	out, err := r.git(ctx, "merge-base", base, head)
	if exitOf(err) == 1 {
		return "", bosman.Conflict("%s and %s share no history", bosman.Short(base), bosman.Short(head)).
			WithNext("start the branch from main, or merge main into it with --allow-unrelated-histories")
	}
	return strings.TrimSpace(string(out)), err
}

// mergeTree gives the tree of a clean merge, or the files that conflict.
func (r *Repo) mergeTree(ctx context.Context, base, head string) (tree string, conflicts []string, err error) {
	out, err := r.git(ctx, "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", base, head)
	list := fields(out)
	switch {
	case err == nil && len(list) > 0:
		return list[0], nil, nil
	case exitOf(err) == 1 && len(list) > 0:
		seen := map[string]bool{}
		for _, f := range list[1:] {
			if f != "" && !seen[f] {
				seen[f] = true
				conflicts = append(conflicts, f)
			}
		}
		if len(conflicts) == 0 {
			return "", nil, bosman.Internal("git reports a conflict and names no file")
		}
		return "", conflicts, nil
	case err == nil:
		return "", nil, bosman.Internal("git merge-tree gave no tree")
	}
	return "", nil, err
}

// Commit is what git knows of one commit.
type Commit struct {
	Hash      string
	Tree      string
	Parents   []string
	Author    Signature
	Committer string
	Committed time.Time
	Subject   string
}

// Commit gives one commit.
func (r *Repo) Commit(ctx context.Context, rev string) (Commit, error) {
	hash, err := r.Resolve(ctx, rev)
	if err != nil {
		return Commit{}, err
	}
	list, err := r.commits(ctx, []string{"--no-walk=unsorted", hash})
	if err != nil {
		return Commit{}, err
	}
	return list[0], nil
}

// Log gives the commits of to that from does not contain, newest first, at
// most limit (0: all). from "" gives all of to's history.
func (r *Repo) Log(ctx context.Context, from, to string, limit int) ([]Commit, error) {
	if err := checkRev(to); err != nil {
		return nil, err
	}
	args := []string{}
	if limit > 0 {
		args = append(args, "--max-count="+strconv.Itoa(limit))
	}
	args = append(args, qualify(to))
	if from != "" {
		if err := checkRev(from); err != nil {
			return nil, err
		}
		args = append(args, "^"+qualify(from))
	}
	return r.commits(ctx, args)
}

const commitFields = 9

func (r *Repo) commits(ctx context.Context, args []string) ([]Commit, error) {
	args = append([]string{
		"log", "-z", "--no-color", "--no-show-signature", "--no-decorate", "--encoding=UTF-8",
		"--format=tformat:%H%x00%T%x00%P%x00%an%x00%ae%x00%at%x00%cn%x00%ct%x00%s",
	}, args...)
	out, err := r.git(ctx, append(args, "--")...)
	if exitOf(err) == 128 {
		return nil, bosman.NotFound("%s has no such commit", r.App).Because(err)
	}
	if err != nil {
		return nil, err
	}
	list := strings.Split(string(out), "\x00")
	var commits []Commit
	for ; len(list) >= commitFields; list = list[commitFields:] {
		authored, err1 := strconv.ParseInt(list[5], 10, 64)
		committed, err2 := strconv.ParseInt(list[7], 10, 64)
		if err1 != nil || err2 != nil || !isHash(list[0]) {
			return nil, bosman.Internal("git's log is not understood: %q", list[:commitFields])
		}
		commits = append(commits, Commit{
			Hash: list[0], Tree: list[1], Parents: strings.Fields(list[2]),
			Author:    Signature{Name: list[3], Email: list[4], At: time.Unix(authored, 0).UTC()},
			Committer: list[6], Committed: time.Unix(committed, 0).UTC(), Subject: list[8],
		})
	}
	return commits, nil
}
