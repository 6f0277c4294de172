package serve

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/custody"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/source"
	"github.com/bosman-cd/bosman/store"
	"github.com/bosman-cd/bosman/vault"
)

// keyFiles are the small files that Bosman needs to serve again.
var keyFiles = []string{"secrets.key", "wall.key", "backup.key", custody.SiteFile, custody.RecoveryFile}

// custodian is helm.Custody: the recovery key and the backups of the state.
type custodian struct {
	*custody.Keeper
	key    *custody.Recovery
	vaults *vaults
	data   string
}

// newCustodian ties the parts together; nothing is made yet.
func (s *server) newCustodian() (*custodian, error) {
	key, err := custody.OpenRecovery(s.path(custody.RecoveryFile), s.vaults.keys)
	if err != nil {
		return nil, err
	}
	return &custodian{
		Keeper: custody.New(custody.Config{
			Data: s.opt.Data, Vault: func(ctx context.Context) (*vault.Store, error) { return s.vaults.store(ctx, "") },
			Home: s.vaults.home, Sources: stateSources{s.store, s.repos, s.records}, Files: keyFiles, Version: Version, Flags: flags(s.opt), Log: s.log,
		}),
		key: key, vaults: s.vaults, data: s.opt.Data,
	}, nil
}

// flags are how serve was started, for whoever starts it elsewhere.
func flags(o Options) []string {
	out := []string{}
	add := func(name, value, usual string) {
		if value != usual {
			out = append(out, "--"+name+" "+value)
		}
	}
	add("listen", o.Listen, ":8080")
	add("base-domain", o.BaseDomain, "")
	add("url", o.URL, "")
	add("port-per-instance", fmt.Sprint(o.PortPerInst), "0")
	add("workers", fmt.Sprint(cmp.Or(o.Workers, 2)), "2")
	add("trusted-proxies", strings.Join(o.TrustedProxies, ","), "")
	add("backup-target", o.BackupTarget, "")
	add("point-in-time", fmt.Sprint(o.PointInTime), "0")
	return out
}

// Recovery says how things stand.
func (c *custodian) Recovery(context.Context) (bosman.Recovery, error) {
	return recoveryOf(c.data, c.vaults.home, c.key.Key())
}

// recoveryOf says how things stand in a data folder.
func recoveryOf(data, target string, k custody.Key) (bosman.Recovery, error) {
	st, err := custody.ReadStatus(data)
	if err != nil {
		st.Error, st.FailedAt = "its status cannot be read", time.Now().UTC()
	}
	return bosman.Recovery{
		Target: target, SameDisk: sameDisk(target, data), KeyMade: k.Made, Fingerprint: k.Fingerprint, MadeAt: k.MadeAt, MadeBy: k.MadeBy,
		ConfirmedAt: k.ConfirmedAt, ConfirmedBy: k.ConfirmedBy, StateAt: st.At, StateBytes: st.Bytes, FailedAt: st.FailedAt, Error: st.Error,
	}, nil
}

// sameDisk says whether a target would be lost with the data folder's disk.
func sameDisk(target, data string) bool {
	var a, b unix.Stat_t
	target = strings.TrimPrefix(target, "file://")
	return filepath.IsAbs(target) && unix.Stat(target, &a) == nil && unix.Stat(data, &b) == nil && a.Dev == b.Dev
}

// MakeKey makes the recovery key; a backup of the state for it follows.
func (c *custodian) MakeKey(_ context.Context, by string, renew bool) (string, error) {
	defer c.Wake()
	return c.key.Make(by, renew)
}

// ConfirmKey proves that somebody has the key.
func (c *custodian) ConfirmKey(_ context.Context, by, answer string) error {
	return c.key.Confirm(by, answer)
}

// BackUpState makes a backup of the state now.
func (c *custodian) BackUpState(ctx context.Context) error {
	_, err := c.Backup(ctx)
	return err
}

var _ helm.Custody = (*custodian)(nil)

// keepState backs the state up whenever it is due, and says so loudly when it
// cannot: at the first failure, and then once a day.
func (s *server) keepState(ctx context.Context) error {
	var told time.Time
	return s.custody.Run(ctx, func(_ custody.Status, err error) {
		if err == nil {
			told = time.Time{}
			return
		}
		s.log.Error("Bosman's own state could not be backed up", "err", err)
		if time.Since(told) < 24*time.Hour {
			return
		}
		if err := s.store.AppendEvent(ctx, bosman.Event{Kind: bosman.EventStateUnkept, Subject: bosman.AsError(err).Message, At: time.Now().UTC()}); err != nil {
			s.log.Error("nobody could be told", "err", err)
			return
		}
		told = time.Now()
	})
}

