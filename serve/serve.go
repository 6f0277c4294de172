package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/build"
	"github.com/bosman-cd/bosman/build/sandbox"
	"github.com/bosman-cd/bosman/deploy"
	"github.com/bosman-cd/bosman/edge/control"
	"github.com/bosman-cd/bosman/helm"
	"github.com/bosman-cd/bosman/instance"
	"github.com/bosman-cd/bosman/instance/runtime/process"
	"github.com/bosman-cd/bosman/mailsink"
	"github.com/bosman-cd/bosman/problem"
	"github.com/bosman-cd/bosman/release"
	"github.com/bosman-cd/bosman/secret"
	"github.com/bosman-cd/bosman/source"
	"github.com/bosman-cd/bosman/steps"
	"github.com/bosman-cd/bosman/store"
	"github.com/bosman-cd/bosman/vault"
	"github.com/bosman-cd/bosman/web"
)

// Options say how Bosman is to run.
type Options struct {
	Data           string // the folder of all that Bosman keeps
	Listen         string // where the edge listens: ":8080"
	BaseDomain     string // instances at INSTANCE-APP.BASE; "" is *.localhost
	URL            string // of Bosman's pages, where another proxy stands before it
	PortPerInst    int    // first port of instances with a port of their own; 0: none
	Workers        int    // builds at a time; 0: 2
	TrustedProxies []string
	BackupTarget   string // where backups go: a folder or s3://bucket/prefix; "" is DATA/backups
	PostgresBin    string // programs of the PostgreSQL that a new server for copies is made with; "": Debian's newest
	PostgresClient string // programs that dump and restore; "": those that fit best
	PointInTime    int    // days of which every moment of the durable databases can be had; 0: none
	CopyQuota      string // what the copies of an app may take: "50GB"; "": no bound
	LogLevel       string
	Program        string // our own program; "" is the running one
	Stdout, Stderr io.Writer

	started func(*server) // in tests: told that everything runs
}

// server is Bosman at work.
type server struct {
	opt        Options
	log        *slog.Logger
	store      *store.Store
	repos      *source.Repos
	records    *records
	addresses  *addresses
	helm       *helm.Helm
	deploy     *deploy.Service
	engine     *steps.Engine
	queue      *build.Queue
	instances  *instances
	databases  *databases
	vaults     *vaults
	backups    *backupWork
	timeline   *timeline
	custody    *custodian
	routes     *routes
	migrations *migrations
	edge       *control.Client
	intake     *problem.Intake
	git        *source.Server
	forges     *forges
	web        *web.Web

	considering sync.Mutex // whether a release is to be rehearsed

	mail   instance.Mail
	limit  *access.Limit // of failed log-ins
	broken chan error
}

