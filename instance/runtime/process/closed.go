package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"time"

	"github.com/bosman-cd/bosman/instance/runtime"
	"golang.org/x/sys/unix"
)

// A closed command has a network of its own with nothing in it. Every address
// leads to its own loopback, so that a connection is refused at once instead
// of hanging, and what it asked for is read there from a packet socket:
//
//	command ─► 10.0.0.5:5432 ─► lo ─► nobody listens: refused
//	                             └──► packet socket ─► "10.0.0.5:5432"
//
// Unix sockets are files and go on to work.

// startClosed starts cmd in a network of its own and gives what reads what it
// tries to reach; nil where that cannot be read. closed is false, and nothing
// was started, where a process cannot be given a network of its own.
func startClosed(cmd *exec.Cmd) (w *outsideWatch, closed bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with this goroutine: it is never unlocked.
		goruntime.LockOSThread()
		if unix.Unshare(unix.CLONE_NEWNET) != nil {
			return
		}
		closed = true
		if lerr := loop(); lerr == nil {
			w, err = watchOutside() // without, refusals are seen by the command alone
		}
		if err == nil {
			err = cmd.Start() // forked from this thread, in its network
		}
	}()
	<-done
	if err != nil && w != nil {
		err = errors.Join(err, w.socket.Close())
		w = nil
	}
	return w, closed, err
}

// loop makes every address lead to the loopback of this network.
func loop() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	up, err := unix.NewIfreq("lo")
	if err == nil {
		up.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, up)
	}
	if err := errors.Join(err, unix.Close(s)); err != nil {
		return err
	}
	if err := routeHere(unix.AF_INET); err != nil {
		return err
	}
	// A host without IPv6 has nothing to lead anywhere.
	_ = routeHere(unix.AF_INET6)
	return nil
}

// routeHere is `ip route add local default dev lo`; see rtnetlink(7).
func routeHere(family byte) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }() // the answer was read
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		return err
	}
	const size = unix.SizeofNlMsghdr + unix.SizeofRtMsg + 8
	b := make([]byte, size)
	order := binary.NativeEndian
	order.PutUint32(b[0:], size)
	order.PutUint16(b[4:], unix.RTM_NEWROUTE)
	order.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE)
	order.PutUint32(b[8:], 1)
	m := b[unix.SizeofNlMsghdr:]
	m[0], m[4], m[5], m[6], m[7] = family, unix.RT_TABLE_LOCAL, unix.RTPROT_BOOT, unix.RT_SCOPE_HOST, unix.RTN_LOCAL
	a := m[unix.SizeofRtMsg:]
	order.PutUint16(a[0:], 8)
	order.PutUint16(a[2:], unix.RTA_OIF)
	order.PutUint32(a[4:], 1) // lo is the first of every network
	if err := unix.Sendto(s, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 {
		return fmt.Errorf("netlink answered %d bytes", n)
	}
	if code := int32(order.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// outsideWatch reads the packets of a closed network.
type outsideWatch struct {
	socket *os.File
	found  chan outside
}

func watchOutside() (*outsideWatch, error) {
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8 // in network order
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
	if err != nil {
		return nil, nil //nolint:nilerr // a host may forbid it; the command is closed all the same
	}
	w := &outsideWatch{socket: os.NewFile(uintptr(s), "packets"), found: make(chan outside, 1)}
	go w.read() // ended and waited for by end
	return w, nil
}

func (w *outsideWatch) read() {
	var o outside
	b := make([]byte, 64<<10)
	for {
		n, err := w.socket.Read(b)
		if err != nil { // the deadline of end
			w.found <- o
			return
		}
		o.packet(b[:n])
	}
}

// end gives what was tried, each once, in order.
func (w *outsideWatch) end() ([]string, error) {
	// A packet is queued here before its sender goes on, so all there are lie
	// ready.
	err := w.socket.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if err != nil {
		return nil, errors.Join(err, w.socket.Close())
	}
	o := <-w.found
	return o.list(), w.socket.Close()
}

// startCommand starts the process of a command, closed if it asks for that
// and the host can.
func startCommand(cmd *exec.Cmd, c *runtime.Closed) (*outsideWatch, error) {
	if c == nil || os.Geteuid() != 0 {
		return nil, cmd.Start()
	}
	w, closed, err := startClosed(cmd)
	if !closed && err == nil {
		return nil, cmd.Start()
	}
	c.Is, c.Watched = closed, w != nil
	return w, err
}

func port(b []byte) string { return strconv.Itoa(int(binary.BigEndian.Uint16(b))) }
