package story

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/helm"
)

func (s *Story) do(a bosman.Actor, v bosman.Verb, app string, kind bosman.InstanceKind, format string, args ...any) error {
	if err := s.check(a, v, app, kind); err != nil {
		return err
	}
	return s.call(format, args...)
}

// newest is the operation that verbs answer with.
func (s *Story) newest(app string) bosman.Operation {
	for _, o := range s.Ops {
		if o.App == app {
			return o
		}
	}
	return bosman.Operation{App: app, Number: 1}
}

// ConfirmPolicy is a verb.
func (s *Story) ConfirmPolicy(_ context.Context, a bosman.Actor, app string) error {
	return s.do(a, bosman.MayAdminister, app, bosman.KindLive, "confirm policy %s", app)
}

// Build is a verb.
func (s *Story) Build(_ context.Context, a bosman.Actor, app, branch string) (bosman.Build, error) {
	return s.BuildList[0], s.do(a, bosman.MayPush, app, "", "build %s %s", app, branch)
}

// Retry is a verb.
func (s *Story) Retry(_ context.Context, a bosman.Actor, app string, n int) (bosman.Build, error) {
	return s.BuildList[0], s.do(a, bosman.MayPush, app, "", "retry %s b%d", app, n)
}

// CancelBuild is a verb.
func (s *Story) CancelBuild(_ context.Context, a bosman.Actor, app string, n int, _ string) error {
	return s.do(a, bosman.MayPush, app, "", "cancel %s b%d", app, n)
}

// Try is a verb.
func (s *Story) Try(_ context.Context, a bosman.Actor, app, ref, instance string) (bosman.Operation, error) {
	return s.newest(app), s.do(a, bosman.MayTry, app, s.kind(instance), "try %s %s %s", app, ref, instance)
}

// Reset is a verb.
func (s *Story) Reset(_ context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error) {
	return s.newest(app), s.do(a, bosman.MayTry, app, s.kind(instance), "reset %s %s", app, instance)
}

// Accept is a verb.
func (s *Story) Accept(_ context.Context, a bosman.Actor, app, ref, _ string) error {
	return s.do(a, bosman.MaySignOff, app, "", "accept %s %s", app, ref)
}

// SendBack is a verb.
func (s *Story) SendBack(_ context.Context, a bosman.Actor, app, ref, why string) error {
	if strings.TrimSpace(why) == "" {
		return bosman.Invalid("sending a change back needs a reason").WithKept("nothing was changed")
	}
	return s.do(a, bosman.MaySignOff, app, "", "send back %s %s: %s", app, ref, why)
}

// Merge is a verb.
func (s *Story) Merge(_ context.Context, a bosman.Actor, app, ref string) (helm.Merged, error) {
	return helm.Merged{Note: "main is now 4be1d201; staging follows with r137"}, s.do(a, bosman.MayMerge, app, "", "merge %s %s", app, ref)
}

// CloseChange is a verb.
func (s *Story) CloseChange(_ context.Context, a bosman.Actor, app, ref string) error {
	return s.do(a, bosman.MayPush, app, "", "close %s %s", app, ref)
}

// Deploy is a verb.
func (s *Story) Deploy(_ context.Context, a bosman.Actor, req helm.DeployRequest) (bosman.Operation, error) {
	return s.newest(req.App), s.do(a, bosman.MayDeploy, req.App, s.kind(req.Instance), "deploy %s %s r%d %s/%s", req.App, req.Instance, req.Release, req.Why, req.Override)
}

// Revert is a verb.
func (s *Story) Revert(_ context.Context, a bosman.Actor, r helm.RevertRequest) (bosman.Operation, error) {
	how := "code"
	if r.Restore {
		how = "restore"
	}
	if r.ConfirmLoss {
		how += ", loss confirmed"
	}
	why := r.Why
	if r.Override != "" {
		why += ", override " + r.Override
	}
	return s.newest(r.App), s.do(a, bosman.MayRevert, r.App, s.kind(r.Instance), "revert %s %s %s %s", r.App, r.Instance, how, why)
}

// CancelOperation is a verb.
func (s *Story) CancelOperation(_ context.Context, a bosman.Actor, app string, n int) error {
	return s.do(a, bosman.MayDeploy, app, bosman.KindLive, "cancel %s d%d", app, n)
}

