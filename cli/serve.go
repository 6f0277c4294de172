package cli

import (
	"github.com/bosman-cd/bosman"
)

type serveCmd struct{ ServeOptions }

// Help gives examples.
func (serveCmd) Help() string {
	return `Runs until it is told to stop. Instances run on without it, and its next start
takes up what was at work.

Examples:
  bosman serve
  bosman serve --data /srv/bosman --base-domain example.org
  bosman serve --listen 127.0.0.1:9000 --workers 4
  bosman serve --backup-target s3://backups/bosman
  bosman serve --backup-target s3://backups/bosman --point-in-time 7`
}

// Run serves.
func (c *serveCmd) Run(e *env) error {
	if e.roles.Serve == nil {
		return notBuiltIn("serve")
	}
	c.Data = e.data()
	return e.roles.Serve(e.ctx, c.ServeOptions, e.stdout, e.stderr)
}

type demoCmd struct{ DemoOptions }

// Help gives examples.
func (demoCmd) Help() string {
	return `Plays the whole road on an example application, with people, changes, load and
failures, in a folder of its own; then leaves it running to look at.

Examples:
  bosman demo
  bosman demo --once
  bosman demo --data /tmp/demo --base-domain demo.example.org
  bosman demo --clean`
}

// Run runs the demo.
func (c *demoCmd) Run(e *env) error {
	if e.roles.Demo == nil {
		return notBuiltIn("demo")
	}
	c.Data = e.global.Data // not BOSMAN_DATA: that may be a real one
	return e.roles.Demo(e.ctx, c.DemoOptions, e.stdout, e.stderr)
}

type doctorCmd struct{ ServeOptions }

// Help gives examples.
func (doctorCmd) Help() string {
	return "Examples:\n  bosman doctor\n  bosman doctor --data /srv/bosman"
}

// Run examines the machine.
func (c *doctorCmd) Run(e *env) error {
	if e.roles.Doctor == nil {
		return notBuiltIn("doctor")
	}
	c.Data = e.data()
	if err := e.roles.Doctor(e.ctx, c.ServeOptions, e.stdout); err != nil {
		return err
	}
	return e.backupWarnings("")
}

func notBuiltIn(role string) error {
	return bosman.Unavailable("this program was built without %s", role).WithNext("take the whole bosman")
}
