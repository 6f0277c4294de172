package serve

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/database/ground"
	"github.com/bosman-cd/bosman/database/postgres"
	"github.com/bosman-cd/bosman/database/storage"
)

// hostStops says whether the host is being shut down: is-system-running in
// systemctl(1). Where there is no systemd nobody can tell.
func hostStops(ctx context.Context) bool {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "systemctl", "is-system-running").Output() // its exit status says that it is not "running"
	return strings.TrimSpace(string(out)) == "stopping"
}

// restLimit bounds what is done while the host goes down: systemd waits one
// and a half minutes.
const restLimit = time.Minute

// rest stops the servers of what may be thrown away and writes their files to
// the disk, so that they are trusted when the host is back. The durable ones
// need nothing of it.
func (d *databases) rest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restLimit)
	defer cancel()
	errs := []error{d.stopClones(ctx)}
	if _, err := os.Stat(d.clusterDir(scratchCluster)); err == nil {
		errs = append(errs, (&postgres.Cluster{Name: scratchCluster, Profile: postgres.Scratch, Dir: d.clusterDir(scratchCluster), Log: d.log}).Stop(ctx))
	}
	if _, err := os.Stat(d.mariaDBDir(scratchCluster)); err == nil {
		errs = append(errs, d.newMariaDB(scratchCluster).Stop(ctx))
	}
	return errors.Join(errs...)
}

// noteLost remembers why an instance cannot run, where its copy went with the
// host or its database server does not work; nil forgets it.
func (n *instances) noteLost(i bosman.Instance, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := i.App + "/" + i.Name
	delete(n.lost, key)
	if !errors.Is(err, database.ErrLostWithHost) && !errors.Is(err, errServerDown) {
		return
	}
	if n.lost == nil {
		n.lost = map[string]string{}
	}
	e := bosman.AsError(err)
	n.lost[key] = e.Message + "; " + e.Next
}

// whyLost is what was noted of an instance; "" for nothing.
func (n *instances) whyLost(i bosman.Instance) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost[i.App+"/"+i.Name]
}

// lossFindings are what the doctor says of servers whose databases went with
// the host in the last week.
func lossFindings(data string) (all []finding) {
	home, err := storage.Home(data)
	if err != nil {
		return nil // storageFindings says why
	}
	for name, dir := range map[string]string{"PostgreSQL": filepath.Join(home, "postgres", scratchCluster), "MariaDB": filepath.Join(data, "mariadb", scratchCluster)} {
		if at := (ground.Ground{Dir: dir}).LostAt(); time.Since(at) < 7*24*time.Hour {
			all = append(all, finding{true, "the host stopped without warning (found " + at.Format("2006-01-02 15:04 UTC") + "): the throw-away databases of " + name + " were made anew; testers whose copies were there are told", ""})
		}
	}
	return all
}