// greetKey shows the recovery key of a new installation, if a person is there
// to see it: it must not end up in a log.
func (s *server) greetKey() error {
	f, ok := s.opt.Stdout.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || s.custody.key.Key().Made {
		return nil
	}
	secret, err := s.custody.MakeKey(context.Background(), firstAdmin, false)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.opt.Stdout, `
The recovery key opens the backups when this server is lost. It is shown only now and kept nowhere:

    %s

Write it down, keep it far from this server, then prove that you have it: bosman recovery confirm

`, secret)
	return err
}

// stateSources is what Bosman's own state consists of: custody.Sources.
type stateSources struct {
	store   *store.Store
	repos   *source.Repos
	records *records
}

// Snapshot copies the rows.
func (s stateSources) Snapshot(ctx context.Context, file string) error {
	return s.store.Snapshot(ctx, file)
}

// Mark says what changed; urgent is what serves people: without the tree of
// its release a backup of live is of little use.
func (s stateSources) Mark(ctx context.Context) (mark, urgent string, err error) {
	if mark, err = s.store.Mark(ctx); err != nil {
		return "", "", err
	}
	all, err := s.store.Instances(ctx, "")
	for _, i := range all {
		if i.Kind == bosman.KindLive && i.Operation == 0 {
			urgent += fmt.Sprintf("%s/%s=%d ", i.App, i.Name, i.Release)
		}
	}
	return mark, urgent, err
}

// Repos are the repositories of all apps.
func (s stateSources) Repos(ctx context.Context) ([]custody.Repo, error) {
	apps, err := s.store.Apps(ctx)
	if err != nil {
		return nil, err
	}
	var out []custody.Repo
	for _, app := range apps {
		repo, err := s.repos.Open(app.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, custody.Repo{
			App: app.Name, Main: app.MainBranch, Digest: repo.Digest,
			Bundle: func(ctx context.Context, digest string, w io.Writer) error { return repo.Bundle(ctx, digest, w) },
		})
	}
	return out, nil
}

// Releases are those of live and staging, and those before: a release can be
// built again only with a network, and what it then holds may differ.
func (s stateSources) Releases(ctx context.Context) ([]custody.Release, error) {
	all, err := s.store.Instances(ctx, "")
	if err != nil {
		return nil, err
	}
	var out []custody.Release
	for _, i := range all {
		if i.Kind != bosman.KindLive && i.Kind != bosman.KindStaging {
			continue
		}
		for _, n := range []int{i.Release, i.Previous} {
			known := slices.ContainsFunc(out, func(r custody.Release) bool { return r.App == i.App && r.Number == n })
			if n == 0 || known {
				continue
			}
			if _, err := s.records.Release(ctx, i.App, n); bosman.KindOf(err) == bosman.KindNotFound {
				continue // pruned
			} else if err != nil {
				return nil, err
			}
			out = append(out, custody.Release{App: i.App, Number: n, Dir: s.records.releases.Dir(i.App, n)})
		}
	}
	return out, nil
}

// missingRoutes tells the edge of instances that serve and that it does not
// know: after the server was lost, or its file was.
func (s *server) missingRoutes(ctx context.Context) error {
	routed, err := s.edge.Routes(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, r := range routed {
		known[r.App+"/"+r.Instance] = true
	}
	all, err := s.store.Instances(ctx, "")
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Release == 0 || i.ProcessID == "" || i.Operation != 0 || known[i.App+"/"+i.Name] {
			continue
		}
		if err := s.routeAgain(ctx, i); err != nil {
			s.log.Error("an instance has no route and cannot be given one", "app", i.App, "instance", i.Name, "err", err)
			continue
		}
		s.log.Warn("the edge did not know an instance, and knows it again", "app", i.App, "instance", i.Name)
	}
	return nil
}

func (s *server) routeAgain(ctx context.Context, i bosman.Instance) error {
	fence, err := s.store.Next(ctx, i.App+"/"+i.Name, store.LetterFence)
	if err != nil {
		return err
	}
	if i.Stopped { // or asleep
		return s.routes.Close(ctx, i, fence, i.Note)
	}
	return s.routes.Switch(ctx, deploy.Launch{Instance: i, Release: i.Release, ID: i.ProcessID, Part: deploy.PartWeb, Fence: fence})
}
