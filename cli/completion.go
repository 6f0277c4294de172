package cli

import (
	"fmt"
	"sort"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help gives examples.
func (completionCmd) Help() string {
	return "Examples:\n  bosman completion bash > /etc/bash_completion.d/bosman\n  bosman completion zsh > ~/.zfunc/_bosman\n  bosman completion fish > ~/.config/fish/completions/bosman.fish"
}

// words are what may follow a path of commands.
type words struct {
	path  string // "backup make"; "" for the program itself
	next  []string
	help  map[string]string
	flags []string
}

// Run prints the script.
func (c *completionCmd) Run(e *env) error {
	var all []words
	collect(e.model.Model.Node, "", nil, &all)
	switch c.Shell {
	case "fish":
		return e.say("%s", fish(all))
	case "zsh":
		return e.say("#compdef bosman\nautoload -U +X bashcompinit && bashcompinit\n%s", bash(all))
	}
	return e.say("%s", bash(all))
}

func collect(n *kong.Node, path string, above []string, all *[]words) {
	w := words{path: path, help: map[string]string{}, flags: above}
	for _, f := range n.Flags {
		if !f.Hidden {
			w.flags = append(w.flags, "--"+f.Name)
		}
	}
	for _, child := range n.Children {
		if child.Type == kong.CommandNode && !child.Hidden {
			w.next = append(w.next, child.Name)
			w.help[child.Name] = child.Help
		}
	}
	sort.Strings(w.next)
	*all = append(*all, w)
	for _, child := range n.Children {
		if child.Type == kong.CommandNode && !child.Hidden {
			collect(child, strings.TrimSpace(path+" "+child.Name), append([]string(nil), w.flags...), all)
		}
	}
}

func bash(all []words) string {
	var b strings.Builder
	b.WriteString("_bosman() {\n  local cur=${COMP_WORDS[COMP_CWORD]} path= w\n  for w in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n    case \"$path $w\" in\n")
	for _, w := range all {
		if w.path != "" {
			before := ""
			if n := strings.LastIndex(w.path, " "); n >= 0 {
				before = w.path[:n]
			}
			fmt.Fprintf(&b, "      %q) path=%q ;;\n", before+" "+w.path[strings.LastIndex(w.path, " ")+1:], w.path)
		}
	}
	b.WriteString("    esac\n  done\n  case \"$path\" in\n")
	for _, w := range all {
		fmt.Fprintf(&b, "    %q) COMPREPLY=($(compgen -W %q -- \"$cur\")) ;;\n", w.path, strings.Join(append(append([]string(nil), w.next...), w.flags...), " "))
	}
	b.WriteString("  esac\n}\ncomplete -F _bosman bosman")
	return b.String()
}

func fish(all []words) string {
	quoted := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'" }
	var b strings.Builder
	b.WriteString("complete -c bosman -f\n")
	for _, w := range all {
		when := "__fish_use_subcommand"
		if w.path != "" {
			parts := strings.Fields(w.path)
			for n, p := range parts {
				parts[n] = "__fish_seen_subcommand_from " + p
			}
			when = strings.Join(parts, "; and ")
		}
		for _, next := range w.next {
			fmt.Fprintf(&b, "complete -c bosman -n %s -a %s -d %s\n", quoted(when), next, quoted(w.help[next]))
		}
		for _, f := range w.flags {
			fmt.Fprintf(&b, "complete -c bosman -n %s -l %s\n", quoted(when), strings.TrimPrefix(f, "--"))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
