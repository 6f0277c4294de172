package mask

import (
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"strconv"
	"strings"
)

// What an invented address costs besides its digits: "u" and the host, which
// can never receive mail (RFC 2606).
const (
	emailHost = "@example.invalid"
	emailBase = 1 + len(emailHost)
)

// hash is the only source of what is invented.
func hash(salt, kind, value string) string {
	sum := sha256.Sum256([]byte(salt + "\x1f" + kind + "\x1f" + value))
	return hex.EncodeToString(sum[:])
}

// Fake invents what stands in for value: kind is one of text's (not date, null
// or a constant), room how many characters fit (0: any number), unique whether
// different values must become different ones. Drivers compute the same in
// SQL; a test compares them.
func Fake(salt, kind, value string, room int, unique bool) string {
	if value == "" {
		return ""
	}
	h := hash(salt, kind, value)
	pick := func(from []string, at int) string { return from[bits(h, at, 4)%int64(len(from))] }
	switch kind {
	case "email":
		n := 16
		if room > 0 && room < emailBase+16 {
			n = room - emailBase
		}
		return "u" + h[:n] + emailHost
	case "hash":
		n := 32
		if room > 0 && room < n {
			n = room
		}
		return h[:n]
	case "phone":
		kept := ""
		if len(value) >= 3 && value[0] == '+' && digit(value[1]) && digit(value[2]) {
			kept, value = value[:3], value[3:] // the country
		}
		return kept + turned(salt, value, false)
	case "code":
		return turned(salt, value, true)
	case "first_name":
		return fit(pick(firstNames, 0), h, room, unique)
	case "last_name":
		return fit(pick(lastNames, 0), h, room, unique)
	case "name":
		return fit(pick(firstNames, 0)+" "+pick(lastNames, 4), h, room, unique)
	case "address":
		return fit(strconv.FormatInt(1+bits(h, 8, 4)%99, 10)+" "+pick(streets, 0)+", "+pick(towns, 4), h, room, unique)
	}
	from, n := int(bits(h, 0, 4))%len(lorem), len([]rune(value))
	return fit(strings.Repeat(lorem, (n+from)/len(lorem)+1)[from:from+n], h, room, unique)
}

// DateShift is by how many days dates are moved: 30 to 394, back.
func DateShift(salt string) int { return -30 - int(bits(hash(salt, "date", ""), 0, 8)%365) }

// bits reads n hexadecimal digits of h from the place at.
func bits(h string, at, n int) int64 {
	v, err := strconv.ParseInt(h[at:at+n], 16, 64)
	if err != nil {
		return 0 // cannot happen: h holds nothing but such digits
	}
	return v
}

// fit makes text short enough, and unique by the hash of what it stands for.
func fit(text, h string, room int, unique bool) string {
	r := []rune(text)
	if unique {
		if room > 0 && room <= 13 {
			return h[:room]
		}
		if room > 0 && len(r) > room-13 {
			r = r[:room-13]
		}
		return string(r) + " " + h[:12]
	}
	if room > 0 && len(r) > room {
		r = r[:room]
	}
	return string(r)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// turned replaces the digits (and letters) of a value by others in the same
// places. It is a permutation: different values stay different.
func turned(salt, value string, letters bool) string {
	var ds, ls []byte
	for i := range len(value) {
		switch c := value[i]; {
		case digit(c):
			ds = append(ds, c)
		case letters && letter(c):
			ls = append(ls, c|0x20)
		}
	}
	d, l := turn(salt, string(ds), 10), turn(salt, string(ls), 26)
	out := []byte(value)
	for i, c := range out {
		switch {
		case digit(c):
			out[i], d = d[0], d[1:]
		case letters && letter(c):
			out[i], l = l[0]^0x20&^c, l[1:] // in the case of what was there
		}
	}
	return string(out)
}

// turn is a Feistel network over the digits of a base (0-9, or a-z for 26):
// the way of NIST SP 800-38G's FF1, with SHA-256 in the place of AES and four
// rounds, for nobody is to turn it back.
func turn(salt, s string, base int64) string {
	n := len(s)
	if n == 0 {
		return s
	}
	b := strconv.FormatInt(base, 10)
	if n == 1 {
		move := 1 + bits(hash(salt, "turn", "1:"+b), 0, 15)%(base-1)
		return digits(big.NewInt((number(s, base).Int64()+move)%base), base, 1)
	}
	left, right := s[:n/2], s[n/2:]
	for i := range 4 {
		m := n / 2
		if i%2 == 1 {
			m = n - n/2
		}
		h := hash(salt, "turn", strconv.Itoa(i)+":"+strconv.Itoa(n)+":"+b+":"+right)
		add := big.NewInt(bits(h, 0, 15))
		if m > 12 {
			add.Add(add.Lsh(add, 60), big.NewInt(bits(h, 15, 15)))
		}
		add.Add(add, number(left, base))
		add.Mod(add, new(big.Int).Exp(big.NewInt(base), big.NewInt(int64(m)), nil))
		left, right = right, digits(add, base, m)
	}
	return left + right
}

func number(s string, base int64) *big.Int {
	n, b := new(big.Int), big.NewInt(base)
	for i := range len(s) {
		d := int64(s[i] - '0')
		if base == 26 {
			d = int64(s[i] - 'a')
		}
		n.Add(n.Mul(n, b), big.NewInt(d))
	}
	return n
}

func digits(n *big.Int, base int64, width int) string {
	out := make([]byte, width)
	b, rest := big.NewInt(base), new(big.Int)
	n = new(big.Int).Set(n)
	for i := width - 1; i >= 0; i-- {
		n.QuoRem(n, b, rest)
		out[i] = byte('0' + rest.Int64())
		if base == 26 {
			out[i] = byte('a' + rest.Int64())
		}
	}
	return string(out)
}