// Run opens all parts and runs until ctx ends. What runs as an instance goes
// on when it returns.
func Run(ctx context.Context, opt Options) (err error) {
	if opt.Program == "" {
		if opt.Program, err = os.Executable(); err != nil {
			return err
		}
	}
	if opt.Data, err = filepath.Abs(opt.Data); err != nil {
		return err
	}
	level := slog.LevelInfo
	if opt.LogLevel != "" {
		if err := level.UnmarshalText([]byte(opt.LogLevel)); err != nil {
			return bosman.Invalid("--log-level %q is not one", opt.LogLevel).WithNext("take debug, info, warn or error")
		}
	}
	s := &server{opt: opt, log: slog.New(slog.NewTextHandler(opt.Stderr, &slog.HandlerOptions{Level: level})), broken: make(chan error, 1), limit: access.NewLimit(time.Now)}
	if s.addresses, err = newAddresses(opt.Listen, opt.BaseDomain, opt.URL); err != nil {
		return err
	}
	for _, dir := range []string{"", "run", "git", "releases", "instances", "backups", "builds", "cache"} {
		if err := os.MkdirAll(filepath.Join(opt.Data, dir), 0o755); err != nil {
			return bosman.Unavailable("the data folder %s cannot be used", opt.Data).WithNext("make it, or name another with --data").Because(err)
		}
	}
	if err := refuseRecovering(opt.Data); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(opt.Data, "serve.lock"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if s.store, err = store.Open(ctx, filepath.Join(opt.Data, "bosman.db")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	if err := s.assemble(ctx); err != nil {
		return err
	}
	err = s.run(ctx)
	if ctx.Err() != nil && hostStops(context.WithoutCancel(ctx)) {
		s.log.Info("the host is being shut down: copies are written to their disk")
		err = errors.Join(err, s.databases.rest(ctx))
	}
	return err
}

// lock makes sure that one Bosman uses a data folder at a time.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, bosman.Unavailable("the data folder cannot be locked").Because(err)
	}
	// A process that was just killed may hold it for a moment.
	for range 50 {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return f.Close, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, errors.Join(bosman.Busy("another bosman serve uses %s", filepath.Dir(path)).WithKept("it goes on").WithNext("stop it first, or name another folder with --data"), f.Close())
}

// path is a place in the data folder.
func (s *server) path(parts ...string) string {
	return filepath.Join(append([]string{s.opt.Data}, parts...)...)
}

// assemble makes all parts and ties them together; nothing runs yet.
func (s *server) assemble(ctx context.Context) (err error) {
	box, err := secret.Open(s.path("secrets.key"))
	if err != nil {
		return err
	}
	if s.repos, err = source.New(ctx, s.path("git")); err != nil {
		return err
	}
	releases := release.New(s.path("releases"), parse)
	if err := releases.Sweep(); err != nil {
		return err
	}
	keys, err := vault.OpenKeys(s.path("backup.key"))
	if err != nil {
		return err
	}
	s.vaults = newVaults(cmp.Or(s.opt.BackupTarget, s.path("backups")), keys, vault.S3FromEnv(os.Getenv))
	if _, err := s.vaults.store(ctx, ""); err != nil {
		return err
	}
	s.records = &records{store: s.store, releases: releases, target: s.vaults.home, now: time.Now}
	driver, err := process.New(process.Options{Program: s.opt.Program, RunGlob: s.path("instances", "*", "*", "run", "*")})
	if err != nil {
		return err
	}
	s.databases = newDatabases(s.opt.Data, s.records, s.log)
	s.databases.postgresBin, s.databases.postgresClient = s.opt.PostgresBin, s.opt.PostgresClient
	if s.databases.copyQuota, err = parseBytes(s.opt.CopyQuota); err != nil {
		return err
	}
	s.databases.vaults, s.databases.keepLog = s.vaults, s.opt.PointInTime > 0
	s.edge = control.New(s.path("run", "edge.sock"))
	all := newSets(driver)
	s.instances = &instances{
		data: s.opt.Data, records: s.records, databases: s.databases, driver: all, edge: s.edge, sup: instance.NewSupervisor(all, s.log),
		addresses: s.addresses, mail: func() instance.Mail { return s.mail }, log: s.log,
	}
	s.databases.instances = s.instances
	s.routes = &routes{instances: s.instances, edge: s.edge}
	s.addresses.ports = s.opt.PortPerInst
	s.migrations = newMigrations(s)
	s.helm = helm.New(helm.Config{
		Store: s.store, Repos: s.repos, Box: box, Runtime: runtimeFor{s.instances, s.routes}, Addresses: s.addresses,
		Migrations: s.migrations,
		KeptData:   keptData{s.databases}, Storage: s.databases, Log: s.log,
	})
	s.instances.helm = s.helm
	s.helm.Masks = s.databases
	s.databases.masks = &masks{records: s.records, confirmed: s.helm.ConfirmedManifest, salt: func(app string) string { return box.Derive("masks of " + app) }}
	s.databases.copySource = s.helm.CopySource
	s.queue = build.NewQueue(s.records, &build.Runner{
		Data: s.opt.Data, Source: trees{s.repos}, Manifests: manifests{}, Reports: reports{}, Records: s.records,
		Secrets: buildSecrets{s.helm}, TestDatabase: testDatabases{s.databases}, Releases: releases,
		Sandbox: sandbox.New(sandbox.Options{HostEnv: os.Environ(), Hide: []string{s.opt.Data}, Log: s.log}), Log: s.log,
	}, s.opt.Workers, s.log)
	s.helm.Builder = s.queue
	if s.engine, err = steps.Open(ctx, steps.Options{Path: s.path("engine.db"), Log: s.log, Broken: func(err error) {
		select {
		case s.broken <- err:
		default:
		}
	}}); err != nil {
		return err
	}
	s.timeline = newTimeline(s)
	s.deploy, err = deploy.New(deploy.Config{
		Engine: s.engine, Records: s.records, Gate: gate{s.helm}, Instances: s.instances, Routes: s.routes, Databases: s.databases,
		Copies: s.databases, Source: tags{s.repos}, Watcher: watcher{s.instances, s.edge, s.log}, Points: s.timeline, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.helm.Operator = s.deploy
	s.backups = newBackupWork(s)
	s.helm.Vaults = s.backups
	if s.opt.PointInTime < 0 {
		return bosman.Invalid("--point-in-time %d is no number of days", s.opt.PointInTime).WithNext("take 7, say, or 0 for none")
	}
	s.helm.Timeline = s.timeline
	if s.custody, err = s.newCustodian(); err != nil {
		return err
	}
	s.helm.Custody = s.custody
	s.forges = newForges(s.store, s.helm, func(msg string, args ...any) { s.log.Warn(msg, args...) })
	bodies, err := problem.NewBodies(s.path("events"))
	if err != nil {
		return err
	}
	if s.intake, err = problem.New(problem.Config{Keys: errorKeys{s.store}, Store: errorStore{s.records}, Bodies: bodies, Log: s.log}); err != nil {
		return err
	}
	s.git, err = source.NewServer(source.Config{
		Repos: s.repos, Authorize: s.authorizeGit, Receiver: s.helm, HookBinary: s.opt.Program, HookSocket: s.path("run", "hook.sock"),
		ProtectedTags: []string{"live-*"}, Log: s.log,
	})
	return err
}

// tags gives deployments the app's repository.
type tags struct{ repos *source.Repos }

// Tag sets a tag on a commit.
func (t tags) Tag(ctx context.Context, app, name, commit, message string) error {
	repo, err := t.repos.Open(app)
	if err != nil {
		return err
	}
	return repo.Tag(ctx, name, commit, message, source.Signature{Name: "Bosman", Email: "bosman@localhost", At: time.Now()})
}

// IsAncestor says whether commit older is part of newer.
func (t tags) IsAncestor(ctx context.Context, app, older, newer string) (bool, error) {
	repo, err := t.repos.Open(app)
	if err != nil {
		return false, err
	}
	return repo.IsAncestor(ctx, older, newer)
}

// run starts everything in order and waits for the end.
func (s *server) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	task := func(name string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	mail, where, err := listenMail(ctx, s.store, s.log)
	if err != nil {
		return err
	}
	s.mail = where
	sink, err := mailsink.New(mailsink.Config{Keys: mailKeys{s.store}, Store: mailStore{s.records}, Log: s.log})
	if err != nil {
		return err
	}
	task("mail", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = sink.Close() }) // it only ends connections
		defer stop()
		return sink.Serve(mail)
	})
	servers, err := s.listen(ctx)
	if err != nil {
		return err
	}
	for name, srv := range servers {
		task(name, srv)
	}
	if err := s.listenToWake(ctx, task); err != nil {
		return err
	}
	if err := s.startEdge(ctx); err != nil {
		return err
	}
	task("edge", s.watchEdge)
	apps, err := s.store.Apps(ctx)
	if err != nil {
		return err
	}
	for _, app := range apps {
		repo, err := s.repos.Open(app.Name)
		if err != nil {
			return err
		}
		if _, err := repo.Recover(time.Minute); err != nil {
			return err
		}
	}
	if err := s.databases.resume(ctx); err != nil {
		return err
	}
	if err := s.helm.FinishRemovals(ctx); err != nil {
		return err
	}
	if err := s.missingRoutes(ctx); err != nil {
		return err
	}
	task("databases", func(ctx context.Context) error { s.databases.watch(ctx); return nil })
	task("instances", func(ctx context.Context) error {
		s.instances.sup.Watch(ctx, 4*time.Second, s.instances.desired)
		return nil
	})
	task("states", func(ctx context.Context) error { s.instances.observe(ctx); return nil })
	if err := s.engine.Launch(); err != nil {
		return err
	}
	task("reactions", s.helm.Run)
	task("builds", s.queue.Run)
	task("wake", s.wakeDeployments)
	task("golden copies", s.followCopies)
	task("copies", s.keepCopies)
	task("forges", s.forges.run)
	task("messages", s.tellPeople)
	task("cron", s.runCron)
	task("rehearsals", s.rehearse)
	task("aftermaths", s.afterReverts)
	task("pruning", s.prune)
	task("room on the disk", s.guardDisk)
	task("previews", s.keepPreviews)
	task("proofs of backups", s.backups.prove)
	task("schedules of backups", s.backups.schedule)
	task("state backups", s.keepState)
	task("point in time", s.timeline.run)
	if err := s.greet(ctx); err != nil {
		return err
	}
	if err := s.greetKey(); err != nil {
		return err
	}
	if s.opt.started != nil {
		s.opt.started(s)
	}
	select {
	case <-ctx.Done():
	case err := <-s.broken:
		cancel(bosman.Unavailable("the journal of operations cannot be written").WithKept("instances go on serving").WithNext("look whether the disk is full, then start bosman serve again").Because(err))
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return errors.Join(err, s.shutdown())
}

// shutdownTime bounds how long parts may take to end; what is cut is resumed
// at the next start.
const shutdownTime = 10 * time.Second

func (s *server) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	s.git.Close()
	return errors.Join(s.engine.Close(ctx), s.intake.Close())
}

