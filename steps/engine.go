package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
	"github.com/dbos-inc/dbos-transact-golang/dbos"
)

// What the engine underneath must find unchanged after an upgrade: a run
// belongs to an application, a version of it and an executor, and is taken up
// again only by the same ones.
const (
	appName      = "bosman"
	appVersion   = "steps-1"
	executorID   = "bosman"
	workflowName = "bosman.run"
)

const (
	topicPrefix   = "."         // before the topics of Signal
	topicTakeOver = "!takeover" // a stopMessage
	topicCancel   = "!cancel"   // a stopMessage
)

// Options say where the journal is and who hears of its failures.
type Options struct {
	Path string       // of engine.db; its own file, nothing else writes to it
	Log  *slog.Logger // nil: slog.Default()
	// Broken is told, once, that the journal cannot be read or written, for
	// instance because the disk is full. The runs concerned stand still; the
	// process should end and be started again, which resumes them.
	Broken func(error)
}

// Engine carries out runs of plans. Make it with Open, Register the plans,
// then Launch.
type Engine struct {
	log     *slog.Logger
	journal *journal
	lock    *os.File
	dbos    dbos.Context
	broken  func(error)
	tell    sync.Once

	mu       sync.Mutex
	plans    map[string]map[int]Plan // name → version → plan
	newest   map[string]int
	active   map[string]*active // by run id
	launched bool
	closing  bool
}

// active is a run that this process carries out or that somebody waits for.
type active struct {
	wake      chan struct{} // closed and replaced when a message comes
	cancel    context.CancelCauseFunc
	stoppable bool // by a takeover
	undoable  bool // by a cancellation too
	ended     chan struct{}
}

// Open opens the journal, which one process at a time may do: the second one
// gets an error of KindBusy. ctx bounds the opening only.
func Open(ctx context.Context, o Options) (*Engine, error) {
	e := &Engine{
		log: o.Log, broken: o.Broken,
		plans: map[string]map[int]Plan{}, newest: map[string]int{}, active: map[string]*active{},
	}
	if e.log == nil {
		e.log = slog.Default()
	}
	j, err := openLocked(ctx, o.Path, e)
	if err != nil {
		return nil, err
	}
	e.journal = j
	// Not the caller's context: the engine takes the end of its context for a
	// wish to cancel every run for good. Close is the only way to stop it.
	dctx, err := dbos.NewContext(context.WithoutCancel(ctx), dbos.Config{
		AppName:            appName,
		SQLiteSystemDB:     j.db,
		Logger:             slog.New(quiet{e.log.With("part", "steps").Handler()}),
		ApplicationVersion: appVersion,
		ExecutorID:         executorID,
	})
	if err == nil && (dbos.GetApplicationVersion(dctx) != appVersion || dbos.GetExecutorID(dctx) != executorID) {
		err = errors.New("DBOS__APPVERSION or DBOS__VMID is set in the environment")
	}
	if err != nil {
		open := bosman.Unavailable("the journal %s cannot be opened", o.Path).Because(err).
			WithNext("look whether the disk is full and the file readable, and unset DBOS__ variables")
		return nil, errors.Join(open, j.db.Close(), e.lock.Close())
	}
	e.dbos = dctx
	// Recovery attempts are not bounded (0): a run that met many restarts must
	// not be given up.
	dbos.RegisterWorkflow(dctx, e.carryOut, dbos.WithWorkflowName(workflowName), dbos.WithMaxRecoveryAttempts(0))
	return e, nil
}

func openLocked(ctx context.Context, path string, e *Engine) (*journal, error) {
	if path == "" {
		return nil, bosman.Internal("the journal has no path")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, bosman.Unavailable("the folder of the journal %s cannot be made", path).Because(err)
	}
	l, err := lock(path + ".lock")
	if err != nil {
		return nil, err
	}
	j, err := openJournal(ctx, path)
	if err != nil {
		open := bosman.Unavailable("the journal %s cannot be opened", path).Because(err)
		return nil, errors.Join(open, l.Close())
	}
	e.lock = l
	return j, nil
}

