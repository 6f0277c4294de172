package serve

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman"
)

// addresses says where things are reached.
type addresses struct {
	base   string // "" for *.localhost
	scheme string
	port   int // of the edge; shown unless it is the scheme's own
	listen string
	ports  int // the first port of instances with one of their own; 0: by host name
}

// newAddresses reads --listen, --base-domain and --url.
func newAddresses(listen, base, public string) (*addresses, error) {
	a := &addresses{base: base, scheme: "http", listen: listen}
	_, port, err := net.SplitHostPort(listen)
	if err == nil {
		a.port, err = strconv.Atoi(port)
	}
	if err != nil || a.port <= 0 {
		return nil, bosman.Invalid("--listen %q is not an address", listen).WithNext("write it as :8080 or 127.0.0.1:8080")
	}
	if public != "" {
		u, err := url.Parse(public)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return nil, bosman.Invalid("--url %q is not an address", public).WithNext("write it as https://bosman.example.org")
		}
		a.scheme, a.base = u.Scheme, u.Hostname()
		a.port = map[string]int{"http": 80, "https": 443}[u.Scheme]
		if p := u.Port(); p != "" {
			if a.port, err = strconv.Atoi(p); err != nil {
				return nil, bosman.Invalid("--url %q has an odd port", public)
			}
		}
	}
	return a, nil
}

func (a *addresses) host(h string) string {
	if a.scheme == "http" && a.port == 80 || a.scheme == "https" && a.port == 443 {
		return h
	}
	return fmt.Sprintf("%s:%d", h, a.port)
}

// ui is the host name of Bosman's own pages.
func (a *addresses) ui() string {
	if a.base == "" {
		return "localhost"
	}
	return a.base
}

// Page is the address of one of Bosman's pages.
func (a *addresses) Page(path string) string { return a.scheme + "://" + a.host(a.ui()) + path }

// hosts are the host names of Bosman's own pages.
func (a *addresses) hosts() []string { return []string{a.ui(), "localhost", "127.0.0.1", "::1"} }

// instanceHost is the host name an instance always answers to.
func (a *addresses) instanceHost(app, instance string) string {
	if a.base == "" {
		return instance + "." + app + ".localhost"
	}
	return instance + "-" + app + "." + a.base
}

// Instance is the address shown for an instance: its own port, or its host
// name. number is its own among all instances, from 1.
func (a *addresses) Instance(app, instance string, number int) string {
	if a.ports != 0 {
		return fmt.Sprintf("http://%s:%d", a.ui(), a.portOf(number))
	}
	return a.scheme + "://" + a.host(a.instanceHost(app, instance))
}

// portOf is the port of an instance that has one of its own.
func (a *addresses) portOf(number int) int { return a.ports + number - 1 }

// names gives the host names an instance answers to and the addresses its
// pages may be sent from.
func (a *addresses) names(i bosman.Instance, domains []string) (hosts, origins []string) {
	hosts = append(hosts, a.instanceHost(i.App, i.Name))
	if i.Kind == bosman.KindLive || i.Kind == bosman.KindStaging {
		hosts = append(hosts, domains...)
	}
	for _, h := range hosts {
		origins = append(origins, a.scheme+"://"+a.host(h))
		if a.scheme == "http" {
			origins = append(origins, "https://"+h)
		}
	}
	return hosts, origins
}

// allowed are all host names an instance may be asked by: with a port of its
// own, any name of this host.
func (a *addresses) allowed(hosts []string) []string {
	if a.ports == 0 {
		return hosts
	}
	return append(slices.Clone(hosts), "*")
}

// intake is where machines on this host reach Bosman: they do not resolve
// *.localhost, so by address.
func (a *addresses) intake() string {
	_, port, err := net.SplitHostPort(a.listen)
	if err != nil {
		port = strconv.Itoa(a.port)
	}
	return "http://127.0.0.1:" + strings.TrimPrefix(port, ":")
}
