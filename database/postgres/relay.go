package postgres

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database/ground"
)

// What pg_restore from 17 on says on every connection, which servers before 17
// do not know and refuse; and what is said instead, as long and without effect.
const (
	unknownBefore17 = "SET transaction_timeout = 0;\n\x00"
	knownInstead    = "SELECT 1 /* no timeout */  ;\n\x00"
)

// relay is a socket that leads to a server and says to it what a newer
// pg_restore says, but for the statement that the server does not know. It has
// a name and no file (unix(7), abstract), so a kill leaves nothing.
type relay struct {
	host     string // for libpq, which knows such names
	listener net.Listener
	server   string
	stop     context.CancelFunc
	work     sync.WaitGroup
}

// throughRelay gives d as a pg_restore of version 17 or newer reaches it on a
// server before 17. The caller closes the relay.
func (c *Cluster) throughRelay(ctx context.Context, d bosman.Database) (bosman.Database, *relay, error) {
	socket := "/.s.PGSQL." + strconv.Itoa(d.Port)
	r := &relay{host: "@bosman-" + rand.Text(), server: filepath.Join(d.Host, socket)}
	ctx, r.stop = context.WithCancel(ctx)
	var err error
	if r.listener, err = (&net.ListenConfig{}).Listen(ctx, "unix", r.host+socket); err != nil {
		r.stop()
		return d, nil, ground.IOError("open a socket for pg_restore", c.Dir, err)
	}
	r.work.Go(func() { r.accept(ctx) })
	d.Host = r.host
	return d, r, nil
}

func (r *relay) close() {
	r.stop()
	_ = r.listener.Close() // ends accept; its name goes with it
	r.work.Wait()
}

func (r *relay) accept(ctx context.Context) {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return // it was closed
		}
		r.work.Go(func() { r.serve(ctx, client) })
	}
}

// serve passes on one connection until either side ends it. What went wrong
// the client says: it sees its connection end.
func (r *relay) serve(ctx context.Context, client net.Conn) {
	server, err := (&net.Dialer{}).DialContext(ctx, "unix", r.server)
	if err != nil {
		_ = client.Close()
		return
	}
	end := sync.OnceFunc(func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer end()
	defer context.AfterFunc(ctx, end)()
	var back sync.WaitGroup
	back.Go(func() {
		defer end()
		_, _ = io.Copy(client, server)
	})
	_ = forward(server, client)
	end()
	back.Wait()
}

// forward passes on what a client says: first messages of a length and a body,
// the last of which names the version of the protocol, then messages with a
// letter before that ("Message Formats" in PostgreSQL's documentation).
func forward(server io.Writer, client io.Reader) error {
	in, out := bufio.NewReaderSize(client, 64<<10), bufio.NewWriterSize(server, 64<<10)
	for begun := false; ; {
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		head := make([]byte, 5)
		if !begun {
			head = head[:4]
		}
		if _, err := io.ReadFull(in, head); err != nil {
			return err
		}
		length := int64(binary.BigEndian.Uint32(head[len(head)-4:])) - 4
		if length < 0 {
			return io.ErrUnexpectedEOF
		}
		if !begun && length >= 4 {
			version, err := in.Peek(4)
			if err != nil {
				return err
			}
			begun = binary.BigEndian.Uint16(version) == 3 // else it asks for encryption, or to cancel
		}
		if _, err := out.Write(head); err != nil {
			return err
		}
		if head[0] == 'Q' && len(head) == 5 && length == int64(len(unknownBefore17)) {
			body := make([]byte, length)
			if _, err := io.ReadFull(in, body); err != nil {
				return err
			}
			if string(body) == unknownBefore17 {
				body = []byte(knownInstead)
			}
			if _, err := out.Write(body); err != nil {
				return err
			}
			continue
		}
		if _, err := io.CopyN(out, in, length); err != nil {
			return err
		}
	}
}