// Register makes a plan known. Older versions of a plan are registered too, as
// long as a run may use them; Start takes the newest.
func (e *Engine) Register(p Plan) error {
	if err := p.check(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.launched {
		return bosman.Internal("plan %s is registered after the launch", p.Name)
	}
	if e.plans[p.Name] == nil {
		e.plans[p.Name] = map[int]Plan{}
	}
	if _, twice := e.plans[p.Name][p.Version]; twice {
		return bosman.Internal("plan %s version %d is registered twice", p.Name, p.Version)
	}
	e.plans[p.Name][p.Version] = p
	e.newest[p.Name] = max(e.newest[p.Name], p.Version)
	return nil
}

// Launch takes up the runs that an earlier process left, within about a
// second, and lets new ones start.
func (e *Engine) Launch() error {
	e.mu.Lock()
	e.launched = true
	e.mu.Unlock()
	if err := dbos.Launch(e.dbos); err != nil {
		return bosman.Unavailable("the journal cannot be taken up").Because(err)
	}
	return nil
}

// Start begins a run of the newest version of a plan. The run is durable when
// Start returns. Starting a run id again does nothing, also after it ended.
func (e *Engine) Start(ctx context.Context, plan, runID string, input any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	raw, err := json.Marshal(input)
	if err != nil {
		return bosman.Internal("the input of run %s cannot be kept", runID).Because(err)
	}
	e.mu.Lock()
	p, known := e.plans[plan][e.newest[plan]]
	ready := e.launched && !e.closing
	e.mu.Unlock()
	if !known {
		return bosman.Internal("there is no plan %q", plan)
	}
	if !ready {
		return bosman.Unavailable("bosman is starting or shutting down").WithNext("try again in a moment")
	}
	in := runInput{Plan: p.Name, Version: p.Version, Steps: p.names(), Input: raw}
	if _, err := dbos.RunWorkflow(e.dbos, e.carryOut, in, dbos.WithWorkflowID(runID)); err != nil {
		return bosman.Unavailable("run %s cannot be written to the journal", runID).Because(err)
	}
	return faults.Point("steps." + plan + ".started")
}

// Signal sends a message to a run, whether it waits for it, will wait for it
// or is not there yet. The first message of a topic counts; later ones are
// dropped. The message is durable when Signal returns.
func (e *Engine) Signal(ctx context.Context, runID, topic string, value any) error {
	return e.send(ctx, runID, topicPrefix+topic, value)
}

// Cancel asks a run to stop and undo what it did. The running step's context
// ends with ErrCancelled. A run that is committed does not heed it.
func (e *Engine) Cancel(ctx context.Context, runID, why string) error {
	return e.send(ctx, runID, topicCancel, stopMessage{Undo: true, Why: why})
}

// TakeOver asks a run to stop because run by goes on in its place. The running
// step's context ends with ErrTakenOver, but for a commit step, which is let
// finish. Before the commit point the run undoes what it did if undo says so;
// after it nothing is undone. Wait tells when it has stopped.
func (e *Engine) TakeOver(ctx context.Context, runID, by string, undo bool) error {
	return e.send(ctx, runID, topicTakeOver, stopMessage{By: by, Undo: undo})
}

func (e *Engine) send(ctx context.Context, runID, topic string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return bosman.Internal("the message to run %s cannot be kept", runID).Because(err)
	}
	if err := e.journal.send(ctx, runID, topic, raw); err != nil {
		return bosman.Unavailable("the message to run %s cannot be kept", runID).Because(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.active[runID]
	if a == nil {
		return nil // it reads the message when it starts
	}
	close(a.wake)
	a.wake = make(chan struct{})
	if a.cancel != nil && topic == topicTakeOver && a.stoppable {
		a.cancel(ErrTakenOver)
	}
	if a.cancel != nil && topic == topicCancel && a.undoable {
		a.cancel(ErrCancelled)
	}
	return nil
}

// entry gives the entry of a run; e.mu is held.
func (e *Engine) entry(runID string) *active {
	a := e.active[runID]
	if a == nil {
		a = &active{wake: make(chan struct{}), ended: make(chan struct{})}
		e.active[runID] = a
	}
	return a
}

func (e *Engine) wakeUp(runID string) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.entry(runID).wake
}

// Wait waits until a run ended and says how. A run that does not exist is an
// error of KindNotFound.
func (e *Engine) Wait(ctx context.Context, runID string) (Result, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		res, ended, err := e.Result(ctx, runID)
		if err != nil || ended {
			return res, err
		}
		e.mu.Lock()
		var done <-chan struct{} // nil when it is not carried out here yet
		if a := e.active[runID]; a != nil {
			done = a.ended
		}
		e.mu.Unlock()
		if done != nil {
			select {
			case <-done: // the engine now writes the outcome
			case <-ctx.Done():
				return Result{}, context.Cause(ctx)
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		}
	}
}

// Result gives how a run ended and whether it did. A run that does not exist
// is an error of KindNotFound.
func (e *Engine) Result(ctx context.Context, runID string) (Result, bool, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, false, err
	}
	list, err := dbos.ListWorkflows(e.dbos, dbos.WithFilterWorkflowIDs(runID), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return Result{}, false, bosman.Unavailable("the journal cannot be read").Because(err)
	}
	if len(list) == 0 {
		return Result{}, false, bosman.NotFound("there is no run %s", runID)
	}
	switch list[0].Status {
	case dbos.WorkflowStatusPending, dbos.WorkflowStatusEnqueued, dbos.WorkflowStatusDelayed:
		return Result{}, false, nil
	case dbos.WorkflowStatusSuccess:
		h, err := dbos.RetrieveWorkflow[wireResult](e.dbos, runID)
		if err != nil {
			return Result{}, false, bosman.Unavailable("the journal cannot be read").Because(err)
		}
		w, err := h.GetResult()
		if err != nil {
			return Result{}, false, bosman.Internal("the outcome of run %s is not understood", runID).Because(err)
		}
		return w.result(), true, nil
	default:
		return Result{}, false, bosman.Internal("run %s was given up by the engine (%s)", runID, list[0].Status)
	}
}

