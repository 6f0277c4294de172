package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/bosman-cd/bosman"
)

// Between git's hook process and the server: a request on the unix socket,
// POST HookPath+NAME, with the secret of the push, the quarantine's folder and
// git's lines as body. The answer is text for the person, streamed; the
// trailer says how the hook is to end.
const (
	HookPath = "/hook/"

	hookPreReceive  = "pre-receive"
	hookPostReceive = "post-receive"

	envBinary = "BOSMAN_HOOK_BINARY"
	envSocket = "BOSMAN_HOOK_SOCKET"
	envSecret = "BOSMAN_HOOK_SECRET"

	headerQuarantine = "Bosman-Quarantine"
	trailerExit      = "Bosman-Exit"

	maxHookInput = 16 << 20
)

// RunHook is the process that git starts for a hook (`bosman hook NAME`): it
// hands git's lines to the server and shows the answer. It gives the exit
// code. If the server is out of reach, a push is refused before its refs move
// and passes after.
func RunHook(ctx context.Context, name string, stdin io.Reader, stdout io.Writer, getenv func(string) string) int {
	if name != hookPreReceive && name != hookPostReceive {
		tell(stdout, bosman.Invalid("there is no hook %q", name))
		return 1
	}
	socket, secret := getenv(envSocket), getenv(envSecret)
	if socket == "" || secret == "" {
		tell(stdout, bosman.Invalid("this is run by git, during a push to Bosman"))
		return 1
	}
	lines, err := io.ReadAll(io.LimitReader(stdin, maxHookInput))
	if err == nil {
		var code int
		if code, err = callHook(ctx, name, lines, stdout, socket, secret, getenv("GIT_QUARANTINE_PATH")); err == nil {
			return code
		}
	}
	if name == hookPostReceive {
		tell(stdout, bosman.Unavailable("the push is in, but Bosman went away before it could tell more").
			WithNext("it goes on by itself when Bosman is back"))
		return 0
	}
	tell(stdout, bosman.Unavailable("Bosman does not answer").WithKept("nothing was changed").WithNext("push again in a moment"))
	return 1
}

func callHook(ctx context.Context, name string, lines []byte, stdout io.Writer, socket, secret, quarantine string) (int, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bosman"+HookPath+name, bytes.NewReader(lines))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	if quarantine != "" {
		req.Header.Set(headerQuarantine, quarantine)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(stdout, resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return 0, err
	}
	switch resp.Trailer.Get(trailerExit) {
	case "0":
		return 0, nil
	case "1":
		return 1, nil
	}
	return 0, errors.New("the answer broke off")
}

// parseUpdates reads git's lines "OLD NEW REF".
func parseUpdates(lines string) ([]RefUpdate, error) {
	var updates []RefUpdate
	for line := range strings.Lines(lines) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if len(parts) != 3 || !isHash(parts[0]) || !isHash(parts[1]) || !strings.HasPrefix(parts[2], "refs/") {
			return nil, bosman.Invalid("git's line %q is not understood", line)
		}
		updates = append(updates, RefUpdate{Ref: parts[2], Old: parts[0], New: parts[1]})
	}
	if len(updates) == 0 {
		return nil, bosman.Invalid("git named no refs")
	}
	return updates, nil
}
