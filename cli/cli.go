// Package cli is Bosman's command line: one file a command. Commands speak to
// the server through api/client only; what runs on this machine itself (serve,
// demo, doctor) is given by the caller as Roles. It must not know helm, the
// store or any stage.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/client"
)

// Exit codes that scripts can use.
const (
	ExitOK          = 0
	ExitFailed      = 1 // the build is red, the deployment failed, the command failed
	ExitUsage       = 2
	ExitRefused     = 3 // forbidden, conflict, busy
	ExitNotFound    = 4
	ExitUnreachable = 5 // the server does not answer
)

// ServeOptions are the flags of serve.
type ServeOptions struct {
	Data           string   `kong:"-"` // folder of all that Bosman keeps; from --data
	Listen         string   `default:":8080" help:"Address for people, instances and git."`
	BaseDomain     string   `placeholder:"DOMAIN" help:"Instances at INSTANCE-APP.DOMAIN instead of INSTANCE.APP.localhost."`
	URL            string   `name:"url" placeholder:"URL" help:"Address of Bosman's pages when another proxy stands before it."`
	PortPerInst    int      `name:"port-per-instance" placeholder:"PORT" help:"First of the ports that instances get each, for machines without DNS; 0 for none."`
	Workers        int      `default:"2" help:"How many builds run at a time."`
	TrustedProxies []string `placeholder:"CIDR" help:"Proxies that may say who the client is."`
	BackupTarget   string   `placeholder:"TARGET" env:"BOSMAN_BACKUP_TARGET" help:"Where backups go: a folder or s3://BUCKET/PREFIX, with the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; DATA/backups when left out."`
	PointInTime    int      `placeholder:"DAYS" env:"BOSMAN_POINT_IN_TIME" help:"Keep every moment of the last so many days of staging's and live's PostgreSQL databases reachable; 0 for none."`
	PostgresBin    string   `placeholder:"DIR" help:"Server programs of the PostgreSQL that a new server for copies is made with, /usr/lib/postgresql/18/bin say; Debian's newest when left out."`
	PostgresClient string   `placeholder:"DIR" help:"Where pg_dump and pg_restore are; those that fit best when left out."`
	CopyQuota      string   `placeholder:"SIZE" help:"What the copies of an app may take, 50GB say; as much as the disk allows when left out."`
	LogLevel       string   `default:"info" enum:"debug,info,warn,error" help:"How much to log: debug, info, warn or error."`
}

// DemoOptions are the flags of demo.
type DemoOptions struct {
	Data        string `kong:"-"` // folder of the demo; from --data, "" is .demo here
	Once        bool   `help:"Play the story, print what was checked, shut everything down; the exit code says how it went."`
	Clean       bool   `help:"Stop the demo and remove all it made."`
	Port        int    `placeholder:"PORT" help:"Port of everything; 8080 or the next free one when left out."`
	BaseDomain  string `placeholder:"DOMAIN" help:"Instances at INSTANCE-APP.DOMAIN, for other machines."`
	PortPerInst int    `name:"port-per-instance" placeholder:"PORT" help:"First of the ports that instances get each, for machines without DNS."`
}

// Roles are what the program does besides asking a server. A nil one is not
// built in.
type Roles struct {
	Serve   func(ctx context.Context, o ServeOptions, stdout, stderr io.Writer) error
	Demo    func(ctx context.Context, o DemoOptions, stdout, stderr io.Writer) error
	Doctor  func(ctx context.Context, o ServeOptions, stdout io.Writer) error
	Storage func(ctx context.Context, o StorageOptions, stdout io.Writer) error
	Recover func(ctx context.Context, o RecoverOptions, stdout io.Writer) error
	Version string
}

// env is what commands work with.
type env struct {
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	roles  Roles
	global *globals
	model  *kong.Kong
	now    func() time.Time
	client *client.Client
}

// globals are the flags that every command has.
type globals struct {
	Data    string      `name:"data" placeholder:"DIR" help:"Data folder of the server on this machine (BOSMAN_DATA)."`
	Remote  string      `name:"server" placeholder:"URL" help:"Server on another machine (BOSMAN_URL), with BOSMAN_TOKEN."`
	As      string      `placeholder:"PERSON" help:"On the server's own machine, as root: for whom to ask (BOSMAN_AS)."`
	JSON    bool        `name:"json" help:"Print JSON."`
	Plain   bool        `help:"Words instead of pictures, no colour."`
	Version versionFlag `help:"Print the version."`
}

type versionFlag bool

