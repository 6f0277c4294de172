package serve

import (
	"context"
	"path/filepath"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/instance"
	"github.com/bosman-cd/bosman/store"
)

// routes tells the edge where the requests for instances go: deploy.Routes.
type routes struct {
	instances *instances
	edge      *control.Client
}

func upstream(network, address string) string {
	if network == "unix" {
		return "unix:" + address
	}
	return "tcp:" + address
}

// Switch routes the instance to the processes of l.
func (r *routes) Switch(ctx context.Context, l deploy.Launch) error {
	s, o, rel, err := r.instances.spec(ctx, l)
	if err != nil {
		return err
	}
	policy, err := r.instances.helm.Policy(ctx, l.Instance.App, l.Instance.Kind)
	if err != nil {
		return err
	}
	hosts, _ := r.instances.addresses.names(l.Instance, policy.Domains)
	route := control.Route{
		App: l.Instance.App, Instance: l.Instance.Name, Kind: l.Instance.Kind, Hosts: hosts, Ports: r.ports(l.Instance),
		Upstream: upstream(instance.Target(s)), Release: rel.Number, Commit: rel.Commit, Operation: l.Fence,
		Wall: l.Instance.Kind != bosman.KindLive, NoIndex: l.Instance.Kind != bosman.KindLive, Health: o.Manifest.Health,
		Static: map[string][]string{}, Private: map[string]string{},
	}
	if route.Static, err = r.static(ctx, l, o.Manifest, rel); err != nil {
		return err
	}
	for _, d := range o.Manifest.Data {
		route.Private["/"+filepath.Clean(d)+"/"] = instance.DataDir(o.Dir, d)
	}
	return r.edge.Put(ctx, route)
}

// static gives the folders of static files: the release's own, then those of
// the release before, so that old pages find their assets.
func (r *routes) static(ctx context.Context, l deploy.Launch, m *bosman.Manifest, rel bosman.Release) (map[string][]string, error) {
	out := map[string][]string{}
	for prefix, folder := range m.Static {
		dir, err := r.staticDir(rel, l.Instance.Kind, folder)
		if err != nil {
			return nil, err
		}
		out[prefix] = []string{dir}
	}
	before := l.Instance.Release
	if before == rel.Number {
		before = l.Instance.Previous
	}
	if before == 0 || before == rel.Number {
		return out, nil
	}
	old, err := r.instances.records.Release(ctx, l.Instance.App, before)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	was, err := r.instances.records.releases.Manifest(old)
	if err != nil {
		return nil, err
	}
	for prefix, folder := range was.Static {
		if _, still := out[prefix]; !still {
			continue
		}
		dir, err := r.staticDir(old, l.Instance.Kind, folder)
		if err != nil {
			return nil, err
		}
		out[prefix] = append(out[prefix], dir)
	}
	return out, nil
}

// staticDir is where a release keeps a folder, in the variant of the kind.
func (r *routes) staticDir(rel bosman.Release, kind bosman.InstanceKind, folder string) (string, error) {
	mounts, err := r.instances.records.releases.Mounts(rel, kind.AssetVariant())
	if err != nil {
		return "", err
	}
	want := filepath.Clean(folder)
	for target, host := range mounts {
		if filepath.Clean(target) == want {
			return host, nil
		}
	}
	return filepath.Join(r.instances.records.releases.Tree(rel.App, rel.Number), want), nil
}

// ports gives the port of an instance where it has one of its own.
func (r *routes) ports(i bosman.Instance) []int {
	a := r.instances.addresses
	if a.ports == 0 {
		return nil
	}
	return []int{a.portOf(i.UID - helm.FirstUID)}
}

// Close routes the instance to a page that says why it is stopped, or, while it
// sleeps, to what wakes it.
func (r *routes) Close(ctx context.Context, i bosman.Instance, fence int, why string) error {
	policy, err := r.instances.helm.Policy(ctx, i.App, i.Kind)
	if err != nil {
		return err
	}
	hosts, _ := r.instances.addresses.names(i, policy.Domains)
	route := control.Route{App: i.App, Instance: i.Name, Kind: i.Kind, Hosts: hosts, Ports: r.ports(i), Stopped: why, Release: i.Release, Operation: fence, NoIndex: i.Kind != bosman.KindLive}
	if i.Asleep {
		route.Upstream, route.Wall = "unix:"+wakeSocket(r.instances.data), true
	}
	return r.edge.Put(ctx, route)
}

// Current tells the route in effect.
func (r *routes) Current(ctx context.Context, i bosman.Instance) (deploy.Routed, error) {
	all, err := r.edge.Routes(ctx)
	if err != nil {
		return deploy.Routed{}, err
	}
	for _, route := range all {
		if route.App == i.App && route.Instance == i.Name {
			out := deploy.Routed{Fence: route.Operation, Release: route.Release}
			if route.Upstream != "" {
				out.ID, err = r.setOf(ctx, i, route.Upstream)
			}
			return out, err
		}
	}
	return deploy.Routed{}, nil
}

// setOf finds the process set that answers at an upstream; "" where none does.
func (r *routes) setOf(ctx context.Context, i bosman.Instance, at string) (string, error) {
	running, err := r.instances.Running(ctx, i)
	if err != nil {
		return "", err
	}
	for _, id := range append(running, i.ProcessID) {
		if id == "" {
			continue
		}
		up, err := r.upstreamOf(ctx, i, id)
		if bosman.KindOf(err) == bosman.KindNotFound {
			continue // its operation or release is gone
		}
		if err != nil {
			return "", err
		}
		if up == at {
			return id, nil
		}
	}
	return "", nil
}

// upstreamOf is where a process set of the instance answers.
func (r *routes) upstreamOf(ctx context.Context, i bosman.Instance, id string) (string, error) {
	release := i.Release
	if n, _, ok := deploy.ParseSetID(i, id); ok {
		op, err := r.instances.records.Operation(ctx, i.App, n)
		if err != nil {
			return "", err
		}
		release = op.Release
	}
	return r.instances.target(ctx, deploy.Launch{Instance: i, Release: release, ID: id, Part: deploy.PartWeb})
}

// drainLimit bounds how long requests in flight may hold up a switch.
const drainLimit = 30 * time.Second

// Drain waits until no request is in flight to a set that is not routed.
func (r *routes) Drain(ctx context.Context, i bosman.Instance, id string) error {
	up, err := r.upstreamOf(ctx, i, id)
	if err != nil {
		return err
	}
	_, err = r.edge.Drain(ctx, i.App, i.Name, up, drainLimit)
	if kind := bosman.KindOf(err); kind == bosman.KindNotFound {
		return nil // the edge never heard of it
	}
	return err
}

// delete takes an instance off the edge.
func (r *routes) delete(ctx context.Context, i bosman.Instance) error {
	fence, err := r.instances.records.store.Next(ctx, i.App+"/"+i.Name, store.LetterFence)
	if err != nil {
		return err
	}
	return r.edge.Delete(ctx, i.App, i.Name, fence)
}