// Restart is a verb.
func (s *Story) Restart(_ context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error) {
	return s.newest(app), s.do(a, bosman.MayOperate, app, s.kind(instance), "restart %s %s", app, instance)
}

// Stop is a verb.
func (s *Story) Stop(_ context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error) {
	return s.newest(app), s.do(a, bosman.MayOperate, app, s.kind(instance), "stop %s %s", app, instance)
}

// Start is a verb.
func (s *Story) Start(_ context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error) {
	return s.newest(app), s.do(a, bosman.MayOperate, app, s.kind(instance), "start %s %s", app, instance)
}

// MakeBackup is a verb.
func (s *Story) MakeBackup(_ context.Context, a bosman.Actor, app, instance string) (bosman.Operation, error) {
	return s.newest(app), s.do(a, bosman.MayOperate, app, s.kind(instance), "backup %s %s", app, instance)
}

// RestoreBackup is a verb.
func (s *Story) RestoreBackup(_ context.Context, a bosman.Actor, app string, backup int, instance string) (bosman.Operation, error) {
	return s.newest(app), s.do(a, bosman.MayRestore, app, s.kind(instance), "restore %s k%d %s", app, backup, instance)
}

// RemoveInstance is a verb.
func (s *Story) RemoveInstance(_ context.Context, a bosman.Actor, app, name string) error {
	return s.do(a, bosman.MayTry, app, s.kind(name), "remove %s %s", app, name)
}

// RunCommand is a verb.
func (s *Story) RunCommand(_ context.Context, a bosman.Actor, app, instance, command string, _ io.Reader, stdout, _ io.Writer) (int, error) {
	if err := s.do(a, bosman.MayRun, app, s.kind(instance), "run %s %s: %s", app, instance, command); err != nil {
		return 0, err
	}
	_, err := io.WriteString(stdout, "507 candidates\n<script>alert(1)</script>\n")
	return 0, err
}

// ResolveProblem is a verb.
func (s *Story) ResolveProblem(_ context.Context, a bosman.Actor, app string, n int, resolved bool) error {
	return s.do(a, bosman.MayPush, app, "", "resolve %s p%d %v", app, n, resolved)
}

// AddPerson is a verb.
func (s *Story) AddPerson(_ context.Context, a bosman.Actor, p bosman.Person, _ string) error {
	return s.do(a, bosman.MayAdminister, "", "", "add person %s %s", p.Name, p.Role)
}

// Allow is a verb.
func (s *Story) Allow(_ context.Context, a bosman.Actor, name string, role bosman.Role, app string) error {
	return s.do(a, bosman.MayAdminister, app, "", "allow %s %s %s", name, role, app)
}

// DisablePerson is a verb.
func (s *Story) DisablePerson(_ context.Context, a bosman.Actor, name string, disabled bool) error {
	return s.do(a, bosman.MayAdminister, "", "", "disable %s %v", name, disabled)
}

// SetPassword is a verb.
func (s *Story) SetPassword(_ context.Context, a bosman.Actor, name, password string) error {
	if a.Person != name {
		if err := s.check(a, bosman.MayAdminister, "", ""); err != nil {
			return err
		}
	}
	hash, err := access.HashPassword(password)
	if err != nil {
		return err
	}
	s.mu.Lock()
	for n := range s.Persons {
		if s.Persons[n].Name == name {
			s.Persons[n].PasswordHash = hash
		}
	}
	s.mu.Unlock()
	return s.call("password %s", name)
}

// NewToken is a verb.
func (s *Story) NewToken(_ context.Context, a bosman.Actor, person, name string) (string, error) {
	if a.Person != person {
		if err := s.check(a, bosman.MayAdminister, "", ""); err != nil {
			return "", err
		}
	}
	return "bsm_8f2k1q_v7Tq2mXw9cLr4ZpYh6Ns", s.call("token %s %s", person, name)
}

// RemoveToken is a verb.
func (s *Story) RemoveToken(_ context.Context, _ bosman.Actor, id string) error {
	return s.call("end token %s", id)
}

// SetAtHand is a verb.
func (s *Story) SetAtHand(_ context.Context, a bosman.Actor, until time.Time) error {
	return s.call("at hand %s %v", a.Person, until.After(s.Now))
}
