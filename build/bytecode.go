package build

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// precompile makes Python's bytecode, as seen at /app, so that instances, which
// cannot write to a release, start quickly. What does not compile is left.
func (u *run) precompile(ctx context.Context) {
	if !hasPython(u.tree()) {
		return
	}
	const text = `py=python3; [ -x .venv/bin/python ] && py=.venv/bin/python; command -v $py >/dev/null || exit 0
exec $py -m compileall -q -x '/node_modules/' /app >/dev/null 2>&1`
	cmd, err := u.command(u.m.Env, text)
	if err != nil {
		u.log.Warn("bytecode was not made", "error", err)
		return
	}
	if cmd.Out = u.out.output("bytecode", nil); u.Sandbox.Degraded() != "" {
		return // real paths would be recorded
	}
	cmd.Timeout = 5 * time.Minute
	if _, err := u.Sandbox.Run(ctx, cmd); err != nil {
		u.log.Warn("bytecode was not made", "error", err)
	}
}

func hasPython(tree string) bool {
	found := false
	err := filepath.WalkDir(tree, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if found = strings.HasSuffix(d.Name(), ".py") && d.Type().IsRegular(); found {
			return fs.SkipAll
		}
		return nil
	})
	return err == nil && found
}
