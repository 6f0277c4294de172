package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
)

// farewell says where everything is and how to end it.
func (w *world) farewell(ctx context.Context, out io.Writer) error {
	ui := "localhost"
	if w.opt.BaseDomain != "" {
		ui = w.opt.BaseDomain
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nIt goes on running. Look around:\n\n")
	fmt.Fprintf(&b, "  Bosman's pages   http://%s:%d\n", ui, w.opt.Port)
	instances, err := w.client.Instances(ctx, App)
	if err != nil {
		return err
	}
	for _, i := range instances {
		fmt.Fprintf(&b, "  %-16s %s\n", i.Name, i.URL)
	}
	fmt.Fprintf(&b, "\n  log-ins of Bosman   admin / %s\n", w.admin)
	for _, p := range people {
		fmt.Fprintf(&b, "                      %s / %s (%s)\n", p.name, password(p.name), p.role)
	}
	fmt.Fprintf(&b, "  log-ins of RMS      anna / anna on staging and testing, anna / %s on live\n", password("anna"))
	fmt.Fprintf(&b, "\n  command line   export BOSMAN_DATA=%s; %s status\n", w.data(), w.opt.Program)
	fmt.Fprintf(&b, "  its clone      %s, to push from as piotr:\n                 git push http://piotr:%s@127.0.0.1:%d/%s.git BRANCH\n", w.work(), password("piotr"), w.opt.Port, App)
	if w.opt.BaseDomain == "" {
		fmt.Fprintf(&b, "\nFrom another machine: ssh -L %d:localhost:%d THIS-MACHINE, then the addresses above.\nOr begin anew with bosman demo --base-domain DOMAIN, where *.DOMAIN leads to %s,\nor with bosman demo --port-per-instance 9001, where no names are to be had.\n", w.opt.Port, w.opt.Port, outward())
	}
	b.WriteString("\nTo stop it and remove all it made: make demo-clean\n")
	_, err = io.WriteString(out, b.String())
	return err
}

// outward is the address by which other machines may know this one.
func outward() string {
	addrs, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
				return n.IP.String()
			}
		}
	}
	return "192.0.2.1"
}
