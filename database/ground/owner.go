package ground

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	bosman "github.com/bosman-cd/bosman"
)

// Owner is the Unix user a server runs as.
type Owner struct {
	UID, GID uint32
	Switched bool // another than ours
}

// Software is a kind of server.
type Software struct {
	Name    string // "PostgreSQL"
	User    string // the Unix user that its package makes
	Package string // of Debian
}

// FindOwner gives the Unix user to run s as, which is never root: name, or the
// one its package makes, or ourselves where we are not root.
func FindOwner(name string, s Software) (Owner, error) {
	if os.Geteuid() != 0 {
		return Owner{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}, nil
	}
	if name == "" {
		name = s.User
	}
	u, err := user.Lookup(name)
	if err != nil {
		return Owner{}, bosman.Unavailable("the Unix user %s does not exist", name).
			WithNext("install " + s.Name + ": apt-get install " + s.Package).Because(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil || uid == 0 {
		return Owner{}, bosman.Invalid("%s cannot run as the Unix user %s", s.Name, name).Because(err)
	}
	return Owner{UID: uint32(uid), GID: uint32(gid), Switched: true}, nil
}

// Own makes a folder that belongs to the owner.
func (o Owner) Own(dir string, mode fs.FileMode) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return IOError("make the folder "+dir, dir, err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return IOError("look at "+dir, dir, err)
	}
	if !info.IsDir() {
		return bosman.Conflict("%s is not a folder", dir).WithNext("remove it")
	}
	if err := o.Give(dir); err != nil {
		return err
	}
	return IOError("set the mode of "+dir, dir, os.Chmod(dir, mode))
}

// Give makes path the owner's.
func (o Owner) Give(path string) error {
	if !o.Switched {
		return nil
	}
	return IOError("give "+path+" to the database user", path, os.Lchown(path, int(o.UID), int(o.GID)))
}

// session is how a program of the owner's is started: in a session of its own.
func (o Owner) session() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if o.Switched {
		a.Credential = &syscall.Credential{Uid: o.UID, Gid: o.GID}
	}
	return a
}

// Reachable says whether other users may enter all folders above dir.
func Reachable(dir string) error {
	for p := dir; ; p = filepath.Dir(p) {
		info, err := os.Stat(p)
		if err != nil {
			return IOError("look at "+p, p, err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			return bosman.Unavailable("the database user cannot enter the folder %s", p).
				WithNext("use another data folder, for example /var/lib/bosman, or allow it: chmod o+x " + p)
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}
