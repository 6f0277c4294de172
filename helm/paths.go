package helm

import (
	"context"
	"fmt"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/manifest"
)

// spareDepth is how many commits back a release is looked for that may do for
// a commit which changes nothing of the app.
const spareDepth = 50

// spare makes a build green at once where the commit differs from a release of
// main in no file that paths of its bosman.yaml names; from is where on main
// to look for that release. What cannot be told is built.
func (h *Helm) spare(ctx context.Context, b *bosman.Build, from string) error {
	if from == "" {
		return nil
	}
	repo, err := h.Repos.Open(b.App)
	if err != nil {
		return err
	}
	data, err := repo.ReadFile(ctx, b.Commit, bosman.ManifestFile)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil // the build says what is missing
	}
	if err != nil {
		return err
	}
	m, err := manifest.Parse(data, bosman.ManifestFile)
	if err != nil || len(m.Paths) == 0 {
		return nil //nolint:nilerr // the build says what is wrong with it
	}
	r, err := h.mainRelease(ctx, b.App, from)
	if err != nil || r.Number == 0 || r.Commit == b.Commit {
		return err
	}
	changed, err := repo.Differences(ctx, r.Commit, b.Commit)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range changed {
		if m.Matters(f.Path) {
			return nil
		}
	}
	b.State, b.Release, b.Reused = bosman.BuildGreen, r.Number, true
	b.Reason = fmt.Sprintf("nothing of this app changed; %s stays", releaseRef(r.Number))
	return nil
}

// mainRelease is the release of the newest green build among a commit of main
// and those before it; zero if there is none that may be deployed.
func (h *Helm) mainRelease(ctx context.Context, app, from string) (bosman.Release, error) {
	repo, err := h.Repos.Open(app)
	if err != nil {
		return bosman.Release{}, err
	}
	commits, err := repo.Log(ctx, "", from, spareDepth)
	if err != nil {
		return bosman.Release{}, err
	}
	for _, c := range commits {
		b, err := h.Store.BuildOfCommit(ctx, app, c.Hash)
		if bosman.KindOf(err) == bosman.KindNotFound || err == nil && (b.State != bosman.BuildGreen || b.Release == 0) {
			continue
		}
		if err != nil {
			return bosman.Release{}, err
		}
		r, err := h.Store.Release(ctx, app, b.Release)
		if err != nil || r.Tests != bosman.TestsGreen || r.Bad != "" || r.Trust != bosman.TrustTeam || !r.PrunedAt.IsZero() {
			return bosman.Release{}, err
		}
		return r, nil
	}
	return bosman.Release{}, nil
}
