package serve

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/instance"
	"github.com/bosman-cd/bosman/problem"
	"github.com/bosman-cd/bosman/store"
)

// errorKeys says whose a key of the error intake is.
type errorKeys struct{ store *store.Store }

// Lookup gives the instance of a key.
func (k errorKeys) Lookup(ctx context.Context, key string) (app, name string, err error) {
	i, err := k.store.InstanceByKey(ctx, key)
	return i.App, i.Name, err
}

// errorStore keeps error reports: one transaction for each group of them.
type errorStore struct{ records *records }

// SaveEvents keeps reports and says where each went.
func (e errorStore) SaveEvents(ctx context.Context, reports []problem.Report) ([]problem.Outcome, error) {
	out := make([]problem.Outcome, 0, len(reports))
	err := e.records.store.InTx(ctx, func(s *store.Store) error {
		out = out[:0]
		for _, r := range reports {
			was, err := s.ProblemByHash(ctx, r.Event.App, r.Group.Fine, r.Group.Coarse)
			if err != nil && bosman.KindOf(err) != bosman.KindNotFound {
				return err
			}
			p, isNew, added, err := s.SaveErrorEvent(ctx, r.Event, r.Group.Fine, r.Group.Coarse, r.Title, r.Culprit, r.Group.Key)
			if err != nil {
				return err
			}
			o := problem.Outcome{Problem: p.Number, New: isNew, Duplicate: !added, Regressed: added && !was.ResolvedAt.IsZero() && p.ResolvedAt.IsZero()}
			out = append(out, o)
			if !added {
				continue
			}
			kind := bosman.EventProblemEvent
			if o.New || o.Regressed {
				kind = bosman.EventProblemNew
			}
			if err := e.records.tell(ctx, s, p.App, kind, bosman.Ref(bosman.LetterProblem, p.Number)); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// AddCounts adds to counters.
func (e errorStore) AddCounts(ctx context.Context, counts []problem.Count) error {
	return e.records.store.InTx(ctx, func(s *store.Store) error {
		for _, c := range counts {
			if err := s.AddCount(ctx, c.App, c.Instance, c.Release, c.Name, c.N, c.At); err != nil {
				return err
			}
		}
		return nil
	})
}

// mailKeys says which instance sends mail: the user is APP/INSTANCE, the
// password its error key.
type mailKeys struct{ store *store.Store }

// Lookup gives the instance of a user and password.
func (k mailKeys) Lookup(ctx context.Context, key, password string) (app, name string, err error) {
	app, name, _ = strings.Cut(key, "/")
	i, err := k.store.Instance(ctx, app, name)
	if err != nil {
		return "", "", err
	}
	if subtle.ConstantTimeCompare([]byte(password), []byte(i.ErrorKey)) != 1 {
		return "", "", bosman.Forbidden("the mail password is not right")
	}
	return app, name, nil
}

// mailStore keeps caught mail.
type mailStore struct{ records *records }

// AddMail keeps a message.
func (m mailStore) AddMail(ctx context.Context, mail bosman.Mail) error {
	return m.records.store.InTx(ctx, func(s *store.Store) error {
		if err := s.AddMail(ctx, mail); err != nil {
			return err
		}
		return m.records.tell(ctx, s, mail.App, bosman.EventMailCaught, mail.Instance)
	})
}

// listenMail listens for the instances' mail on the port of the last start if
// that is free: running instances know it.
func listenMail(ctx context.Context, s *store.Store, log *slog.Logger) (net.Listener, instance.Mail, error) {
	const setting = "mail-port"
	known, err := s.Setting(ctx, setting)
	if err != nil {
		return nil, instance.Mail{}, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:"+orZero(known))
	if err != nil && known != "" {
		log.Warn("the port for the mail of instances is taken; they must be restarted to find the new one", "port", known, "err", err)
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, instance.Mail{}, bosman.Unavailable("no port for the mail of instances can be had").Because(err)
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, instance.Mail{}, errors.Join(bosman.Internal("the mail listener has no port"), l.Close())
	}
	if err := s.SetSetting(ctx, setting, fmt.Sprint(addr.Port)); err != nil {
		return nil, instance.Mail{}, errors.Join(err, l.Close())
	}
	return l, instance.Mail{Host: "127.0.0.1", Port: addr.Port}, nil
}

func orZero(port string) string {
	if port == "" {
		return "0"
	}
	return port
}
