package edge

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/edge/wall"
)

// Edge is a running reverse proxy; Run makes it.
type Edge struct {
	cfg     Config
	log     *slog.Logger
	httpLog *log.Logger
	key     wall.Key
	started time.Time
	proxy   *httputil.ReverseProxy
	ui      *entry // nil without an upstream for it
	uiHosts map[string]bool

	mu      sync.RWMutex // guards what follows; install writes it
	state   state
	entries map[string]*entry
	hosts   map[string]*entry
	ports   map[int]*entry
	leaving []*entry // deleted ones with requests in flight

	writing   sync.Mutex // one change at a time
	nonces    nonces
	cache     cache
	heldBytes atomic.Int64
	draining  atomic.Bool

	server    *http.Server
	serving   sync.WaitGroup  // calls of server.Serve
	work      sync.WaitGroup  // all other goroutines
	life      context.Context // done when the edge ends; for work that no request asked for
	lmu       sync.Mutex
	listeners []net.Listener
	listening map[int]bool         // ports
	opened    map[int]net.Listener // those of them opened for a route

	api        *http.Server
	controlIno uint64 // inode of our control socket
}

// Run is `bosman edge`. It listens, says that it is ready by closing the file
// descriptor BOSMAN_READY_FD, and serves until ctx ends (SIGTERM). Then it
// stops accepting, ends what is in flight within Config.Drain, and returns
// nil: connections that still wait on inherited sockets are for the next edge.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.filled()
	if err != nil {
		return err
	}
	e := &Edge{
		cfg: cfg, log: cfg.Log, started: time.Now(), uiHosts: map[string]bool{},
		listening: map[int]bool{}, opened: map[int]net.Listener{},
		httpLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	if cfg.WallKey != "" {
		if e.key, err = wall.LoadKey(cfg.WallKey); err != nil {
			return err
		}
	}
	for _, h := range cfg.UI.Hosts {
		e.uiHosts[hostOf(h)] = true
	}
	if cfg.UI.Upstream != "" {
		if _, _, err := control.SplitUpstream(cfg.UI.Upstream); err != nil {
			return err
		}
		e.ui = newEntry("ui")
		e.ui.ui = true
		e.ui.set(control.Route{Upstream: cfg.UI.Upstream}, 0, e.started)
	}
	e.proxy = e.newProxy()
	e.server = &http.Server{
		Handler: e, ReadHeaderTimeout: cfg.HoldHeader, IdleTimeout: cfg.Idle,
		MaxHeaderBytes: cfg.MaxHeaderBytes, ErrorLog: e.httpLog,
	}
	defer e.work.Wait()
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	e.life = life
	defer end()
	if err := e.listen(); err != nil {
		return errors.Join(err, e.closeListeners())
	}
	if err := e.takeControl(); err != nil {
		return errors.Join(err, e.closeListeners())
	}
	e.work.Go(e.follow)
	e.work.Go(e.verifyAll)
	e.lmu.Lock()
	for _, l := range e.listeners {
		e.serve(l)
	}
	e.lmu.Unlock()
	e.bindPorts()
	if err := e.ready(); err != nil {
		e.log.Warn("readiness cannot be reported", "cause", err)
	}
	e.mu.RLock()
	routes := len(e.state.Routes)
	e.mu.RUnlock()
	e.log.Info("the edge is ready", "routes", routes)
	<-ctx.Done()
	return e.stop()
}

// listen takes the inherited sockets, else opens the configured addresses.
func (e *Edge) listen() error {
	n, err := inherited(e.cfg.Getenv)
	if err != nil {
		return err
	}
	for i := range n {
		fd := 3 + i
		// Whoever passed the socket may have set it blocking, for us and for
		// an older edge on the same socket; Accept and Close would then hang.
		syscall.CloseOnExec(fd)
		if err := syscall.SetNonblock(fd, true); err != nil {
			return bosman.Invalid("file descriptor %d is not a socket to listen on", fd).Because(err)
		}
		f := os.NewFile(uintptr(fd), "socket "+strconv.Itoa(i))
		l, err := net.FileListener(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return bosman.Invalid("file descriptor %d is not a socket to listen on", fd).Because(err)
		}
		e.add(l)
	}
	if n > 0 {
		return nil
	}
	if len(e.cfg.Listen) == 0 {
		return bosman.Invalid("the edge has nothing to listen on").WithNext("pass an address or sockets")
	}
	for _, a := range e.cfg.Listen {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return bosman.Unavailable("the edge cannot listen on %s", a).
				WithNext("see who listens there (ss -ltnp), or choose another address").Because(err)
		}
		e.add(l)
	}
	return nil
}

// inherited gives the number of sockets passed from file descriptor 3 on.
func inherited(getenv func(string) string) (int, error) {
	v := getenv("LISTEN_FDS")
	if v == "" {
		return 0, nil
	}
	if pid := getenv("LISTEN_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil // they were meant for somebody else
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 1024 {
		return 0, bosman.Invalid("LISTEN_FDS=%q is not a number of sockets", v)
	}
	return n, nil
}

func (e *Edge) add(l net.Listener) {
	e.lmu.Lock()
	defer e.lmu.Unlock()
	e.listeners = append(e.listeners, l)
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		e.listening[a.Port] = true
	}
}

