package cli

import "github.com/bosman-cd/bosman"

type instancesCmd struct {
	List   instancesListCmd   `cmd:"" default:"withargs" help:"List instances."`
	Remove instancesRemoveCmd `cmd:"" help:"Take a testing or preview instance away."`
}

// Help gives examples.
func (instancesCmd) Help() string {
	return "Examples:\n  bosman instances\n  bosman instances remove testing-anna --yes"
}

type instancesListCmd struct{ inApp }

// Help gives examples.
func (instancesListCmd) Help() string {
	return "Examples:\n  bosman instances list --json"
}

// Run lists instances.
func (c *instancesListCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	all, err := e.server().Instances(e.ctx, app)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, i := range all {
			rows = append(rows, []string{i.Name, string(i.State), releaseRef(i.Release), changeRef(i.Change), e.ago(i.UpdatedAt), e.copied(i.Copy), i.URL})
		}
		return e.table([]string{"INSTANCE", "STATE", "RELEASE", "CHANGE", "SINCE", "COPY", "ADDRESS"}, rows, "there is no instance")
	})
}

func (e *env) copied(c bosman.CopyInfo) string {
	if c.From == "" {
		return "-"
	}
	text := c.From + " " + e.ago(c.TakenAt)
	if c.Merged != "" { // its own release was behind the data
		text += ", merged with main " + bosman.Short(c.Merged)
	}
	return text
}

type instancesRemoveCmd struct {
	inApp
	Instance string `arg:"" help:"A testing or preview instance."`
	Yes      bool   `short:"y" help:"Do not ask."`
}

// Help gives examples.
func (instancesRemoveCmd) Help() string {
	return "Examples:\n  bosman instances remove testing-anna"
}

// Run removes one.
func (c *instancesRemoveCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	if !c.Yes {
		if err := e.confirm("The instance "+c.Instance+" goes, with its database and files.", "yes", "--yes"); err != nil {
			return err
		}
	}
	ok, err := e.server().RemoveInstance(e.ctx, app, c.Instance)
	return e.noted(ok, err, "%s", ok.Note)
}

type releasesCmd struct {
	inApp
	Max int `default:"20" help:"At most so many."`
}

// Help gives examples.
func (releasesCmd) Help() string {
	return "Examples:\n  bosman releases\n  bosman deploy live --release r136"
}

// Run lists releases.
func (c *releasesCmd) Run(e *env) error {
	app, err := e.app(c.App)
	if err != nil {
		return err
	}
	all, err := e.server().Releases(e.ctx, app, c.Max)
	if err != nil {
		return err
	}
	return e.show(all, func() error {
		rows := make([][]string, 0, len(all))
		for _, r := range all {
			note := r.Bad
			if !r.PrunedAt.IsZero() {
				note = "pruned " + e.ago(r.PrunedAt)
			}
			rows = append(rows, []string{releaseRef(r.Number), string(r.Tests), bosman.Short(r.Commit), buildRef(r.Build), e.ago(r.SealedAt), size(r.Bytes), note})
		}
		return e.table([]string{"RELEASE", "TESTS", "COMMIT", "BUILD", "SEALED", "SIZE", "NOTE"}, rows, "there is no release yet; push to main")
	})
}
