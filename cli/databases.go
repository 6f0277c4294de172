package cli

import (
	"strings"

	"github.com/bosman-cd/bosman"
)

type databasesCmd struct {
	inApp
}

// Help gives examples.
func (databasesCmd) Help() string {
	return `Each database of an app on Bosman's servers: of instances, golden copies that
fresh copies are made of, copies made ready in advance, and what was kept when
something took its place. Below stands how copies are made here and why not
faster.

Examples:
  bosman databases
  bosman databases --json | jq '.databases | map(.bytes) | add'`
}

// Run lists them.
func (c *databasesCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	s, err := e.server().Databases(e.ctx, app)
	if err != nil {
		return err
	}
	return e.show(s, func() error {
		rows := make([][]string, 0, len(s.Databases))
		for _, d := range s.Databases {
			rows = append(rows, []string{d.Instance, string(d.Role), size(d.Bytes), e.dataOf(d), first(d.Copy.Strategy, "-"), strings.TrimSpace(d.Engine + " " + d.Cluster), e.note(d)})
		}
		if err := e.table([]string{"INSTANCE", "WHAT", "SIZE", "DATA", "MADE BY", "SERVER", "NOTE"}, rows, "there is no database"); err != nil {
			return err
		}
		for _, a := range s.Adopted {
			if err := e.adopted(a); err != nil {
				return err
			}
		}
		for _, v := range s.Servers {
			if err := e.serverLines(v); err != nil {
				return err
			}
		}
		if s.Pool != "" {
			return e.say("no further copies are made in advance: %s", s.Pool)
		}
		return nil
	})
}

func (e *env) dataOf(d bosman.StoredDatabase) string {
	if d.Copy.TakenAt.IsZero() {
		return "its own"
	}
	return strings.TrimSpace(d.Copy.From + " " + e.ago(d.Copy.TakenAt) + " " + releaseRef(d.Copy.Release))
}

func (e *env) adopted(a bosman.AdoptedDatabase) error {
	if err := e.say("\n%s: the database %s on %s:%d is not Bosman's own", a.Instance, a.Name, a.Host, a.Port); err != nil {
		return err
	}
	if a.Error != "" {
		if err := e.say("  what may be done with it is not known now: %s", a.Error); err != nil || len(a.Abilities) == 0 {
			return err
		}
		if err := e.say("  as of before:"); err != nil {
			return err
		}
	}
	for _, lost := range bosman.Lost(a.Abilities) {
		if err := e.say("  no %s", lost); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) note(d bosman.StoredDatabase) string {
	switch {
	case !d.Until.IsZero():
		return "kept " + e.ago(d.KeptAt) + ", goes " + d.Until.Local().Format("2006-01-02")
	case !d.KeptAt.IsZero():
		return "kept " + e.ago(d.KeptAt)
	case d.Role == bosman.StoredGolden && d.Copy.Backup != 0:
		return "from backup " + backupRef(d.Copy.Backup)
	case d.Owner != "":
		return "of " + d.Owner
	}
	return ""
}

func (e *env) serverLines(v bosman.DatabaseServer) error {
	if err := e.say("\n%s: %s; %s free, copies leave %s", v.Name, v.Version, size(v.Free), size(v.Leave)); err != nil {
		return err
	}
	if v.Quota > 0 {
		if err := e.say("  an app's copies may take %s", size(v.Quota)); err != nil {
			return err
		}
	}
	if err := e.say("  copies: %s: %s", v.Strategy, v.Why); err != nil {
		return err
	}
	if v.Faster != "" {
		if err := e.say("  not faster: %s", v.Faster); err != nil {
			return err
		}
	}
	if v.LogKept {
		if err := e.say("  its log is kept: bosman backup points"); err != nil {
			return err
		}
	}
	if v.Lacking != "" {
		return e.say("  %s", v.Lacking)
	}
	return nil
}
