package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/nicholas-fedor/shoutrrr"
)

// The headers of a webhook. The signature is "sha256=" and the hex HMAC of the
// timestamp's text, a dot and the body.
const (
	HeaderKind      = "X-Bosman-Event"
	HeaderDelivery  = "X-Bosman-Delivery" // the same over all attempts
	HeaderTimestamp = "X-Bosman-Timestamp"
	HeaderSignature = "X-Bosman-Signature"
)

// Sign gives the value of the signature header for a body sent at a Unix time
// in seconds.
func Sign(secret string, timestamp int64, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(strconv.AppendInt(nil, timestamp, 10))
	mac.Write([]byte("."))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// failure is an attempt that failed in a known way.
type failure struct {
	text  string
	final bool          // trying again cannot help
	after time.Duration // what the other side asked for
}

func (f failure) Error() string { return f.text }

func asFailure(err error, f *failure) bool { return errors.As(err, f) }

// CheckTarget says whether a target's address can be used at all.
func CheckTarget(t Target) error {
	u, err := url.Parse(t.URL)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return bosman.Invalid("%s has no address that can be used", t.Name).WithNext("give it as https://… or as a chat's, such as slack://…")
	}
	switch {
	case u.Scheme == "http" || u.Scheme == "https":
		return nil
	case slices.Contains(hosted, u.Scheme):
		return nil
	case slices.Contains(selfHosted, u.Scheme):
		if !t.Private {
			return bosman.Invalid("%s is a chat on a server of its own, which may be inside the network", t.Name).WithNext("allow private addresses for it, if that is meant")
		}
		return nil
	}
	return bosman.Invalid("%s: %s is no kind of target that is known", t.Name, u.Scheme)
}

// hosted are chats at fixed addresses; selfHosted ones name their server, and
// what is not under the guard below needs Private.
var (
	hosted     = []string{"slack", "discord", "telegram", "teams", "googlechat", "pushover", "pushbullet"}
	selfHosted = []string{"mattermost", "rocketchat", "matrix", "zulip", "gotify", "ntfy", "smtp", "generic"}
)

func deliver(ctx context.Context, t Target, key string, m Message, now time.Time) error {
	if err := CheckTarget(t); err != nil {
		return failure{text: err.Error(), final: true}
	}
	if strings.HasPrefix(t.URL, "http://") || strings.HasPrefix(t.URL, "https://") {
		return webhook(ctx, t, key, m, now)
	}
	return chat(ctx, t, m)
}

func webhook(ctx context.Context, t Target, key string, m Message, now time.Time) (err error) {
	body, err := json.Marshal(m)
	if err != nil {
		return failure{text: "the message cannot be written", final: true}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(body))
	if err != nil {
		return failure{text: "the address cannot be used", final: true}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Bosman")
	req.Header.Set(HeaderKind, m.Kind)
	req.Header.Set(HeaderDelivery, key)
	req.Header.Set(HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	if t.Secret != "" {
		req.Header.Set(HeaderSignature, Sign(t.Secret, now.Unix(), body))
	}
	transport := &http.Transport{ // no proxy of the environment: the guard must see the address
		DialContext:       (&net.Dialer{Timeout: 5 * time.Second, ControlContext: guard(t.Private)}).DialContext,
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		var f failure
		if asFailure(err, &f) {
			return f
		}
		var ue *url.Error // its text would hold the address, which may hold a token
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return fmt.Errorf("no answer: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if _, cerr := io.CopyN(io.Discard, resp.Body, 64<<10); cerr != nil && !errors.Is(cerr, io.EOF) {
		return fmt.Errorf("the answer broke off: %w", cerr)
	}
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode/100 == 3:
		return failure{text: fmt.Sprintf("it answered %d; redirects are not followed", resp.StatusCode)}
	case resp.StatusCode == http.StatusGone:
		return failure{text: "it answered 410: gone", final: true}
	}
	f := failure{text: fmt.Sprintf("it answered %d", resp.StatusCode)}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		f.after = time.Duration(min(s, 3600)) * time.Second
	}
	return f
}

// guard refuses connections into the local network, judged by the address
// that is really dialled, so that no name can lead there.
func guard(private bool) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return failure{text: "the address cannot be judged", final: true}
		}
		if !private && !public(ap.Addr()) {
			return failure{text: "the address is inside the network, which this target is not allowed"}
		}
		return nil
	}
}

var inside = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("fec0::/10"),
}

func public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	return !slices.ContainsFunc(inside, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
}

// chat sends the message as text. The library has timeouts of its own and
// does not take a context.
func chat(ctx context.Context, t Target, m Message) error {
	sender, err := shoutrrr.CreateSender(t.URL)
	if err != nil {
		return failure{text: "the chat's address is not understood", final: true}
	}
	if deadline, ok := ctx.Deadline(); ok {
		sender.Timeout = time.Until(deadline)
	}
	text := m.Title
	if m.Text != "" {
		text += "\n" + m.Text
	}
	if m.URL != "" {
		text += "\n" + m.URL
	}
	for _, err := range sender.Send(text, nil) {
		if err != nil {
			return failure{text: "the chat did not take it"} // the library's text may hold the token
		}
	}
	return nil
}
