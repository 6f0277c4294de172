package process

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// maxOutside is how many addresses and names are kept.
const maxOutside = 50

// outside gathers from packets what connections were asked for and not
// answered, and which names were looked up.
type outside struct {
	tried []string
	here  []string // answered: the command serves them itself
}

// packet reads an IPv4 or IPv6 packet; others, and what is cut, say nothing.
func (o *outside) packet(b []byte) {
	if len(b) == 0 {
		return
	}
	var from, to netip.Addr
	var protocol byte
	switch b[0] >> 4 {
	case 4: // RFC 791
		head := int(b[0]&15) * 4
		if len(b) < 20 || head < 20 || len(b) < head || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return
		}
		from, to, protocol = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[9]
		b = b[head:]
	case 6: // RFC 8200; extension headers come with no packet that matters
		if len(b) < 40 {
			return
		}
		from, to, protocol = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[6]
		b = b[40:]
	default:
		return
	}
	const tcp, udp = 6, 17
	switch {
	case protocol == tcp && len(b) >= 14:
		const syn, ack = 2, 16
		switch b[13] & (syn | ack) {
		case syn:
			o.add(net.JoinHostPort(to.String(), port(b[2:])))
		case syn | ack:
			if place := net.JoinHostPort(from.String(), port(b)); !slices.Contains(o.here, place) && len(o.here) < maxOutside {
				o.here = append(o.here, place)
			}
		}
	case protocol == udp && len(b) >= 8 && binary.BigEndian.Uint16(b[2:]) == 53:
		if name := question(b[8:]); name != "" {
			o.add(name)
		}
	}
}

func (o *outside) add(what string) {
	if len(o.tried) < maxOutside && !slices.Contains(o.tried, what) {
		o.tried = append(o.tried, what)
	}
}

// list gives what was tried, without what the command serves itself, the name
// of this host, and names that only have a search domain added.
func (o *outside) list() []string {
	self, err := os.Hostname()
	if err != nil {
		self = ""
	}
	var out []string
	for _, t := range o.tried {
		longer := slices.ContainsFunc(o.tried, func(other string) bool { return strings.HasPrefix(t, other+".") })
		if longer || slices.Contains(o.here, t) || self != "" && (t == self || strings.HasPrefix(t, self+".")) {
			continue
		}
		out = append(out, t)
	}
	return out
}

// question gives the first name that a DNS query asks for; see RFC 1035, 4.1.
func question(b []byte) string {
	if len(b) < 12 || b[2]&0x80 != 0 {
		return ""
	}
	b = b[12:]
	var labels []string
	for {
		if len(b) == 0 || b[0] > 63 || int(b[0]) >= len(b) {
			return ""
		}
		n := int(b[0])
		if n == 0 {
			break
		}
		labels = append(labels, strings.Map(printable, string(b[1:1+n])))
		b = b[1+n:]
	}
	return strings.ToLower(strings.Join(labels, "."))
}

func printable(r rune) rune {
	if r <= ' ' || r > '~' {
		return '?'
	}
	return r
}
