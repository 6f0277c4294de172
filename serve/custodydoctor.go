package serve

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/custody"
	"github.com/bosman-cd/bosman/vault"
)

// checkLimit bounds how long the doctor waits for a backup target.
const checkLimit = 30 * time.Second

// custodyFindings looks at what would bring Bosman back if this machine were
// lost: the target, the recovery key and the backups of the state. It has
// nothing to say where Bosman never served.
func custodyFindings(ctx context.Context, opt Options) []finding {
	file := filepath.Join(opt.Data, "backup.key")
	if _, err := os.Lstat(file); err != nil {
		return nil
	}
	st, err := custody.ReadStatus(opt.Data)
	if err != nil {
		st = custody.Status{}
	}
	target := cmp.Or(opt.BackupTarget, st.Target, filepath.Join(opt.Data, "backups"))
	key, err := custody.ReadKey(filepath.Join(opt.Data, custody.RecoveryFile))
	if err != nil {
		return []finding{{false, "the recovery key: " + bosman.AsError(err).Message, bosman.AsError(err).Next}}
	}
	r, err := recoveryOf(opt.Data, target, key)
	if err != nil {
		return []finding{{false, err.Error(), "see that this user may read " + opt.Data}}
	}
	return []finding{targetFinding(ctx, file, target, r.SameDisk), keyFinding(r), stateFinding(r)}
}

// targetFinding writes, reads and removes a small object in the target.
func targetFinding(ctx context.Context, keyFile, target string, same bool) finding {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	begun := time.Now()
	name := "the backup target"
	keys, err := vault.OpenKeys(keyFile)
	var v *vault.Store
	if err == nil {
		if v, err = vault.Open(ctx, target, vault.Options{Keys: keys, S3: vault.S3FromEnv(os.Getenv)}); err == nil {
			name += " " + v.Target()
			err = v.Check(ctx)
			if cerr := v.Close(); err == nil {
				err = cerr
			}
		}
	}
	switch {
	case err != nil:
		e := bosman.AsError(err)
		return finding{false, name + ": " + e.Message + reason(causeOf(e)), cmp.Or(e.Next, "see that it is there and can be written")}
	case same:
		return finding{false, name + " is on the same disk as the data: both are lost together", "name a folder on another disk or machine, or a bucket: bosman serve --backup-target s3://BUCKET/PREFIX"}
	}
	return finding{true, fmt.Sprintf("%s can be written and read (%s)", name, short(time.Since(begun))), ""}
}

func causeOf(e *bosman.Error) string {
	if e.Cause == nil {
		return ""
	}
	return e.Cause.Error()
}

func keyFinding(r bosman.Recovery) finding {
	switch {
	case !r.KeyMade:
		return finding{false, "there is no recovery key: backups cannot be opened without this machine", "bosman recovery show"}
	case r.ConfirmedAt.IsZero():
		return finding{false, "nobody has proved to have the recovery key (fingerprint " + r.Fingerprint + ")", "bosman recovery confirm; if nobody has it: bosman recovery renew"}
	}
	return finding{true, fmt.Sprintf("the recovery key (fingerprint %s) was confirmed by %s on %s", r.Fingerprint, r.ConfirmedBy, r.ConfirmedAt.Format(time.DateOnly)), ""}
}

func stateFinding(r bosman.Recovery) finding {
	age := time.Since(r.StateAt).Round(time.Minute)
	switch {
	case !r.FailedAt.IsZero():
		return finding{false, "the last backup of Bosman's own state failed: " + r.Error, "see to its cause, then: bosman recovery backup"}
	case r.StateAt.IsZero():
		return finding{false, "there is no backup of Bosman's own state yet", "bosman recovery backup; by itself it is made a minute after the first start"}
	case age > bosman.StateOverdue:
		return finding{false, fmt.Sprintf("the newest backup of Bosman's own state is %s old", age), "see whether bosman serve runs, then: bosman recovery backup"}
	}
	return finding{true, fmt.Sprintf("Bosman's own state was backed up %s ago (%s in all)", age, size(r.StateBytes)), ""}
}