// RunInfo is a run that has not ended.
type RunInfo struct {
	ID      string
	Plan    string
	Version int
	Since   time.Time
}

// Running lists the runs that have not ended, oldest first. It tells which
// versions of plans are still in use.
func (e *Engine) Running(ctx context.Context) ([]RunInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	list, err := dbos.ListWorkflows(e.dbos,
		dbos.WithFilterName(workflowName),
		dbos.WithFilterStatus(dbos.WorkflowStatusPending, dbos.WorkflowStatusEnqueued, dbos.WorkflowStatusDelayed),
		dbos.WithFilterLoadOutput(false))
	if err != nil {
		return nil, bosman.Unavailable("the journal cannot be read").Because(err)
	}
	var runs []RunInfo
	for _, w := range list {
		in, err := decodeInput(w.Input)
		if err != nil {
			return nil, bosman.Internal("the input of run %s is not understood", w.ID).Because(err)
		}
		runs = append(runs, RunInfo{ID: w.ID, Plan: in.Plan, Version: in.Version, Since: w.CreatedAt})
	}
	return runs, nil
}

func decodeInput(v any) (runInput, error) {
	var in runInput
	text, ok := v.(string) // the engine lists what it keeps: JSON
	if !ok {
		return in, fmt.Errorf("it is a %T", v)
	}
	return in, json.Unmarshal([]byte(text), &in)
}

// Forget drops the journal of runs that ended before the moment t. Their ids
// could then start anew, so the rows about them must be final.
func (e *Engine) Forget(ctx context.Context, t time.Time) (int, error) {
	list, err := dbos.ListWorkflows(e.dbos,
		dbos.WithFilterStatus(dbos.WorkflowStatusSuccess), dbos.WithFilterCompletedBefore(t),
		dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return 0, bosman.Unavailable("the journal cannot be read").Because(err)
	}
	for i, w := range list {
		if err := ctx.Err(); err != nil {
			return i, err
		}
		if err := e.journal.forget(ctx, w.ID); err != nil {
			return i, bosman.Unavailable("the journal cannot be written").Because(err)
		}
		if err := dbos.DeleteWorkflows(e.dbos, []string{w.ID}); err != nil {
			return i, bosman.Unavailable("the journal cannot be written").Because(err)
		}
	}
	return len(list), nil
}

// Close ends the contexts of all running steps with ErrShutdown, waits until
// ctx ends for them to return, and closes the journal. Runs are left as they
// are and resumed at the next Launch.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		return nil
	}
	e.closing = true
	for _, a := range e.active {
		if a.cancel != nil {
			a.cancel(ErrShutdown)
		}
	}
	e.mu.Unlock()
	wait := 10 * time.Second
	if d, ok := ctx.Deadline(); ok {
		wait = max(time.Until(d), time.Millisecond)
	}
	err := dbos.Shutdown(e.dbos, wait)
	if err != nil {
		// A step does not return. Its process ends soon; the journal stays
		// locked until then, so that no other process starts beside it.
		return bosman.Unavailable("some steps did not stop in time").Because(err).
			WithKept("their runs are resumed at the next start")
	}
	return errors.Join(e.journal.db.Close(), e.lock.Close())
}

// halt reports a failure of the journal and stands still until the shutdown.
// The step it happened in runs again at the next start.
func (e *Engine) halt(ctx context.Context, runID string, err error) error {
	if ctx.Err() == nil {
		e.log.Error("the journal failed; the run stands still until bosman is restarted", "run", runID, "error", err)
		e.tell.Do(func() {
			if e.broken != nil {
				e.broken(fmt.Errorf("journal of run %s: %w", runID, err))
			}
		})
		<-ctx.Done()
	}
	return ctx.Err()
}
