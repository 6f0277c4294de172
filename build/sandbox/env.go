package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
)

// PassedEnv lists the variables of the host that a team's commands get, so that
// they reach the registries the host reaches. A name that ends in * is a
// prefix. Strangers get none.
var PassedEnv = []string{
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
	"NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
	"npm_config_*", "NPM_CONFIG_*", "PIP_*", "UV_*", "YARN_*", "BUNDLE_*", "GEM_*", "CARGO_NET_*", "CARGO_HTTP_*",
	"GOPROXY", "GOFLAGS", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOTOOLCHAIN",
}

// pathEnv are those of PassedEnv whose value may be a file or folder, which is
// then shown read-only.
var pathEnv = []string{
	"NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
	"npm_config_cafile", "NPM_CONFIG_CAFILE", "PIP_CERT", "PIP_FIND_LINKS",
}

// Path is the PATH of commands.
const Path = "/usr/local/bin:/usr/bin:/bin"

// env is the whole environment of a command. It is passed as the environment
// of bubblewrap, never as arguments: those anybody on the host can read.
func (s *Sandbox) env(c Command, home string) []string {
	env := []string{
		"PATH=" + Path, "HOME=" + home, "USER=build", "LOGNAME=build", "SHELL=/bin/sh", "LANG=C.UTF-8", "TERM=dumb",
		"TMPDIR=/tmp", "CI=true", "PYTHONUNBUFFERED=1", "PIP_DISABLE_PIP_VERSION_CHECK=1", "npm_config_update_notifier=false",
	}
	if c.Trust == bosman.TrustTeam {
		for _, e := range s.hostEnv {
			if name, _, _ := strings.Cut(e, "="); passed(name) {
				env = append(env, e)
			}
		}
	}
	env = append(env, c.Env...)
	return append(env, MarkEnv+"="+c.Mark)
}

func passed(name string) bool {
	return slices.ContainsFunc(PassedEnv, func(p string) bool {
		prefix, isPrefix := strings.CutSuffix(p, "*")
		return name == p || isPrefix && strings.HasPrefix(name, prefix)
	})
}

// passedPaths are the files and folders that the passed variables name.
func (s *Sandbox) passedPaths(trust bosman.Trust) []string {
	if trust != bosman.TrustTeam {
		return nil
	}
	var paths []string
	for _, e := range s.hostEnv {
		name, value, _ := strings.Cut(e, "=")
		if !slices.Contains(pathEnv, name) {
			continue
		}
		for _, p := range strings.Fields(value) {
			if filepath.IsAbs(p) && !strings.HasPrefix(p, "/usr/") && !strings.HasPrefix(p, "/etc/ssl/") {
				paths = append(paths, p)
			}
		}
	}
	return paths
}

// layout changes whenever what a command sees changes so that older results
// must not be reused.
const layout = "1"

// hostVersion is a short hash of the layout, the distribution and the
// interpreters that build results are tied to.
func hostVersion(isolated bool) string {
	on := fmt.Sprintln(layout, isolated)
	if release, err := os.ReadFile("/etc/os-release"); err == nil {
		on += string(release)
	}
	for _, dir := range strings.Split(Path, ":") {
		for _, program := range []string{"python3", "node", "npm", "ruby", "php", "java", "go"} {
			p, err := filepath.EvalSymlinks(filepath.Join(dir, program))
			if err != nil {
				continue // not installed
			}
			if info, err := os.Stat(p); err == nil {
				on += fmt.Sprintln(p, info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	sum := sha256.Sum256([]byte(on))
	return layout + "-" + hex.EncodeToString(sum[:6])
}
