package sandbox

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bosman-cd/bosman"
)

// Overlay is a throw-away layer over a folder that must not change: what
// commands write goes to Upper. It is mounted for each command in a mount
// namespace of its own, so that no mount is left whatever happens. All four are
// host folders; Upper and Work lie on one file system.
type Overlay struct {
	Lower, Upper, Work, Mount string
}

// CanOverlay says whether overlays can be used over lower; if not, a copy must.
func (s *Sandbox) CanOverlay(o Overlay) bool {
	return s.root && s.Isolated() && !strings.ContainsAny(o.Lower+o.Upper+o.Work, `,:\"`)
}

// Prepare makes the folders of o and gives what lies in it to uid, by
// ownership alone: no content is copied. Folders that hold installed packages
// stay as they are below their first level.
func (s *Sandbox) Prepare(ctx context.Context, o Overlay, uid int) error {
	for _, dir := range []string{o.Upper, o.Work, o.Mount} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return bosman.Unavailable("the overlay for the tests could not be made").Because(err)
		}
	}
	owner := strconv.Itoa(uid) + ":" + strconv.Itoa(uid)
	argv := append(o.mountArgs(), "find", o.Mount, "(", "-name", "node_modules", "-o", "-name", "site-packages", ")",
		"-prune", "-exec", "chown", "-h", owner, "{}", "+", "-o", "-exec", "chown", "-h", owner, "{}", "+")
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=" + Path}
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return bosman.Unavailable("the overlay for the tests could not be made: %s", bytes.TrimSpace(out)).Because(err)
	}
	return nil
}

// Untouched says whether the file at path, below Upper, only had its owner
// changed and holds no content of its own.
func (o Overlay) Untouched(path string) bool {
	_, err := unix.Lgetxattr(path, "trusted.overlay.metacopy", nil)
	return err == nil
}

// mountArgs is a command that mounts the overlay in a new mount namespace and
// becomes the command that is appended to it.
func (o Overlay) mountArgs() []string {
	return []string{
		"/usr/bin/unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c",
		`mount -t overlay overlay -o "$1" "$2" && shift 2 && exec "$@"`, "sh",
		"metacopy=on,lowerdir=" + o.Lower + ",upperdir=" + o.Upper + ",workdir=" + o.Work, o.Mount,
	}
}