// BeforeReset prints the version and ends.
func (versionFlag) BeforeReset(k *kong.Kong, vars kong.Vars) error {
	_, err := fmt.Fprintln(k.Stdout, "bosman "+vars["version"])
	k.Exit(ExitOK)
	return err
}

// inApp is the flag of what concerns one app.
type inApp struct {
	App string `short:"a" placeholder:"APP" help:"App; the only one, or that of this folder's git remote, when left out (BOSMAN_APP)."`
}

// commands is the grammar.
type commands struct {
	globals

	Status   statusCmd   `cmd:"" group:"look" help:"Show the jobs table: what runs where, and how the last runs went."`
	Changes  changesCmd  `cmd:"" group:"look" help:"List changes, each with its road."`
	Log      logCmd      `cmd:"" group:"look" help:"Show the log of a build, a deployment or an instance."`
	Activity activityCmd `cmd:"" group:"look" help:"List who changed what."`
	Problems problemsCmd `cmd:"" group:"look" help:"List, show and resolve problems."`
	Mails    mailsCmd    `cmd:"" group:"look" help:"List and read the mail that instances sent and Bosman caught."`

	Build    buildCmd    `cmd:"" group:"change" help:"Build a branch as merged with main."`
	Retry    retryCmd    `cmd:"" group:"change" help:"Build again what a build built."`
	Builds   buildsCmd   `cmd:"" group:"change" help:"List builds."`
	Try      tryCmd      `cmd:"" group:"change" help:"Put a change on a testing instance, with a fresh copy of the data."`
	Reset    resetCmd    `cmd:"" group:"change" help:"Give a testing instance a fresh copy again."`
	Accept   acceptCmd   `cmd:"" group:"change" help:"Say that a change is good."`
	SendBack sendBackCmd `cmd:"" group:"change" help:"Say that a change is not good, and why."`
	Rehearse rehearseCmd `cmd:"" group:"change" help:"Show what a release does to a copy of staging's database, or rehearse it."`
	Merge    mergeCmd    `cmd:"" group:"change" help:"Merge a change into main."`
	Close    closeCmd    `cmd:"" group:"change" help:"Take a change off the road."`

	Deploy    deployCmd    `cmd:"" group:"instance" help:"Deploy a release to an instance."`
	Revert    revertCmd    `cmd:"" group:"instance" help:"Take an instance back to the release before."`
	Restart   restartCmd   `cmd:"" group:"instance" help:"Restart an instance."`
	Stop      stopCmd      `cmd:"" group:"instance" help:"Stop an instance."`
	Start     startCmd     `cmd:"" group:"instance" help:"Start a stopped instance."`
	Run       runCmd       `cmd:"" group:"instance" help:"Run a command or a task in an instance."`
	Tasks     tasksCmd     `cmd:"" group:"instance" help:"List the tasks that bosman.yaml names."`
	Instances instancesCmd `cmd:"" group:"instance" help:"List and remove instances."`
	Releases  releasesCmd  `cmd:"" group:"instance" help:"List releases."`
	Databases databasesCmd `cmd:"" group:"instance" help:"List an app's databases, what they take and how copies are made."`
	Mask      maskCmd      `cmd:"" group:"instance" help:"Show what is masked in copies of the data."`
	Ops       opsCmd       `cmd:"" name:"deployments" group:"instance" help:"List deployments and the other operations."`
	Cancel    cancelCmd    `cmd:"" group:"instance" help:"Cancel a build, or an operation that still waits."`
	Kept      keptCmd      `cmd:"" group:"instance" help:"List, put back and remove the data that restores replaced."`
	Backup    backupCmd    `cmd:"" group:"instance" help:"List, make and restore backups."`

	App           appCmd           `cmd:"" group:"admin" help:"List, add and remove apps."`
	Init          initCmd          `cmd:"" group:"admin" help:"Write the bosman.yaml of this folder."`
	Secrets       secretsCmd       `cmd:"" group:"admin" help:"List, set and remove secrets."`
	People        peopleCmd        `cmd:"" group:"admin" help:"List and add people, passwords and tokens."`
	Allow         allowCmd         `cmd:"" group:"admin" help:"Give a person a role."`
	Notify        notifyCmd        `cmd:"" group:"admin" help:"List and choose who is told what happens."`
	ConfirmPolicy confirmPolicyCmd `cmd:"" group:"admin" help:"Confirm what main loosens of live's protection."`

	Serve         serveCmd         `cmd:"" group:"machine" help:"Run Bosman."`
	Demo          demoCmd          `cmd:"" group:"machine" help:"Run Bosman with an example application."`
	Recovery      recoveryCmd      `cmd:"" group:"machine" help:"Make, confirm and look after the recovery key."`
	Recover       recoverCmd       `cmd:"" group:"machine" help:"Bring a lost Bosman back from its backups, into an empty data folder."`
	Storage       storageCmd       `cmd:"" group:"machine" help:"Make storage on which copies share what they have in common."`
	Doctor        doctorCmd        `cmd:"" group:"machine" help:"Look whether this machine has what Bosman needs."`
	Completion    completionCmd    `cmd:"" group:"machine" help:"Print the completion script of a shell."`
	GitCredential gitCredentialCmd `cmd:"" group:"machine" help:"Answer git's question for a password on this machine."`
}

