package demo

import (
	"fmt"
	"io"
	"net"
	"strings"
)

// farewell says where everything is and how to end it.
func (w *world) farewell(out io.Writer) error {
	ui := "localhost"
	if w.opt.BaseDomain != "" {
		ui = w.opt.BaseDomain
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nIt goes on running. Look around:\n\n")
	fmt.Fprintf(&b, "  Bosman's pages   http://%s:%d\n", ui, w.opt.Port)
	for _, name := range []string{"live", "staging", "testing-anna", "testing-maria"} {
		fmt.Fprintf(&b, "  %-16s %s\n", name, w.url(name))
	}
	fmt.Fprintf(&b, "\n  log-ins of Bosman   admin / %s\n", w.admin)
	for _, p := range people {
		fmt.Fprintf(&b, "                      %s / %s (%s)\n", p.name, password(p.name), p.role)
	}
	fmt.Fprintf(&b, "  log-ins of RMS      anna / anna on staging and testing, anna / %s on live\n", password("anna"))
	fmt.Fprintf(&b, "\n  command line   export BOSMAN_DATA=%s; %s status\n", w.data(), w.opt.Program)
	fmt.Fprintf(&b, "  its clone      %s, to push from as piotr:\n                 git push http://piotr:%s@127.0.0.1:%d/%s.git BRANCH\n", w.work(), password("piotr"), w.opt.Port, App)
	if w.opt.BaseDomain == "" {
		ip := outward()
		fmt.Fprintf(&b, "\nFrom another machine: make demo-clean, then bosman demo --base-domain %s.sslip.io\n(or a domain of yours whose names lead here), or --port-per-instance 9001.\nWith ssh: ssh -L %d:localhost:%d THIS-MACHINE, then the addresses above.\n", strings.ReplaceAll(ip, ".", "-"), w.opt.Port, w.opt.Port)
	}
	b.WriteString("\nTo stop it and remove all it made: make demo-clean\n")
	_, err := io.WriteString(out, b.String())
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
