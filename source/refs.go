package source

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// Zero is the object name that stands for "no object" in a RefUpdate.
const Zero = "0000000000000000000000000000000000000000"

// RefUpdate is one ref that a push moves, makes (Old is zero) or deletes (New
// is zero). Old and New are full object names.
type RefUpdate struct {
	Ref      string // refs/heads/feature
	Old, New string
	Forced   bool // New does not contain Old: history is rewritten
}

// Branch is the branch's name, "" for a tag.
func (u RefUpdate) Branch() string { return after(u.Ref, headsPrefix) }

// Tag is the tag's name, "" for a branch.
func (u RefUpdate) Tag() string { return after(u.Ref, tagsPrefix) }

// Created says that there was no such ref before.
func (u RefUpdate) Created() bool { return isZero(u.Old) }

// Deleted says that the ref goes away.
func (u RefUpdate) Deleted() bool { return isZero(u.New) }

func after(s, prefix string) string {
	if t, ok := strings.CutPrefix(s, prefix); ok {
		return t
	}
	return ""
}

func (r *Repo) checkBranch(ctx context.Context, name string) error {
	if !strings.HasPrefix(name, "-") && name != "HEAD" {
		plain := &Repo{App: r.App, bin: r.bin}
		_, err := plain.git(ctx, "check-ref-format", headsPrefix+name)
		if err == nil {
			return nil
		}
		if exitOf(err) < 0 {
			return err
		}
	}
	return bosman.Invalid("%q cannot name a branch", name).WithNext("use letters, digits, dots, dashes and slashes")
}

// MainBranch is the branch that HEAD names.
func (r *Repo) MainBranch(ctx context.Context) (string, error) {
	out, err := r.git(ctx, "symbolic-ref", "HEAD")
	return after(strings.TrimSpace(string(out)), headsPrefix), err
}

// Heads gives all branches and their commits: what the reconciler compares
// with the changes at start.
func (r *Repo) Heads(ctx context.Context) (map[string]string, error) {
	return r.refs(ctx, headsPrefix)
}

// Tags gives all tags and the commits they stand for.
func (r *Repo) Tags(ctx context.Context) (map[string]string, error) {
	return r.refs(ctx, tagsPrefix)
}

// Merges gives the merge results that are kept.
func (r *Repo) Merges(ctx context.Context) ([]string, error) {
	refs, err := r.refs(ctx, mergePrefix)
	var list []string
	for commit := range refs {
		list = append(list, commit)
	}
	return list, err
}

// Pulls gives the pull requests fetched by Mirror: number and head.
func (r *Repo) Pulls(ctx context.Context) (map[string]string, error) {
	return r.refs(ctx, pullPrefix)
}

func (r *Repo) refs(ctx context.Context, prefix string) (map[string]string, error) {
	out, err := r.git(ctx, "for-each-ref", "--format=%(objectname) %(*objectname) %(refname)", prefix)
	if err != nil {
		return nil, err
	}
	refs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if len(parts) != 3 {
			return nil, bosman.Internal("git's list of refs is not understood: %q", line)
		}
		hash := parts[0]
		if parts[1] != "" {
			hash = parts[1] // an annotated tag stands for its commit
		}
		refs[strings.TrimPrefix(parts[2], prefix)] = hash
	}
	return refs, nil
}

// rawRefs gives branches and tags with the objects they name: for an
// annotated tag the tag object, as pushes do.
func (r *Repo) rawRefs(ctx context.Context) (map[string]string, error) {
	out, err := r.git(ctx, "for-each-ref", "--format=%(objectname) %(refname)", headsPrefix, tagsPrefix)
	refs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		hash, ref, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		refs[ref] = hash
	}
	return refs, err
}

// Resolve gives the commit a branch, tag or (abbreviated) hash stands for, in
// this order. All other methods take branches, full refs and full hashes.
func (r *Repo) Resolve(ctx context.Context, rev string) (string, error) {
	return r.resolve(ctx, rev, "commit")
}

// TreeOf gives the tree of a commit.
func (r *Repo) TreeOf(ctx context.Context, rev string) (string, error) {
	return r.resolve(ctx, rev, "tree")
}

func (r *Repo) resolve(ctx context.Context, rev, kind string) (string, error) {
	if err := checkRev(rev); err != nil {
		return "", err
	}
	out, err := r.verify(ctx, qualify(rev), kind)
	for _, other := range []string{tagsPrefix + rev, rev} {
		if exitOf(err) > 0 && qualify(rev) != rev {
			out, err = r.verify(ctx, other, kind)
		}
	}
	if exitOf(err) > 0 {
		return "", bosman.NotFound("%s has no %s %s", r.App, kind, bosman.Short(rev)).Because(err)
	}
	return strings.TrimSpace(string(out)), err
}

func (r *Repo) verify(ctx context.Context, rev, kind string) ([]byte, error) {
	return r.git(ctx, "rev-parse", "--quiet", "--verify", "--end-of-options", rev+"^{"+kind+"}")
}

// IsAncestor says whether commit is contained in of; a commit contains itself.
func (r *Repo) IsAncestor(ctx context.Context, commit, of string) (bool, error) {
	if err := checkRev(commit, of); err != nil {
		return false, err
	}
	_, err := r.git(ctx, "merge-base", "--is-ancestor", qualify(commit), qualify(of))
	switch exitOf(err) {
	case 1:
		return false, nil
	case 128:
		return false, bosman.NotFound("%s has no commit %s or %s", r.App, bosman.Short(commit), bosman.Short(of)).Because(err)
	}
	return err == nil, err
}