func (e *Edge) serve(l net.Listener) {
	e.serving.Go(func() {
		if err := e.server.Serve(e.cfg.Wrap(l)); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			e.log.Error("a listener broke", "address", l.Addr().String(), "cause", err)
		}
	})
}

// openPort listens on a port of a route unless somebody does already.
func (e *Edge) openPort(port int) error {
	e.lmu.Lock()
	defer e.lmu.Unlock()
	if e.listening[port] || e.draining.Load() {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(e.cfg.PortHost, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	e.listening[port] = true
	e.opened[port] = l
	e.listeners = append(e.listeners, l)
	e.serve(l)
	return nil
}

// closePorts lets go of ports opened for routes that no longer have them.
func (e *Edge) closePorts(used map[int]*entry) {
	e.lmu.Lock()
	defer e.lmu.Unlock()
	for port, l := range e.opened {
		if used[port] != nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			e.log.Warn("a port cannot be let go", "port", port, "cause", err)
		}
		delete(e.opened, port)
		delete(e.listening, port)
		e.listeners = slices.DeleteFunc(e.listeners, func(o net.Listener) bool { return o == l })
	}
}

// listenFor opens the ports that a state about to take effect adds.
func (e *Edge) listenFor(s state) error {
	for _, r := range s.Routes {
		for _, p := range r.Ports {
			if e.ports[p] != nil { // bindPorts sees to it
				continue
			}
			if err := e.openPort(p); err != nil {
				return bosman.Unavailable("the edge cannot listen on port %d", p).
					WithKept("the route stays as it is").WithNext("see who listens there (ss -ltnp)").Because(err)
			}
		}
	}
	return nil
}

// bindPorts opens the ports of the routes that were loaded. An older edge may
// still hold one; it lets go when it stops.
func (e *Edge) bindPorts() {
	e.mu.RLock()
	var ports []int
	for p := range e.ports {
		ports = append(ports, p)
	}
	e.mu.RUnlock()
	for _, p := range ports {
		if e.openPort(p) == nil {
			continue
		}
		e.log.Warn("a port of a route is taken; trying again", "port", p)
		e.work.Go(func() {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for e.openPort(p) != nil {
				select {
				case <-e.life.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
}

func (e *Edge) ready() error {
	v := e.cfg.Getenv("BOSMAN_READY_FD")
	if v == "" {
		return nil
	}
	fd, err := strconv.Atoi(v)
	if err != nil || fd < 3 {
		return bosman.Invalid("BOSMAN_READY_FD=%q is not a file descriptor", v)
	}
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "ready")
	_, err = f.WriteString("ready\n")
	return errors.Join(err, f.Close())
}

func (e *Edge) closeListeners() error {
	e.lmu.Lock()
	defer e.lmu.Unlock()
	var errs []error
	for _, l := range e.listeners {
		if tl, ok := l.(*net.TCPListener); ok {
			// An upgrade may have set the shared socket blocking once more.
			if rc, err := tl.SyscallConn(); err == nil {
				_ = rc.Control(func(fd uintptr) { _ = syscall.SetNonblock(int(fd), true) }) // Close says if it failed
			}
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	e.listeners = nil
	return errors.Join(errs...)
}

// settle is how long accepted connections may take to bring their first
// request before idle ones are closed; without it an upgrade loses some.
const settle = 300 * time.Millisecond

// stop ends the edge without losing a request: close the sockets, let Serve
// return, let accepted connections speak, then shut down.
func (e *Edge) stop() error {
	e.log.Info("the edge stops accepting")
	deadline := time.Now().Add(e.cfg.Drain)
	e.draining.Store(true)
	closed := make(chan error, 1)
	go func() { // waited for below; a socket set blocking by its keeper could hang here for ever
		err := e.closeListeners()
		e.serving.Wait()
		closed <- err
	}()
	var errs []error
	select {
	case err := <-closed:
		errs = append(errs, err)
	case <-time.After(2 * time.Second):
		e.log.Warn("a listener does not let go; going on")
	}
	time.Sleep(settle)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	err := e.server.Shutdown(ctx) // does not wait for upgraded connections
	for _, t := range e.allTargets() {
		if d := t.drain(ctx, deadline); d.Cut > 0 {
			e.log.Warn("requests were cut", "upstream", t.upstream, "requests", d.Cut, "upgraded", d.Upgraded)
		}
	}
	if err != nil {
		errs = append(errs, e.server.Close())
	}
	errs = append(errs, e.dropControl())
	for _, t := range e.allTargets() {
		t.transport.CloseIdleConnections()
	}
	e.log.Info("the edge has stopped")
	return errors.Join(errs...)
}

func (e *Edge) allTargets() []*target {
	e.mu.RLock()
	var all []*entry
	for _, n := range e.entries {
		all = append(all, n)
	}
	all = append(all, e.leaving...)
	e.mu.RUnlock()
	if e.ui != nil {
		all = append(all, e.ui)
	}
	var out []*target
	for _, n := range all {
		current, past := n.targets()
		if current != nil {
			out = append(out, current)
		}
		out = append(out, past...)
	}
	return out
}
