package manifest

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // the machine may have none

	"github.com/adhocore/gronx"
	"github.com/bosman-cd/bosman"
)

// DefaultWatch is how long a live deployment is watched when the file says
// nothing.
const DefaultWatch = 10 * time.Minute

var (
	stepName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}$`)
	partName    = regexp.MustCompile(`^[a-z][a-z0-9]*([_-][a-z0-9]+)*$`) // processes, cron, tasks, variants
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	hostName    = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	branchName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/-]*$`)
	reservedEnv = regexp.MustCompile(`^BOSMAN_`)

	// Those that package migration reads; serve's tests compare both lists.
	migrationTools = []string{"django", "alembic", "rails", "prisma", "laravel", "flyway", "goose", "golang-migrate", "liquibase", "none"}
)

// key reports a mistake at a dotted key.
func (d *decoder) key(key, format string, args ...any) {
	ref, ok := d.sources[key]
	if !ok {
		ref = bosman.SourceRef{Line: 1, Column: 1}
	}
	d.at(ref, key, format, args...)
}

// check judges what the values mean, once their types are right.
func (d *decoder) check(m *bosman.Manifest) {
	zone := time.UTC
	if m.Timezone != "" {
		z, err := time.LoadLocation(m.Timezone)
		if err != nil || m.Timezone == "Local" {
			d.key("timezone", "there is no time zone %q; write one such as Europe/Warsaw", m.Timezone)
		} else {
			zone = z
		}
	}
	if m.Root != "" && m.Root != "." {
		d.inside("root", m.Root, "a folder")
	}
	for i, p := range m.Paths {
		d.glob(fmt.Sprintf("paths[%d]", i), strings.TrimPrefix(p, "!"))
	}
	d.env("env", m.Env)
	d.checkSteps("build", m.Build)
	d.checkSteps("test", m.Test)
	d.checkParts(m)
	for prefix, folder := range m.Static {
		key := join("static", prefix)
		if !strings.HasPrefix(prefix, "/") || prefix == "/" {
			d.key(key, "expected an address that starts with / and is not / itself, such as /static/")
		}
		d.inside(key, folder, "a folder of the release")
	}
	for i, p := range m.Data {
		key := fmt.Sprintf("data[%d]", i)
		if d.inside(key, p, "a folder") && path.Clean(p) == "." {
			d.key(key, "expected a folder inside the app's, not the app's own")
		}
	}
	for from, to := range m.Templates {
		key := join("templates", from)
		d.inside(key, from, "a file")
		d.inside(key, to, "a file")
	}
	if m.Health != "" && !urlPath(m.Health) {
		d.key("health", "expected a path that starts with /, such as /healthz, found %q", m.Health)
	}
	for i, c := range m.Checks {
		if !urlPath(c.Get) {
			d.key(fmt.Sprintf("checks[%d].get", i), "expected a path that starts with /, found %q", c.Get)
		}
	}
	d.checkDatabases(m)
	d.oneOf("migrations.tool", m.Migration.Tool, migrationTools...)
	if t := m.Migration.Time; t != 0 && (t < time.Second || t > bosman.RehearsalTimeMax) {
		d.key("migrations.time", "expected between 1s and %s, found %s", span(bosman.RehearsalTimeMax), span(t))
	}
	for i, a := range m.After {
		d.oneOf(fmt.Sprintf("after[%d].when", i), a.When, "success", "failure", "always")
	}
	for kind, p := range m.Instances {
		d.checkPolicy("instances."+kind, bosman.InstanceKind(kind), p, zone)
		d.checkCopy("instances."+kind+".copy", p.Copy, m)
	}
}

// checkParts judges the names and schedules of processes, cron and tasks.
func (d *decoder) checkParts(m *bosman.Manifest) {
	for name := range m.Processes {
		d.part("processes", name)
		if name == bosman.WebProcess && m.Processes[name].Count > 1 {
			d.key("processes.web.count", "expected 1: the web process gets one socket; let it start its own workers")
		}
	}
	for name, c := range m.Cron {
		d.part("cron", name)
		if _, isProcess := m.Processes[name]; isProcess {
			d.key(join("cron", name), "a process has this name already")
		}
		d.moments(join(join("cron", name), "at"), c.At, "0 7 * * *")
	}
	for name := range m.Tasks {
		d.part("tasks", name)
	}
}