// Main runs the command line and gives its exit code.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string, roles Roles) int {
	e := &env{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv, roles: roles, now: time.Now}
	cmds := &commands{}
	e.global = &cmds.globals
	code, exited := ExitOK, errors.New("exited")
	parser, err := newParser(cmds, e, kong.Exit(func(c int) { code = c; panic(exited) }))
	if err != nil {
		return e.fail(err)
	}
	e.model = parser
	if len(args) == 0 {
		args = []string{"--help"}
	}
	defer func() {
		if e.client != nil {
			e.client.Close()
		}
	}()
	return runParsed(e, parser, args, exited, &code)
}

// runParsed ends early when the parser printed help or the version.
func runParsed(e *env, parser *kong.Kong, args []string, exited error, code *int) (result int) {
	defer func() {
		if r := recover(); r != nil {
			if r != any(exited) {
				panic(r)
			}
			result = *code
		}
	}()
	kctx, err := parser.Parse(args)
	if err != nil {
		return e.usage(err)
	}
	if err := kctx.Run(e); err != nil {
		return e.fail(err)
	}
	return ExitOK
}

func newParser(cmds *commands, e *env, options ...kong.Option) (*kong.Kong, error) {
	version := e.roles.Version
	if version == "" {
		version = "dev"
	}
	return kong.New(cmds, append([]kong.Option{
		kong.Name("bosman"),
		kong.Description("Bosman builds, tests and runs web applications, from a push to the live site and back."),
		kong.Writers(e.stdout, e.stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.Vars{"version": version, "data": DefaultData(e.getenv)},
		kong.ExplicitGroups([]kong.Group{
			{Key: "look", Title: "Look:"},
			{Key: "change", Title: "Changes on their way to main:"},
			{Key: "instance", Title: "Instances:"},
			{Key: "admin", Title: "Apps and people:"},
			{Key: "machine", Title: "This machine:"},
		}),
	}, options...)...)
}

// DefaultData is where Bosman keeps its data when nothing else is said.
func DefaultData(getenv func(string) string) string {
	if dir := getenv("BOSMAN_DATA"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/bosman"
	}
	return filepath.Join(getenv("HOME"), ".local", "share", "bosman")
}

// data is the data folder of the server on this machine.
func (e *env) data() string { return first(e.global.Data, DefaultData(e.getenv)) }

// first is the first text that says something.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// server gives the client, made when it is first needed.
func (e *env) server() *client.Client {
	if e.client == nil {
		cfg := client.Config{Agent: "bosman"}
		if cfg.URL = first(e.global.Remote, e.getenv("BOSMAN_URL")); cfg.URL != "" {
			cfg.Token = e.getenv("BOSMAN_TOKEN")
		} else {
			cfg.Socket, cfg.As = filepath.Join(e.data(), "bosman.sock"), first(e.global.As, e.getenv("BOSMAN_AS"))
		}
		e.client = client.New(cfg)
	}
	return e.client
}

// app gives the app that is meant.
func (e *env) app(named string) (string, error) {
	if named = first(named, e.getenv("BOSMAN_APP")); named != "" {
		return named, nil
	}
	apps, err := e.server().Apps(e.ctx)
	if err != nil {
		return "", err
	}
	if len(apps) == 1 {
		return apps[0].Name, nil
	}
	names := make([]string, len(apps))
	for n, a := range apps {
		names[n] = a.Name
	}
	if name := appOfRemotes(e.ctx, names); name != "" {
		return name, nil
	}
	if len(apps) == 0 {
		return "", bosman.NotFound("there is no app yet").WithNext("bosman app add NAME")
	}
	return "", bosman.Invalid("which app: %s?", strings.Join(names, ", ")).WithNext("say it with --app NAME, or set BOSMAN_APP")
}
