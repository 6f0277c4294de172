// Package mailsink takes the mail that instances send and hands it over to be
// shown. It never relays: no message leaves the machine through it. It must
// not know instances or the store beyond its two small interfaces.
package mailsink

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Keys says which instance a mail key belongs to. The key is the user name of
// AUTH PLAIN; password is what came with it. An unknown key is an error of
// KindNotFound or KindForbidden.
type Keys interface {
	Lookup(ctx context.Context, key, password string) (app, instance string, err error)
}

// Store keeps a caught message. The sender hears "taken" after AddMail returned.
type Store interface {
	AddMail(ctx context.Context, m bosman.Mail) error
}

// Config is what a Sink needs. Zero limits take the defaults.
type Config struct {
	Keys       Keys
	Store      Store
	Log        *slog.Logger
	MaxBytes   int64         // of a message; 10 MB
	Recipients int           // of a message; 100
	Clients    int           // connections at a time; 50
	Timeout    time.Duration // of one command or answer; 60 s
	Now        func() time.Time
}

// Sink is the SMTP server. Serve it on a listener at 127.0.0.1.
type Sink struct {
	cfg    Config
	server *smtp.Server
	ctx    context.Context
	cancel context.CancelFunc
}

// New makes a sink; Keys and Store must be set.
func New(cfg Config) (*Sink, error) {
	if cfg.Keys == nil || cfg.Store == nil {
		return nil, bosman.Internal("the mail sink lacks its keys or store")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 10 << 20
	}
	if cfg.Recipients <= 0 {
		cfg.Recipients = 100
	}
	if cfg.Clients <= 0 {
		cfg.Clients = 50
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Sink{cfg: cfg}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{sink: s}, nil }))
	s.server.Domain = "bosman.localhost"
	s.server.AllowInsecureAuth = true // it listens on this machine only
	s.server.EnableSMTPUTF8 = true
	s.server.MaxMessageBytes = cfg.MaxBytes
	s.server.MaxRecipients = cfg.Recipients
	s.server.ReadTimeout, s.server.WriteTimeout = cfg.Timeout, cfg.Timeout
	s.server.ErrorLog = logger{cfg.Log}
	return s, nil
}

// Serve answers until Close; it returns nil then.
func (s *Sink) Serve(l net.Listener) error {
	err := s.server.Serve(&limited{Listener: l, slots: make(chan struct{}, s.cfg.Clients), done: s.ctx.Done()})
	if errors.Is(err, smtp.ErrServerClosed) || s.ctx.Err() != nil {
		return nil
	}
	return bosman.Unavailable("the mail sink stopped").Because(err)
}

// Close ends every connection. A message whose taking was not yet answered is
// sent again by a client that cares.
func (s *Sink) Close() error {
	s.cancel()
	err := s.server.Close()
	if errors.Is(err, smtp.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// limited is a listener that keeps only so many connections open.
type limited struct {
	net.Listener
	slots chan struct{}
	done  <-chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &conn{Conn: c, free: func() { <-l.slots }}, nil
}

type conn struct {
	net.Conn
	once sync.Once
	free func()
}

func (c *conn) Close() error {
	c.once.Do(c.free)
	return c.Conn.Close()
}

type logger struct{ log *slog.Logger }

func (l logger) Printf(format string, v ...any) {
	l.log.Debug("mail sink", slog.String("format", format), slog.Any("args", v))
}
func (l logger) Println(v ...any) { l.log.Debug("mail sink", slog.Any("args", v)) }

// session is one connection.
type session struct {
	sink          *Sink
	app, instance string
	from          string
	to            []string
}

var _ smtp.AuthSession = (*session)(nil)

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain, sasl.Login} }

var errDenied = &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "this key is not known; the user name is the instance's mail key"}

func (s *session) Auth(mech string) (sasl.Server, error) {
	switch mech {
	case sasl.Plain:
		return sasl.NewPlainServer(func(_, user, password string) error { return s.enter(user, password) }), nil
	case sasl.Login:
		return &login{check: s.enter}, nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

func (s *session) enter(user, password string) error {
	ctx, cancel := context.WithTimeout(s.sink.ctx, 10*time.Second)
	defer cancel()
	app, instance, err := s.sink.cfg.Keys.Lookup(ctx, user, password)
	switch bosman.KindOf(err) {
	case "":
		s.app, s.instance = app, instance
		return nil
	case bosman.KindNotFound, bosman.KindForbidden, bosman.KindInvalid:
		return errDenied
	}
	s.sink.cfg.Log.Error("the mail sink cannot look up a key", slog.Any("error", err))
	return &smtp.SMTPError{Code: 454, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "try again later"}
}

// login is AUTH LOGIN, which older clients prefer.
type login struct {
	check func(user, password string) error
	user  string
	step  int
}

func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	if l.step == 0 && response == nil {
		l.step = 1
		return []byte("Username:"), false, nil
	}
	if l.step <= 1 {
		l.user, l.step = string(response), 2
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(response))
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.app == "" {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "log in first: the user name is the instance's mail key"}
	}
	s.from, s.to = from, nil
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err // too large, or the client went away: the library answers
	}
	m := Parse(data)
	m.App, m.Instance, m.At, m.Bytes = s.app, s.instance, s.sink.cfg.Now().UTC(), len(data)
	if m.From == "" {
		m.From = s.from
	}
	m.To = s.to // who would have got it, blind copies too
	ctx, cancel := context.WithTimeout(s.sink.ctx, 30*time.Second)
	defer cancel()
	if err := s.sink.cfg.Store.AddMail(ctx, m); err != nil {
		s.sink.cfg.Log.Error("a caught message is not saved", slog.String("app", s.app), slog.String("instance", s.instance), slog.Any("error", err))
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "the message cannot be kept now"}
	}
	return nil
}

func (s *session) Reset()        { s.from, s.to = "", nil }
func (s *session) Logout() error { return nil }