// moments judges the five fields of a schedule.
func (d *decoder) moments(key, at, such string) {
	if len(strings.Fields(at)) != 5 || !validCron(at) {
		d.key(key, `expected five fields (minute hour day month weekday) such as %q, found %q`, such, at)
	}
}

// validCron asks the library, which must never bring the reader down.
func validCron(expr string) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return gronx.IsValid(expr)
}

func (d *decoder) part(where, name string) {
	if len(name) > 40 || !partName.MatchString(name) {
		d.key(join(where, name), "this name is not usable; use lower-case letters, digits, - and _, at most 40, starting with a letter")
	}
}

func (d *decoder) oneOf(key, value string, allowed ...string) {
	if value == "" {
		if _, written := d.sources[key]; !written {
			return
		}
	}
	for _, a := range allowed {
		if a == value {
			return
		}
	}
	d.key(key, "expected %s, found %q", strings.Join(allowed, ", "), value)
}

func (d *decoder) checkSteps(section string, steps []bosman.Step) {
	first := map[string]int{}
	for i, s := range steps {
		key := fmt.Sprintf("%s[%d]", section, i)
		if !stepName.MatchString(s.Name) {
			d.key(key+".name", "this name is not usable; use letters, digits, spaces and . _ -, at most 40")
		}
		if j, twice := first[s.Name]; twice {
			d.key(key+".name", "%s[%d] has this name already", section, j)
		} else {
			first[s.Name] = i
		}
		for j, g := range s.Inputs {
			d.glob(fmt.Sprintf("%s.inputs[%d]", key, j), g)
		}
		for j, o := range s.Outputs {
			where := fmt.Sprintf("%s.outputs[%d]", key, j)
			if d.inside(where, o, "a folder or file") && path.Clean(o) == "." {
				d.key(where, "expected a folder or file inside the app's, not all of it")
			}
		}
		for j, name := range s.Secrets {
			if !envName.MatchString(name) || reservedEnv.MatchString(name) {
				d.key(fmt.Sprintf("%s.secrets[%d]", key, j), "expected the name of a secret such as PIP_INDEX_URL, found %q", name)
			}
		}
		d.env(key+".env", s.Env)
		d.checkVariants(key, s)
		for _, r := range [][2]string{{"junit", s.Reports.JUnit}, {"coverage", s.Reports.Coverage}, {"lint", s.Reports.Lint}} {
			if r[1] != "" {
				d.glob(key+".reports."+r[0], r[1])
			}
		}
	}
}

func (d *decoder) checkVariants(key string, s bosman.Step) {
	if len(s.Variants) == 0 {
		return
	}
	if len(s.Outputs) == 0 {
		d.key(key+".variants", "a step with variants needs outputs, for they are what is stored apart")
	}
	if _, ok := s.Variants[bosman.DefaultVariant]; !ok {
		d.key(key+".variants", "the variant default is missing")
	}
	for v, env := range s.Variants {
		d.part(key+".variants", v)
		d.env(join(key+".variants", v), env)
	}
}

func (d *decoder) env(key string, env map[string]string) {
	for name := range env {
		switch {
		case !envName.MatchString(name):
			d.key(join(key, name), "this is not the name of a variable; use letters, digits and _")
		case reservedEnv.MatchString(name):
			d.key(join(key, name), "names that start with BOSMAN_ are Bosman's own")
		}
	}
}