// MoveMain moves the main branch from old to commit, and only if it is still
// at old (old "" means that there is no main yet); otherwise KindConflict.
func (r *Repo) MoveMain(ctx context.Context, commit, old string) error {
	name, err := r.MainBranch(ctx)
	if err != nil {
		return err
	}
	return r.Move(ctx, name, commit, old)
}

// Move moves a branch from old ("" if new) to commit ("" deletes it), if it
// is still at old; otherwise KindConflict.
func (r *Repo) Move(ctx context.Context, branch, commit, old string) error {
	if err := r.checkBranch(ctx, branch); err != nil {
		return err
	}
	if commit == "" {
		commit = Zero
	}
	if old == "" {
		old = Zero
	}
	if !isHash(commit) || !isHash(old) {
		return bosman.Invalid("branches move between full commit hashes only, not from %q to %q", old, commit)
	}
	ref := headsPrefix + branch
	in := fmt.Sprintf("update %s\x00%s\x00%s\x00", ref, commit, old)
	if isZero(commit) {
		in = fmt.Sprintf("delete %s\x00%s\x00", ref, old)
	}
	_, err := r.run(ctx, call{args: []string{"update-ref", "-m", "bosman: moved", "-z", "--stdin"}, stdin: strings.NewReader(in)})
	if exitOf(err) < 0 {
		return err
	}
	now, rerr := r.git(ctx, "for-each-ref", "--format=%(objectname)", ref)
	if rerr != nil {
		return rerr
	}
	at := strings.TrimSpace(string(now))
	switch {
	case at == commit || at == "" && isZero(commit):
		return nil // the same move was made before a crash
	case at == old || at == "" && isZero(old):
		return err // git could not write
	}
	return bosman.Conflict("%s moved meanwhile: it is at %s, not at %s", branch, shortOr(at), shortOr(old)).
		Because(err).WithKept("nothing was changed").WithNext("build the change on the new " + branch + " and merge again")
}

func shortOr(hash string) string {
	if hash == "" || isZero(hash) {
		return "nothing"
	}
	return bosman.Short(hash)
}

// Signature is who made a commit or tag, and when (seconds count).
type Signature struct {
	Name  string
	Email string
	At    time.Time
}

func (s Signature) env(role string) []string {
	clean := strings.NewReplacer("\n", " ", "<", "", ">", "", "\x00", "")
	name, email := clean.Replace(s.Name), clean.Replace(s.Email)
	if strings.Trim(name, " .,:;\"'\\") == "" {
		name = "Bosman"
	}
	return []string{
		"GIT_" + role + "_NAME=" + name,
		"GIT_" + role + "_EMAIL=" + email,
		fmt.Sprintf("GIT_%s_DATE=@%d +0000", role, s.At.Unix()),
	}
}

// Tag makes an annotated tag. One that already stands for the commit is left
// as it is; one that stands for another is KindConflict.
func (r *Repo) Tag(ctx context.Context, name, commit, message string, by Signature) error {
	plain := &Repo{App: r.App, bin: r.bin}
	if _, err := plain.git(ctx, "check-ref-format", tagsPrefix+name); err != nil || strings.HasPrefix(name, "-") {
		return bosman.Invalid("%q cannot name a tag", name)
	}
	if !isHash(commit) {
		return bosman.Invalid("a tag needs a full commit hash, not %q", commit)
	}
	_, err := r.run(ctx, call{
		args:  []string{"tag", "--annotate", "--no-sign", "--cleanup=verbatim", "--file=-", "--", name, commit},
		stdin: strings.NewReader(strings.TrimSpace(message) + "\n"),
		env:   by.env("COMMITTER"),
	})
	if exitOf(err) < 0 {
		return err
	}
	at, rerr := r.Resolve(ctx, tagsPrefix+name)
	switch {
	case rerr != nil:
		return err // git could not write
	case at == commit:
		return nil
	}
	return bosman.Conflict("the tag %s already stands for %s", name, bosman.Short(at)).
		Because(err).WithKept("it was left as it is").WithNext("choose another name")
}

// Keep protects commits from being pruned, also when no branch holds them any
// more: the commits of releases.
func (r *Repo) Keep(ctx context.Context, commits ...string) error {
	return r.setHidden(ctx, keepPrefix, commits, true)
}

// Forget takes away what Keep and Merge protect; commits that nothing else
// holds are pruned some time later.
func (r *Repo) Forget(ctx context.Context, commits ...string) error {
	if err := r.setHidden(ctx, keepPrefix, commits, false); err != nil {
		return err
	}
	return r.setHidden(ctx, mergePrefix, commits, false)
}

func (r *Repo) setHidden(ctx context.Context, prefix string, commits []string, on bool) error {
	var in strings.Builder
	for _, c := range commits {
		if !isHash(c) {
			return bosman.Invalid("a full commit hash is needed, not %q", c)
		}
		if on {
			fmt.Fprintf(&in, "update %s%s\x00%s\x00\x00", prefix, c, c)
		} else {
			fmt.Fprintf(&in, "delete %s%s\x00\x00", prefix, c)
		}
	}
	if in.Len() == 0 {
		return nil
	}
	_, err := r.run(ctx, call{args: []string{"update-ref", "-z", "--stdin"}, stdin: strings.NewReader(in.String())})
	return err
}
