// Package helm holds Bosman's verbs and reactions. Each verb is permission,
// then one transaction (row, activity, event), then the stage; each reaction
// reads the events in order and may be repeated. Web, API, CLI, git and forges
// call only helm; helm must not know HTTP, pages or how a stage does its work.
package helm

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/secret"
	"github.com/bosman-cd/bosman/source"
	"github.com/bosman-cd/bosman/store"
)

// Operator makes operations durable and carries them out.
type Operator interface {
	// Begin starts (or resumes) an operation whose row is saved. It returns
	// at once.
	Begin(ctx context.Context, op bosman.Operation) error
	// TakenOver tells a running operation that another one owns its instance.
	TakenOver(ctx context.Context, op, by bosman.Operation) error
	// Cancel ends an operation that still waits.
	Cancel(ctx context.Context, op bosman.Operation, why string) error
}

// Builder carries out builds.
type Builder interface {
	Wake()
	Cancel(app string, build int, why string)
}

// Runtime is what helm asks of running instances directly.
type Runtime interface {
	// Run runs a command with the instance's release, environment and data.
	Run(ctx context.Context, i bosman.Instance, command string, stdin io.Reader, stdout, stderr io.Writer) (exit int, err error)
	// Remove stops an instance and takes away its route, data and database.
	Remove(ctx context.Context, i bosman.Instance) error
	// RemoveApp takes away what is left of an app outside the store.
	RemoveApp(ctx context.Context, app string) error
}

// Hazards is what a change's migrations do to others: sentences for people,
// and why it must not be merged, "" if it may.
type Hazards struct {
	Hazards    []string
	Blocked    string
	Migrations []string // that the change brings: "shop.0008_order"
	Collisions []bosman.Collision
}

// Migrations finds collisions between open changes and with main.
type Migrations interface {
	// Compare gives what it finds by the number of the change.
	Compare(ctx context.Context, app bosman.App, open []bosman.Change) (map[int]Hazards, error)
}

// Config is what a Helm needs. All parts are required but Log and Now.
type Config struct {
	Store      *store.Store
	Repos      *source.Repos
	Box        *secret.Box
	Operator   Operator
	Builder    Builder
	Runtime    Runtime
	Addresses  Addresses
	Migrations Migrations
	Storage    Storage  // may be nil: then no databases are listed
	KeptData   KeptData // may be nil: then nobody counts what is written
	Custody    Custody
	Vaults     Vaults
	Masks      Masks    // may be nil: then nobody is told of masks
	Timeline   Timeline // may be nil: then nothing is recovered at a moment
	Log        *slog.Logger
	Now        func() time.Time
}

// Addresses gives the URLs of things.
type Addresses interface {
	// Instance is the address of an instance; number is its own among all
	// instances, from 1.
	Instance(app, instance string, number int) string
	Page(path string) string // of the UI: Page("/rms/changes/12")
}

// Helm carries out the verbs.
type Helm struct {
	Config
	policies policies
	settling sync.Mutex // one look at a time at what main needs: pushes and reactions both look
	sending  sync.Mutex // likewise at what staging needs
	previews sync.Mutex // likewise at what previews there should be
}

// New makes a Helm. Run starts its reactions.
func New(cfg Config) *Helm {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Helm{Config: cfg}
}

func (h *Helm) now() time.Time { return h.Now().UTC() }

// may says whether the actor may do something on an app's instances of a kind.
func (h *Helm) may(ctx context.Context, a bosman.Actor, v bosman.Verb, app string, kind bosman.InstanceKind) error {
	if a.System {
		return nil
	}
	p, err := h.Store.Person(ctx, a.Person)
	if bosman.KindOf(err) == bosman.KindNotFound {
		return bosman.Forbidden("%q is nobody Bosman knows", a.Person).WithKept("nothing was changed").WithNext("ask an administrator: bosman people add " + a.Person)
	}
	if err != nil {
		return err
	}
	return access.Check(p, v, app, kind)
}