// inside says whether p is a relative path that stays in the tree.
func (d *decoder) inside(key, p, what string) bool {
	clean := path.Clean(p)
	switch {
	case strings.TrimSpace(p) == "":
		d.key(key, "expected %s, found nothing", what)
	case strings.HasPrefix(p, "/"), strings.HasPrefix(p, "~"):
		d.key(key, "expected %s relative to the app's folder, found %q", what, p)
	case clean == "..", strings.HasPrefix(clean, "../"), strings.Contains(p, `\`):
		d.key(key, "expected %s inside the app's folder, found %q", what, p)
	case clean == ".git", strings.HasPrefix(clean, ".git/"):
		d.key(key, "expected %s outside .git, found %q", what, p)
	default:
		return true
	}
	return false
}

// glob is like inside; ** stands for any folders.
func (d *decoder) glob(key, g string) {
	for _, part := range strings.Split(g, "/") {
		if part == ".." {
			d.key(key, "expected a glob inside the app's folder, found %q", g)
			return
		}
	}
	if !d.inside(key, g, "a glob") {
		return
	}
	if strings.HasPrefix(g, "!") {
		d.key(key, "a glob that begins with ! means nothing here; only paths takes files out with it")
		return
	}
	if _, err := path.Match(g, ""); err != nil {
		d.key(key, "the glob %q is not understood: %v", g, err)
	}
}

func urlPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") && !strings.ContainsAny(s, " \t\r\n#\\")
}

func (d *decoder) checkPolicy(key string, kind bosman.InstanceKind, p *bosman.Policy, zone *time.Location) {
	only := func(name string, set bool, on ...bosman.InstanceKind) {
		if !set {
			return
		}
		words := make([]string, len(on))
		for i, k := range on {
			if k == kind {
				return
			}
			words[i] = string(k)
		}
		d.key(key+"."+name, "this means nothing on %s; it is for %s", kind, strings.Join(words, " and "))
	}
	only("copy", p.Copy != "", bosman.KindTesting, bosman.KindPreview)
	only("follow", p.Follow != "", bosman.KindStaging)
	only("max", p.Max != 0, bosman.KindPreview)
	only("idle", p.Idle != "", bosman.KindPreview)
	only("pool", p.Pool != 0, bosman.KindPreview, bosman.KindTesting)
	only("deploy", p.Deploy != bosman.DeployPolicy{}, bosman.KindLive)
	only("watch", p.Watch != bosman.WatchPolicy{}, bosman.KindLive, bosman.KindStaging)
	only("seed", p.Seed != "", bosman.KindStaging) // testing and preview begin on a copy
	only("domains", len(p.Domains) > 0, bosman.KindLive, bosman.KindStaging)
	d.instanceName(key+".copy", p.Copy)
	d.instanceName(key+".deploy.after", p.Deploy.After)
	if p.Deploy.After == string(bosman.KindLive) {
		d.key(key+".deploy.after", "expected an instance other than live")
	}
	if p.Follow != "" && (!branchName.MatchString(p.Follow) || strings.Contains(p.Follow, "..")) {
		d.key(key+".follow", "expected a branch such as main, found %q", p.Follow)
	}
	if p.Idle != "" {
		if t, err := bosman.ParseDuration(p.Idle); err != nil || t <= 0 {
			d.key(key+".idle", "expected a time such as 60s, 10m or 24h, found %q", p.Idle)
		}
	}
	for i, h := range p.Domains {
		if len(h) > 253 || !hostName.MatchString(h) {
			d.key(fmt.Sprintf("%s.domains[%d]", key, i), "expected a host name such as www.example.pl, found %q", h)
		}
	}
	if _, err := bosman.ParseWindow(p.Deploy.Window, zone); err != nil {
		d.key(key+".deploy.window", `expected hours such as "Mon-Thu 09:00-15:00", several joined by "; ", found %q`, p.Deploy.Window)
	}
	d.oneOf(key+".backup.verify", p.Backup.Verify, "before", "nightly")
	if _, written := d.sources[key+".backup.at"]; written {
		d.moments(key+".backup.at", p.Backup.At, "30 2 * * *")
	}
}

func (d *decoder) instanceName(key, name string) {
	if name != "" && bosman.CheckName("instance", name) != nil {
		d.key(key, "expected the name of an instance such as staging, found %q", name)
	}
}
