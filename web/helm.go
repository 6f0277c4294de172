package web

import (
	"context"
	"io"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
)

// Helm is what the pages ask of helm; *helm.Helm is one.
type Helm interface {
	reads
	verbs
}

type reads interface {
	May(ctx context.Context, a bosman.Actor, v bosman.Verb, app string, kind bosman.InstanceKind) bool
	Apps(ctx context.Context, a bosman.Actor) ([]bosman.App, error)
	App(ctx context.Context, a bosman.Actor, app string) (bosman.App, error)
	Status(ctx context.Context, a bosman.Actor, app string) ([]helm.Job, error)
	Manifest(ctx context.Context, app string) (*bosman.Manifest, error)
	Policy(ctx context.Context, app string, kind bosman.InstanceKind) (*bosman.Policy, error)
	Loosened(ctx context.Context, app string) ([]string, error)
	Judge(ctx context.Context, op bosman.Operation) (helm.Wait, error)
	Changes(ctx context.Context, a bosman.Actor, app string, all bool, max int) ([]helm.ChangeView, error)
	ChangePage(ctx context.Context, a bosman.Actor, app, ref string) (helm.ChangeView, error)
	FindChange(ctx context.Context, a bosman.Actor, app, ref string) (bosman.Change, error)
	BuildOf(ctx context.Context, a bosman.Actor, app string, n int) (bosman.Build, error)
	Builds(ctx context.Context, a bosman.Actor, app string, change, max int) ([]bosman.Build, error)
	CommitTitle(ctx context.Context, a bosman.Actor, app, commit string) (string, error)
	Releases(ctx context.Context, a bosman.Actor, app string, max int) ([]bosman.Release, error)
	Instance(ctx context.Context, a bosman.Actor, app, name string) (bosman.Instance, error)
	Instances(ctx context.Context, a bosman.Actor, app string) ([]bosman.Instance, error)
	Held(ctx context.Context, a bosman.Actor, app, instance string) (*bosman.Held, error)
	Operation(ctx context.Context, a bosman.Actor, app string, n int) (bosman.Operation, error)
	Operations(ctx context.Context, a bosman.Actor, app, instance string, max int) ([]bosman.Operation, error)
	Backups(ctx context.Context, a bosman.Actor, app, instance string, max int) ([]bosman.Backup, error)
	Mails(ctx context.Context, a bosman.Actor, app, instance string, max int) ([]bosman.Mail, error)
	Mail(ctx context.Context, a bosman.Actor, app string, id int64) (bosman.Mail, error)
	Problems(ctx context.Context, a bosman.Actor, app string, resolved bool, max int) ([]bosman.Problem, error)
	Problem(ctx context.Context, a bosman.Actor, app string, n int) (bosman.Problem, []bosman.ErrorEvent, error)
	Activity(ctx context.Context, a bosman.Actor, app string, before int64, max int) ([]bosman.Activity, error)
	People(ctx context.Context, a bosman.Actor) ([]bosman.Person, error)
	Tokens(ctx context.Context, a bosman.Actor, person string) ([]bosman.Token, error)
	AtHand(ctx context.Context) ([]bosman.Person, error)
	DatabasesOf(ctx context.Context, a bosman.Actor, app string) (bosman.Storage, error)
	AdoptedOf(ctx context.Context, a bosman.Actor, app, instance string) (*bosman.AdoptedDatabase, error)
	KeptCopies(ctx context.Context, a bosman.Actor, app, instance string) ([]bosman.KeptCopy, error)
	BackupHealth(ctx context.Context, a bosman.Actor, app string) ([]bosman.BackupHealth, error)
	BackupContents(ctx context.Context, a bosman.Actor, app string, n int) (bosman.BackupContents, error)
	Recovery(ctx context.Context) (bosman.Recovery, error)
	Rehearsal(ctx context.Context, a bosman.Actor, app, ref string) (bosman.Rehearsal, error)
	PlanRevert(ctx context.Context, a bosman.Actor, app, instance string) (bosman.RevertPlan, error)
	Moments(ctx context.Context, a bosman.Actor, app string) (*bosman.PointInTime, error)
}

type verbs interface {
	ConfirmPolicy(ctx context.Context, a bosman.Actor, app string) error
	Build(ctx context.Context, a bosman.Actor, app, branch string) (bosman.Build, error)
	Retry(ctx context.Context, a bosman.Actor, app string, n int) (bosman.Build, error)
	CancelBuild(ctx context.Context, a bosman.Actor, app string, n int, why string) error
	Try(ctx context.Context, a bosman.Actor, app, ref, instance string) (bosman.Operation, error)
	Reset(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error)
	Accept(ctx context.Context, a bosman.Actor, app, ref, why string) error
	SendBack(ctx context.Context, a bosman.Actor, app, ref, why string) error
	Merge(ctx context.Context, a bosman.Actor, app, ref string) (helm.Merged, error)
	MergeAnyway(ctx context.Context, a bosman.Actor, app, ref, why string) (helm.Merged, error)
	CloseChange(ctx context.Context, a bosman.Actor, app, ref string) error
	Deploy(ctx context.Context, a bosman.Actor, req helm.DeployRequest) (bosman.Operation, error)
	Revert(ctx context.Context, a bosman.Actor, req helm.RevertRequest) (bosman.Operation, error)
	CancelOperation(ctx context.Context, a bosman.Actor, app string, n int) error
	Restart(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error)
	Stop(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error)
	Start(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error)
	MakeBackup(ctx context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error)
	RestoreBackup(ctx context.Context, a bosman.Actor, app string, backup int, instance string) (bosman.Operation, error)
	VerifyBackup(ctx context.Context, a bosman.Actor, app string, n int, every bool) (bosman.Backup, error)
	RemoveBackup(ctx context.Context, a bosman.Actor, app string, n int) error
	RestoreKept(ctx context.Context, a bosman.Actor, app, instance, id string, anyRelease bool) (bosman.Operation, error)
	RemoveKept(ctx context.Context, a bosman.Actor, app, instance, id string) error
	RemoveInstance(ctx context.Context, a bosman.Actor, app, name string) error
	RunCommand(ctx context.Context, a bosman.Actor, app, instance, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error)
	ResolveProblem(ctx context.Context, a bosman.Actor, app string, n int, resolved bool) error
	AddPerson(ctx context.Context, a bosman.Actor, p bosman.Person, password string) error
	Allow(ctx context.Context, a bosman.Actor, name string, role bosman.Role, app string) error
	DisablePerson(ctx context.Context, a bosman.Actor, name string, disabled bool) error
	SetPassword(ctx context.Context, a bosman.Actor, name, password string) error
	NewToken(ctx context.Context, a bosman.Actor, person, name string) (text string, err error)
	RemoveToken(ctx context.Context, a bosman.Actor, id string) error
	SetAtHand(ctx context.Context, a bosman.Actor, until time.Time) error
}

var _ Helm = (*helm.Helm)(nil)
