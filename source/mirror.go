package source

import (
	"context"
	"net/url"
	"sort"
	"strings"

	"github.com/bosman-cd/bosman"
)

const pullPrefix = "refs/bosman/pull/"

// Remote is a repository elsewhere. URL holds no password: Authorization, if
// any, is sent as that header ("Basic …", "Bearer …") and never appears on a
// command line or in the repository.
type Remote struct {
	URL           string
	Authorization string
	Pulls         bool // fetch refs/pull/N/head too, see Pulls
}

// Mirror makes branches and tags equal to those of the remote and gives the
// refs that moved, in order. Forced is not judged.
func (r *Repo) Mirror(ctx context.Context, from Remote) ([]RefUpdate, error) {
	env, err := from.env()
	if err != nil {
		return nil, err
	}
	before, err := r.teamRefs(ctx)
	if err != nil {
		return nil, err
	}
	args := []string{
		"fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--atomic",
		"--no-recurse-submodules", "--", from.URL, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*",
	}
	if from.Pulls {
		args = append(args, "+refs/pull/*/head:"+pullPrefix+"*")
	}
	if _, err := r.run(ctx, call{args: args, env: env}); err != nil {
		return nil, from.failed("fetched", err)
	}
	after, err := r.teamRefs(ctx)
	if err != nil {
		return nil, err
	}
	return refDiff(before, after), nil
}

// Push writes a branch or tag of ours to the remote: commit to ref, which
// must still be at old there ("" if it is new), else KindConflict.
func (r *Repo) Push(ctx context.Context, to Remote, commit, ref, old string) error {
	env, err := to.env()
	if err != nil {
		return err
	}
	if !isHash(commit) || !strings.HasPrefix(ref, "refs/") || old != "" && !isHash(old) {
		return bosman.Invalid("%s cannot be pushed to %s", commit, ref)
	}
	_, err = r.run(ctx, call{env: env, args: []string{
		"push", "--quiet", "--no-verify", "--force-with-lease=" + ref + ":" + old, "--", to.URL, commit + ":" + ref,
	}})
	if exitOf(err) == 1 {
		return bosman.Conflict("%s moved at %s meanwhile", ref, to.host()).Because(err).
			WithKept("nothing was pushed").WithNext("fetch it and merge again")
	}
	if err != nil {
		return to.failed("pushed to", err)
	}
	return nil
}

func (m Remote) env() ([]string, error) {
	u, err := url.Parse(m.URL)
	local := err == nil && (u.Scheme == "file" || u.Scheme == "" && strings.HasPrefix(m.URL, "/"))
	if err != nil || !local && u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "ssh" && u.Scheme != "git" {
		return nil, bosman.Invalid("the address of the repository is not understood").
			WithNext("write it as https://host/owner/name.git or ssh://git@host/owner/name.git")
	}
	if _, secret := u.User.Password(); secret {
		return nil, bosman.Invalid("the address of the repository holds a password").WithNext("give the token apart from the address")
	}
	env := []string{"GIT_SSH_COMMAND=ssh -o BatchMode=yes"}
	if m.Authorization != "" {
		if strings.ContainsAny(m.Authorization, "\r\n\x00") {
			return nil, bosman.Invalid("the credentials hold a line break")
		}
		// follows the variables of baseEnv; the last GIT_CONFIG_COUNT counts
		env = append(env, "GIT_CONFIG_COUNT=3",
			"GIT_CONFIG_KEY_1=http.extraHeader", "GIT_CONFIG_VALUE_1=Authorization: "+m.Authorization,
			"GIT_CONFIG_KEY_2=http.followRedirects", "GIT_CONFIG_VALUE_2=false")
	}
	return env, nil
}

func (m Remote) host() string {
	if u, err := url.Parse(m.URL); err == nil && u.Host != "" {
		return u.Host
	}
	return "the other side"
}

func (m Remote) failed(verb string, err error) error {
	return bosman.Unavailable("%s could not be %s", m.host(), verb).Because(err).
		WithKept("our repository is as it was").WithNext("check the address, the credentials and the network, then try again")
}

func (r *Repo) teamRefs(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	for _, prefix := range []string{headsPrefix, tagsPrefix, pullPrefix} {
		refs, err := r.refs(ctx, prefix)
		if err != nil {
			return nil, err
		}
		for name, hash := range refs {
			all[prefix+name] = hash
		}
	}
	return all, nil
}

func refDiff(before, after map[string]string) []RefUpdate {
	var moved []RefUpdate
	for ref, now := range after {
		if was := before[ref]; was != now {
			moved = append(moved, RefUpdate{Ref: ref, Old: orZero(was), New: now})
		}
	}
	for ref, was := range before {
		if _, still := after[ref]; !still {
			moved = append(moved, RefUpdate{Ref: ref, Old: was, New: Zero})
		}
	}
	sort.Slice(moved, func(i, j int) bool { return moved[i].Ref < moved[j].Ref })
	return moved
}

func orZero(hash string) string {
	if hash == "" {
		return Zero
	}
	return hash
}
