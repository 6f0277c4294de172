package deploy

import (
	"context"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/steps"
)

// The names of steps, as people see them.
const (
	stepWait    = "wait"
	stepAdmit   = "admit"
	stepBackup  = "backup"
	stepMigrate = "migrate"
	stepStart   = "start"
	stepCheck   = "check"
	stepSwitch  = "switch"
	stepWorkers = "workers"
	stepTag     = "tag"
	stepWatch   = "watch"
	stepSettle  = "settle"
	stepTake    = "take-over"
	stepRestore = "restore"
	stepCopy    = "copy"
	stepClose   = "close"
	stepSwap    = "swap"
	stepStop    = "stop"
	stepProve   = "prove"
	stepHold    = "hold"
	stepFit     = "fit"
)

// plans lists all plans in all versions that a run may still use. Who changes
// the steps of a plan adds a version and leaves the old one.
//
//	deploy   wait admit backup migrate prove start check │switch workers tag watch settle
//	revert   take-over restore hold swap start check │switch workers settle
//	try      fit admit copy close swap migrate start check │switch workers settle
//	restore  admit restore close swap migrate start check │switch workers settle
//	restart  admit start check                     │switch workers settle
//	start    admit start check                     │switch workers settle
//	stop     admit                                 │close stop
//	backup   admit backup
//
// What stands before the bar is undone when something fails; after it only
// forward.
func (s *Service) plans() []steps.Plan {
	wait := s.step(stepWait, (*job).wait, nil)
	admit := s.step(stepAdmit, (*job).admit, nil)
	backup := s.step(stepBackup, (*job).backup, nil)
	migrate := s.step(stepMigrate, (*job).migrate, (*job).unmigrate)
	start := s.step(stepStart, (*job).start, (*job).unstart)
	check := s.step(stepCheck, (*job).check, nil)
	sw := s.commit(stepSwitch, (*job).switchOver)
	workers := s.step(stepWorkers, (*job).workers, nil)
	settle := s.step(stepSettle, (*job).settle, nil)
	restore := s.step(stepRestore, (*job).restore, (*job).discard)
	takeDown := s.step(stepClose, (*job).takeDown, (*job).putUp)
	swap := s.step(stepSwap, (*job).swap, (*job).unswap)
	tag, watch := s.step(stepTag, (*job).tag, nil), s.step(stepWatch, (*job).watch, nil)
	takeOver := s.step(stepTake, (*job).takeOver, nil)
	kept := s.step(stepBackup, (*job).backup, (*job).unkeep)
	prove := s.step(stepProve, (*job).prove, (*job).unprove)
	fresh := s.step(stepCopy, (*job).copy, (*job).discard)
	hold := s.step(stepHold, (*job).hold, (*job).letGo)
	return []steps.Plan{
		s.plan(bosman.PlanDeploy, wait, admit, backup, migrate, start, check, sw, workers, tag, watch, settle),
		s.version(2, bosman.PlanDeploy, wait, admit, kept, migrate, prove, start, check, sw, workers, tag, watch, settle),
		s.plan(bosman.PlanRevert, takeOver, restore, swap, start, check, sw, workers, settle),
		s.version(2, bosman.PlanRevert, takeOver, restore, hold, swap, start, check, sw, workers, settle),
		s.plan(bosman.PlanTry, admit, fresh, takeDown, swap, migrate, start, check, sw, workers, settle),
		s.version(2, bosman.PlanTry, s.step(stepFit, (*job).fit, nil), admit, fresh, takeDown, swap, migrate, start, check, sw, workers, settle),
		s.plan(bosman.PlanRestore, admit, restore, takeDown, swap, start, check, sw, workers, settle),
		s.version(2, bosman.PlanRestore, admit, restore, takeDown, swap, s.step(stepMigrate, (*job).remigrate, (*job).unmigrate), start, check, sw, workers, settle),
		s.plan(bosman.PlanRestart, admit, start, check, sw, workers, settle),
		s.plan(bosman.PlanStart, admit, start, check, sw, workers, settle),
		s.plan(bosman.PlanStop, admit, s.commit(stepClose, (*job).closeDown), s.step(stepStop, (*job).stopAll, nil)),
		s.plan(bosman.PlanBackup, admit, backup),
	}
}

func (s *Service) plan(name bosman.Plan, list ...steps.Step) steps.Plan {
	return s.version(1, name, list...)
}

func (s *Service) version(n int, name bosman.Plan, list ...steps.Step) steps.Plan {
	var names []string
	for _, st := range list {
		names = append(names, st.Name)
	}
	return steps.Plan{Name: string(name), Version: n, Steps: list, Listener: &listener{s, names}}
}

func (s *Service) step(name string, do, undo func(*job, context.Context) error) steps.Step {
	st := steps.Step{Name: name, Do: s.withJob(do)}
	if undo != nil {
		st.Undo = s.withJob(undo)
	}
	return st
}

func (s *Service) commit(name string, do func(*job, context.Context) error) steps.Step {
	return steps.Step{Name: name, Do: s.withJob(do), Commit: true}
}

// withJob reads the rows anew for each step.
func (s *Service) withJob(f func(*job, context.Context) error) func(context.Context, *steps.Run) error {
	return func(ctx context.Context, r *steps.Run) error {
		j, err := s.job(ctx, r)
		if err != nil {
			return err
		}
		return f(j, ctx)
	}
}
