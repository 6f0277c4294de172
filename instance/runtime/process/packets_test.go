package process

import (
	"slices"
	"testing"
)

// packet4 is an IPv4 packet from 10.0.0.1 to 10.0.0.5.
func packet4(protocol byte, payload ...byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 5}
	return append(b, payload...)
}

func tcp4(from, to uint16, flags byte) []byte {
	return packet4(6, byte(from>>8), byte(from), byte(to>>8), byte(to), 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags)
}

func query(name ...string) []byte {
	b := []byte{0, 9, 0, 53, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, label := range name {
		b = append(append(b, byte(len(label))), label...)
	}
	return packet4(17, append(b, 0, 0, 1, 0, 1)...)
}

func TestOutside(t *testing.T) {
	for name, c := range map[string]struct {
		packets [][]byte
		want    []string
	}{
		"nothing":               {nil, nil},
		"refused":               {[][]byte{tcp4(40000, 5432, 2), tcp4(40001, 5432, 2)}, []string{"10.0.0.5:5432"}},
		"served by itself":      {[][]byte{tcp4(40000, 8000, 2), {0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 5, 10, 0, 0, 1, 31, 64, 156, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 18}}, nil},
		"data of a connection":  {[][]byte{tcp4(40000, 5432, 16)}, nil},
		"names, with a domain":  {[][]byte{query("DB", "example"), query("db", "example", "lan")}, []string{"db.example"}},
		"an odd name":           {[][]byte{query("a b\n")}, []string{"a?b?"}},
		"an answer, not asked":  {[][]byte{append(packet4(17, 0, 53, 0, 53, 0, 0, 0, 0), 1, 1, 0x81, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0)}, nil},
		"cut, empty, no packet": {[][]byte{{}, {0x45}, {0x60}, {0x10, 1, 2}, tcp4(1, 2, 2)[:30], query("x")[:38]}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var o outside
			for _, p := range c.packets {
				o.packet(p)
			}
			if got := o.list(); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func FuzzPackets(f *testing.F) {
	f.Add(tcp4(40000, 5432, 2))
	f.Add(query("db", "example"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var o outside
		o.packet(b)
		o.list()
	})
}