// resumeEvery is how often operations that could not be begun are tried again.
const resumeEvery = 10 * time.Second

// wakeDeployments lets deployments that wait look again when something
// happened, and begins those whose row was written but whose run could not be:
// the disk was full.
func (s *server) wakeDeployments(ctx context.Context) error {
	t := time.NewTicker(resumeEvery)
	defer t.Stop()
	for {
		wake := s.store.Wake()
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := s.deploy.Resume(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("operations that wait cannot be begun", "err", err)
			}
			continue
		case <-wake:
		}
		s.deploy.Wake()
		select { // a burst of events is one reason to look
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// greet makes the first administrator and says where Bosman is.
func (s *server) greet(ctx context.Context) error {
	people, err := s.store.People(ctx)
	if err != nil {
		return err
	}
	if len(people) == 0 {
		password := access.RandomKey(8)
		if err := s.helm.AddPerson(ctx, bosman.System(), bosman.Person{Name: firstAdmin, Role: bosman.RoleAdmin}, password); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(s.opt.Stdout, "Bosman is new here. Log in as %s with the password %s and change it.\n", firstAdmin, password); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(s.opt.Stdout, "Bosman serves %s (data in %s)\n", s.addresses.Page("/"), s.opt.Data)
	return err
}

// firstAdmin is the person that root, and the first log-in, act as.
const firstAdmin = "admin"
