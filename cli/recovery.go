package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

type recoveryCmd struct {
	Status  recoveryStatusCmd  `cmd:"" default:"withargs" help:"Show how well Bosman would survive the loss of this server."`
	Show    recoveryShowCmd    `cmd:"" help:"Show the recovery key: the first time only, then its fingerprint."`
	Confirm recoveryConfirmCmd `cmd:"" help:"Prove that you have the recovery key."`
	Renew   recoveryRenewCmd   `cmd:"" help:"Make another recovery key in place of one that nobody has."`
	Backup  recoveryBackupCmd  `cmd:"" help:"Make a backup of Bosman's own state now."`
}

// Help gives examples.
func (recoveryCmd) Help() string {
	return `The recovery key opens the backups when the server is lost. It is shown once and
kept nowhere: write it down, keep it far from the server.

Examples:
  bosman recovery
  bosman recovery show
  bosman recovery confirm
  bosman recovery backup`
}

type recoveryStatusCmd struct{}

// Help gives examples.
func (recoveryStatusCmd) Help() string {
	return "Examples:\n  bosman recovery status\n  bosman recovery status --json"
}

// Run shows the status.
func (c *recoveryStatusCmd) Run(e *env) error {
	r, err := e.server().Recovery(e.ctx)
	if err != nil {
		return err
	}
	return e.show(r, func() error { return e.printRecovery(r) })
}

func (e *env) printRecovery(r bosman.Recovery) error {
	key := "not made yet"
	if r.KeyMade {
		key = r.Fingerprint + ", shown " + e.ago(r.MadeAt) + " to " + r.MadeBy
		if !r.ConfirmedAt.IsZero() {
			key += ", confirmed " + e.ago(r.ConfirmedAt) + " by " + r.ConfirmedBy
		}
	}
	state := "none yet"
	if !r.StateAt.IsZero() {
		state = e.ago(r.StateAt) + ", " + size(r.StateBytes) + " with repositories and releases"
	}
	if _, err := fmt.Fprintf(e.stdout, "target        %s\nrecovery key  %s\nstate         %s\n", r.Target, key, state); err != nil {
		return err
	}
	for _, line := range r.Reminders(e.now(), bosman.StateOverdue) {
		if _, err := fmt.Fprintln(e.stdout, e.warning()+line); err != nil {
			return err
		}
	}
	return nil
}

// warning marks a line that asks for something.
func (e *env) warning() string {
	if e.global.Plain {
		return "warning: "
	}
	return "⚠ "
}

// remind says on the error output what protects this server too little. It
// never fails what it is added to.
func (e *env) remind() {
	r, err := e.server().Recovery(e.ctx)
	if err != nil {
		return
	}
	for _, line := range r.Reminders(e.now(), bosman.StateOverdue) {
		_, _ = fmt.Fprintln(e.stderr, e.warning()+line) // likewise
	}
}

type recoveryShowCmd struct{}

// Help gives examples.
func (recoveryShowCmd) Help() string {
	return "The key goes to standard output, what to do with it to the error output.\n\nExamples:\n  bosman recovery show"
}

// Run makes and shows the key, once.
func (c *recoveryShowCmd) Run(e *env) error {
	r, err := e.server().Recovery(e.ctx)
	if err != nil {
		return err
	}
	if r.KeyMade {
		return e.show(r, func() error {
			_, err := fmt.Fprintf(e.stdout, "the recovery key was shown %s to %s and is kept nowhere; its fingerprint is %s\nif nobody has it: bosman recovery renew\n", e.ago(r.MadeAt), r.MadeBy, r.Fingerprint)
			return err
		})
	}
	return e.newKey(false)
}

func (e *env) newKey(renew bool) error {
	k, err := e.server().MakeRecoveryKey(e.ctx, renew)
	if err != nil {
		return err
	}
	if err := e.show(k, func() error { _, err := fmt.Fprintln(e.stdout, k.Secret); return err }); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stderr, "This is the recovery key (fingerprint %s). It is not shown again and kept nowhere here.\nWrite it down, keep it far from this server, then: bosman recovery confirm\n", k.Fingerprint)
	return err
}

type recoveryConfirmCmd struct{}

// Help gives examples.
func (recoveryConfirmCmd) Help() string {
	return `The whole key or its last 8 letters are asked for, or read from standard input.

Examples:
  bosman recovery confirm
  bosman recovery confirm < key-from-the-safe`
}

// Run confirms.
func (c *recoveryConfirmCmd) Run(e *env) error {
	answer, err := e.hidden("Recovery key, or its last 8 letters")
	if err != nil {
		return err
	}
	r, err := e.server().ConfirmRecoveryKey(e.ctx, strings.TrimSpace(answer))
	return e.noted(r, err, "the recovery key with the fingerprint %s is in good hands", r.Fingerprint)
}

type recoveryRenewCmd struct {
	Yes bool `short:"y" help:"Do not ask."`
}

// Help gives examples.
func (recoveryRenewCmd) Help() string {
	return `A backup of the state is made for the new key at once; it opens older backups
too. Backups made before can still be opened with the old key.

Examples:
  bosman recovery renew
  bosman recovery renew --yes`
}

// Run renews.
func (c *recoveryRenewCmd) Run(e *env) error {
	if !c.Yes {
		if err := e.confirm("New backups will not open with the recovery key there is now.", "yes", "--yes"); err != nil {
			return err
		}
	}
	return e.newKey(true)
}

type recoveryBackupCmd struct{}

// Help gives examples.
func (recoveryBackupCmd) Help() string {
	return "It is made every night and after important changes by itself.\n\nExamples:\n  bosman recovery backup"
}

// Run makes a backup of the state.
func (c *recoveryBackupCmd) Run(e *env) error {
	begun := time.Now()
	r, err := e.server().BackUpState(e.ctx)
	return e.noted(r, err, "Bosman's own state is in %s, read back and compared (%s)", r.Target, time.Since(begun).Round(time.Millisecond))
}

type recoverCmd struct {
	From    string `required:"" placeholder:"TARGET" help:"Where the backups are: a folder, or s3://BUCKET/PREFIX."`
	KeyFile string `name:"key-file" placeholder:"FILE" help:"File with the recovery key; asked for when left out."`
	State   string `placeholder:"MOMENT" help:"An older state, such as 20261123T020000.000Z; the newest when left out."`
	List    bool   `help:"Only list the states there are."`
}

// Help gives examples.
func (recoverCmd) Help() string {
	return `Into an empty data folder: Bosman's own state, keys and repositories, the releases
that serve, then the databases and files of live and staging from their newest
verified backups. Interrupted, the same command goes on where it was. Credentials
of S3 come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the server's
address from BOSMAN_S3_ENDPOINT.

Examples:
  bosman recover --from /mnt/backup/bosman --data /var/lib/bosman
  bosman recover --from s3://backups/bosman --data /srv/bosman --key-file key
  bosman recover --from /mnt/backup/bosman --list`
}

// Run recovers.
func (c *recoverCmd) Run(e *env) error {
	if e.roles.Recover == nil {
		return notBuiltIn("recover")
	}
	return e.roles.Recover(e.ctx, RecoverOptions{Data: e.data(), From: c.From, KeyFile: c.KeyFile, State: c.State, List: c.List, AskKey: func() (string, error) {
		return e.hidden("Recovery key")
	}}, e.stdout)
}

// RecoverOptions are what recover is told.
type RecoverOptions struct {
	Data, From, KeyFile, State string
	List                       bool
	AskKey                     func() (string, error) // from a terminal or standard input
}