// May says whether the actor may do something; for pages that offer it.
func (h *Helm) May(ctx context.Context, a bosman.Actor, v bosman.Verb, app string, kind bosman.InstanceKind) bool {
	return h.may(ctx, a, v, app, kind) == nil
}

// note adds the activity line and the event of a verb, inside its transaction.
func (h *Helm) note(ctx context.Context, s *store.Store, a bosman.Actor, line bosman.Activity, events ...bosman.Event) error {
	line.At, line.Who, line.From = h.now(), a.Person, a.From
	if err := s.AppendActivity(ctx, line); err != nil {
		return err
	}
	return h.tell(ctx, s, line.App, events...)
}

// tell adds events, inside a transaction.
func (h *Helm) tell(ctx context.Context, s *store.Store, app string, events ...bosman.Event) error {
	for _, e := range events {
		e.App, e.At = app, h.now()
		if err := s.AppendEvent(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// saveChange keeps a change, with the event that pages wait for.
func (h *Helm) saveChange(ctx context.Context, c bosman.Change) error {
	return h.Store.InTx(ctx, func(s *store.Store) error {
		if err := s.SaveChange(ctx, c); err != nil {
			return err
		}
		return h.tell(ctx, s, c.App, event(bosman.EventChangeUpdated, changeRef(c.Number)))
	})
}

func event(kind bosman.EventKind, subject string) bosman.Event {
	return bosman.Event{Kind: kind, Subject: subject}
}

func changeRef(n int) string  { return bosman.Ref(bosman.LetterChange, n) }
func buildRef(n int) string   { return bosman.Ref(bosman.LetterBuild, n) }
func releaseRef(n int) string { return bosman.Ref(bosman.LetterRelease, n) }
func opRef(n int) string      { return bosman.Ref(bosman.LetterOperation, n) }

// KindOf tells the kind of an instance by its name: live, staging,
// testing-NAME or preview-NAME.
func KindOf(instance string) (bosman.InstanceKind, error) {
	for _, k := range []bosman.InstanceKind{bosman.KindLive, bosman.KindStaging, bosman.KindTesting, bosman.KindPreview} {
		if instance == string(k) || len(instance) > len(k)+1 && instance[:len(k)+1] == string(k)+"-" {
			return k, bosman.CheckName("instance", instance)
		}
	}
	return "", bosman.Invalid("%q does not say what the instance is for", instance).
		WithNext("name it live, staging, testing-NAME or preview-NAME")
}

// newInstance adds an instance that holds nothing yet.
func (h *Helm) newInstance(ctx context.Context, s *store.Store, app, name, owner string) (bosman.Instance, error) {
	kind, err := KindOf(name)
	if err != nil {
		return bosman.Instance{}, err
	}
	uid, err := s.Next(ctx, "", 'u')
	if err != nil {
		return bosman.Instance{}, err
	}
	i := bosman.Instance{
		App: app, Name: name, Kind: kind, Owner: owner, State: bosman.InstanceEmpty,
		URL: h.Addresses.Instance(app, name, uid), ErrorKey: access.RandomKey(16), UID: FirstUID + uid, CreatedAt: h.now(),
	}
	if err := s.SaveInstance(ctx, i); err != nil {
		return i, err
	}
	sealed, err := h.Box.Seal(access.RandomKey(32))
	if err != nil {
		return i, err
	}
	return i, s.SaveSecret(ctx, store.SealedSecret{App: app, Scope: "instance:" + name, Name: "SECRET_KEY", Sealed: sealed, SetAt: h.now(), SetBy: "bosman"})
}

// FirstUID is below the Unix users of instances, the first of which is one
// more. It lies between what Debian gives to people and subordinate ranges, so that the
// numbers of instances are nobody else's.
const FirstUID = 70_000

// Run reacts to events until ctx ends. It first compares what is with what
// should be.
func (h *Helm) Run(ctx context.Context) error {
	if err := h.Reconcile(ctx); err != nil {
		return fmt.Errorf("compare what is with what should be: %w", err)
	}
	return h.react(ctx)
}
