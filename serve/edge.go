package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge"
	"github.com/bosman-cd/bosman/instance/runtime"
	"github.com/bosman-cd/bosman/instance/runtime/process"
	"github.com/bosman-cd/bosman/internal/atomicfile"
)

// edgeSpec says how the edge runs: under a shim that holds its sockets.
func (s *server) edgeSpec() (runtime.Spec, error) {
	cfg := edge.Config{
		Control: s.path("run", "edge.sock"), Routes: s.path("edge.json"), WallKey: s.path("wall.key"),
		UI: edge.UI{Hosts: s.addresses.hosts(), Upstream: "unix:" + s.path("run", "serve.sock"), URL: s.addresses.Page("/")},
	}
	host, port, err := net.SplitHostPort(s.opt.Listen)
	if err != nil {
		return runtime.Spec{}, bosman.Invalid("--listen %q is not an address", s.opt.Listen).WithNext("write it as :8080 or 127.0.0.1:8080")
	}
	if cfg.PortHost = host; host == "" {
		cfg.PortHost = "0.0.0.0"
	}
	for _, text := range s.opt.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, aerr := netip.ParseAddr(text)
			if aerr != nil {
				return runtime.Spec{}, bosman.Invalid("--trusted-proxies %q is not an address", text).WithNext("write it as 10.0.0.5 or 10.0.0.0/24")
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		cfg.TrustedProxies = append(cfg.TrustedProxies, p)
	}
	data, err := json.Marshal(cfg)
	if err != nil {
		return runtime.Spec{}, err
	}
	file := s.path("run", "edge-config.json")
	if was, err := os.ReadFile(file); err != nil || !bytes.Equal(was, data) { // a full disk must not keep the edge down
		if err := atomicfile.Write(file, data, 0o600); err != nil {
			return runtime.Spec{}, bosman.Unavailable("the edge's configuration cannot be written").Because(err)
		}
	}
	spec := runtime.Spec{
		ID: "edge", RunDir: s.path("run", "edge"), LogDir: s.path("run", "edge-log"), Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"},
		Listen:    []string{"tcp:" + net.JoinHostPort(host, port)},
		Processes: []runtime.Process{{Name: "edge", Argv: []string{s.opt.Program, "edge", file}, StopTimeout: time.Minute}},
	}
	for _, dir := range []string{spec.RunDir, spec.LogDir} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return spec, bosman.Unavailable("the edge's folders cannot be made").Because(err)
		}
	}
	return spec, nil
}

func (s *server) edgeDriver() (*process.Driver, error) {
	return process.New(process.Options{Program: s.opt.Program, RunGlob: s.path("run", "*")})
}

// startEdge starts the edge, or finds it running from before.
func (s *server) startEdge(ctx context.Context) error {
	spec, err := s.edgeSpec()
	if err != nil {
		return err
	}
	d, err := s.edgeDriver()
	if err != nil {
		return err
	}
	if _, err := d.Start(ctx, spec); err != nil {
		return bosman.Unavailable("the edge cannot listen on %s", s.opt.Listen).WithKept("nothing was started").
			WithNext("look who uses that port (ss -ltnp), or choose another with --listen").Because(err)
	}
	if _, err := s.edge.Routes(ctx); err != nil {
		return bosman.Unavailable("the edge does not answer").WithNext("read its log: " + spec.LogFile()).Because(err)
	}
	return nil
}

// watchEdge sees that the edge keeps its shim.
func (s *server) watchEdge(ctx context.Context) error {
	d, err := s.edgeDriver()
	if err != nil {
		return err
	}
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		spec, err := s.edgeSpec()
		if err == nil {
			_, err = d.Start(ctx, spec)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("the edge cannot be kept running", "err", err)
		}
	}
}

// StopAll stops the edge, all instances and the database servers of a data
// folder that no bosman serve uses: for tests and the demo's end.
func StopAll(ctx context.Context, data, program string) error {
	s := &server{opt: Options{Data: data, Program: program}}
	d, err := process.New(process.Options{Program: program, RunGlob: s.path("instances", "*", "*", "run", "*")})
	if err != nil {
		return err
	}
	e, err := s.edgeDriver()
	if err != nil {
		return err
	}
	for _, driver := range []*process.Driver{e, d} {
		all, err := driver.List(ctx)
		if err != nil {
			return err
		}
		for _, h := range all {
			if err := driver.Stop(ctx, h, 5*time.Second); err != nil {
				return err
			}
		}
	}
	return newDatabases(data, nil, nil).stop(ctx)
}
