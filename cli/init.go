package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/atomicfile"
	"github.com/bosman-cd/bosman/manifest/detect"
)

type initCmd struct {
	Dir   string `arg:"" optional:"" default:"." help:"The repository's folder."`
	Force bool   `help:"Write over a bosman.yaml that is there."`
	Print bool   `help:"Only print what would be written."`
}

// Help gives examples.
func (initCmd) Help() string {
	return `Looks at the files here, says what it assumes, and writes bosman.yaml. Nothing
is run.

Examples:
  bosman init
  bosman init --print`
}

// Run writes bosman.yaml.
func (c *initCmd) Run(e *env) error {
	plan, err := detect.Detect(os.DirFS(c.Dir))
	if err != nil {
		return err
	}
	file := filepath.Join(c.Dir, bosman.ManifestFile)
	if !c.Print {
		if _, err := os.Stat(file); err == nil && !c.Force {
			return bosman.Conflict("there is a %s already", file).WithKept("it was left as it is").WithNext("bosman init --print shows what would be written; --force writes over it")
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return bosman.Unavailable("%s cannot be looked at", file).Because(err)
		}
		if err := atomicfile.Write(file, []byte(plan.Manifest), 0o644); err != nil {
			return err
		}
	}
	return e.show(plan, func() error {
		if c.Print {
			return e.say("%s", strings.TrimRight(plan.Manifest, "\n"))
		}
		var b strings.Builder
		b.WriteString("wrote " + file)
		if plan.Stack != "" {
			b.WriteString(" for " + plan.Stack)
		}
		b.WriteString("\n")
		for _, part := range []struct {
			mark string
			list []string
		}{{"assumed: ", plan.Assumptions}, {"warning: ", plan.Warnings}, {"to decide: ", plan.Questions}} {
			for _, text := range part.list {
				b.WriteString("  " + part.mark + text + "\n")
			}
		}
		b.WriteString("now look at it, commit it, and:\n  bosman app add " + appName(c.Dir) + " --from . --setup-git")
		return e.say("%s", b.String())
	})
}

// appName makes an app's name of a folder's.
func appName(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "NAME"
	}
	name := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(filepath.Base(abs)), "-"), "-")
	if bosman.CheckName("app", name) != nil {
		return "NAME"
	}
	return name
}
