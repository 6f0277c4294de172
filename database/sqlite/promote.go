package sqlite

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	bosman "github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/internal/faults"
)

var _ database.Promoter = (*Engine)(nil)

// Promote implements database.Promoter: what was restored is masked where it
// lies, out of reach, and its folder gets another name. Without masks there are
// no golden copies, and none is made: copies are of the source itself, of the
// moment at which they are asked for.
func (e *Engine) Promote(ctx context.Context, trial, from bosman.Database, p database.Promotion) (g database.Golden, made bool, err error) {
	if masked, err := e.isMasked(ctx, from, p.Release); !masked || err != nil {
		return g, false, err
	}
	done, err := e.turn.Wait(ctx, "golden copy")
	if err != nil {
		return g, false, err
	}
	defer done()
	all, err := e.generations(ctx, from)
	if err != nil || len(all) > 0 && !all[0].TakenAt.Before(p.TakenAt) {
		return g, false, err
	}
	one, err := e.promote(ctx, trial, from, p)
	if err != nil {
		return g, false, err
	}
	if err := faults.Point("database.promote.shown"); err != nil {
		return e.asGolden(one), true, err
	}
	return e.asGolden(one), true, e.dropGoldens(ctx, from, keepGoldens)
}

func (e *Engine) promote(ctx context.Context, trial, from bosman.Database, p database.Promotion) (g generation, err error) {
	name, err := e.nameOf(from)
	if err != nil {
		return g, err
	}
	was, err := e.nameOf(trial)
	if err != nil {
		return g, err
	}
	release, err := e.claim(ctx, was)
	if err != nil {
		return g, err
	}
	defer release()
	spec, version, err := e.masking.Spec(ctx, name, p.Release)
	if err != nil {
		return g, err
	}
	if err := e.mask(ctx, trial.Name, spec); err != nil { // before it has a name that is handed out
		return g, err
	}
	bytes, err := sizeOf(trial.Name)
	if err != nil {
		return g, trouble("look at "+was, err)
	}
	g = generation{name: database.GoldenName(name, p.TakenAt), label: label{
		CopyInfo: p.Copy(name, bytes), Source: from.Name, Mask: version, Written: database.MarkOf[string](p.Marks[""]),
	}}
	b, err := json.Marshal(g.label)
	if err != nil {
		return g, err
	}
	if err := atomicfile.Write(filepath.Join(e.folder(was), labelName), b, 0o644); err != nil {
		return g, trouble("say what "+g.name+" is", err)
	}
	if err := syncPath(trial.Name); err != nil {
		return g, trouble("write "+g.name+" to the disk", err)
	}
	if err := faults.Point("database.promote.masked"); err != nil {
		return g, err
	}
	if err := os.Rename(e.folder(was), e.folder(g.name)); err != nil {
		return g, trouble("keep golden copy "+g.name, err)
	}
	return g, trouble("keep golden copy "+g.name, syncPath(e.dir))
}
