package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/bosman-cd/bosman"
)

// confirm says what will happen and asks on a terminal for a word; elsewhere
// it names the flag that would have said it.
func (e *env) confirm(what, word, flag string) error {
	kept := "nothing was changed"
	if _, ok := terminal(e.stdin); !ok {
		return bosman.Invalid("%s", what).WithKept(kept).WithNext("say that you mean it with " + flag)
	}
	if _, err := fmt.Fprintf(e.stderr, "%s\nType %s to go on: ", what, word); err != nil {
		return err
	}
	answer, err := bufio.NewReader(e.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(answer) != word {
		return bosman.Conflict("not confirmed").WithKept(kept)
	}
	return nil
}

// hidden reads one line that is not shown: a password or a secret. From a
// pipe it reads everything and drops one newline at the end.
func (e *env) hidden(prompt string) (string, error) {
	if f, ok := e.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if _, err := fmt.Fprint(e.stderr, prompt+": "); err != nil {
			return "", err
		}
		data, err := term.ReadPassword(int(f.Fd()))
		if _, werr := fmt.Fprintln(e.stderr); err == nil {
			err = werr
		}
		return string(data), err
	}
	data, err := io.ReadAll(io.LimitReader(e.stdin, 1<<20))
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), err
}
