package mailsink

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/smtp"
	"net/textproto"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/need"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type keeper struct {
	mu    sync.Mutex
	mails []bosman.Mail
	fail  error
}

func (k *keeper) AddMail(_ context.Context, m bosman.Mail) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.mails = append(k.mails, m)
	return nil
}

func (k *keeper) Lookup(_ context.Context, key, password string) (string, string, error) {
	if key != "key-anna" || password != "pw" {
		return "", "", bosman.NotFound("no such key")
	}
	return "rms", "testing-anna", nil
}

func sink(t *testing.T, k *keeper) (addr string) {
	t.Helper()
	s, err := New(Config{Keys: k, Store: k, MaxBytes: 100_000, Recipients: 3, Clients: 2})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func auth(user, password string) smtp.Auth { return smtp.PlainAuth("", user, password, "127.0.0.1") }

func code(err error) int {
	var e *textproto.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestGoClient(t *testing.T) {
	k := &keeper{}
	addr := sink(t, k)
	msg := "Subject: =?utf-8?q?Za=C5=BC=C3=B3=C5=82=C4=87?=\r\n =?utf-8?q?_g=C4=99=C5=9Bl=C4=85?=\r\nFrom: RMS <rms@example.pl>\r\nTo: a@example.pl\r\n\r\nhello\r\n.dot\r\n"
	if err := smtp.SendMail(addr, auth("key-anna", "pw"), "rms@example.pl", []string{"a@example.pl", "b@example.pl"}, []byte(msg)); err != nil {
		t.Fatal(err)
	}
	if len(k.mails) != 1 {
		t.Fatalf("%d mails", len(k.mails))
	}
	m := k.mails[0]
	if m.App != "rms" || m.Instance != "testing-anna" || m.Subject != "Zażółć gęślą" || m.From != "RMS <rms@example.pl>" || m.Text != "hello\n.dot\n" ||
		!reflect.DeepEqual(m.To, []string{"a@example.pl", "b@example.pl"}) || m.Bytes == 0 || m.At.IsZero() {
		t.Errorf("%+v", m)
	}
}

func TestRefusals(t *testing.T) {
	k := &keeper{}
	addr := sink(t, k)
	send := func(a smtp.Auth, to []string, msg string) error {
		return smtp.SendMail(addr, a, "x@y.pl", to, []byte(msg))
	}
	one := []string{"a@b.pl"}
	if err := send(nil, one, "Subject: a\r\n\r\nb\r\n"); code(err) != 530 {
		t.Errorf("without a key: %v", err)
	}
	if err := send(auth("key-anna", "wrong"), one, "Subject: a\r\n\r\nb\r\n"); code(err) != 535 {
		t.Errorf("wrong password: %v", err)
	}
	if err := send(auth("key-anna", "pw"), one, "Subject: a\r\n\r\n"+strings.Repeat("long line\r\n", 20_000)); code(err) != 552 {
		t.Errorf("too large: %v", err)
	}
	if err := send(auth("key-anna", "pw"), []string{"a@b", "b@b", "c@b", "d@b"}, "Subject: a\r\n\r\nb\r\n"); code(err) != 452 {
		t.Errorf("too many recipients: %v", err)
	}
	k.fail = errors.New("disk full")
	if err := send(auth("key-anna", "pw"), one, "Subject: a\r\n\r\nb\r\n"); code(err) != 451 {
		t.Errorf("disk full: %v", err)
	}
	if len(k.mails) != 0 {
		t.Errorf("kept %+v", k.mails)
	}
}

// TestConnectionsAreBounded holds that a flood waits instead of being served.
func TestConnectionsAreBounded(t *testing.T) {
	addr := sink(t, &keeper{})
	greeted := func(c net.Conn, wait time.Duration) bool {
		if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(make([]byte, 100))
		return err == nil && n > 0
	}
	var conns []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	if !greeted(conns[0], 5*time.Second) || !greeted(conns[1], 5*time.Second) {
		t.Fatal("the first two are not served")
	}
	if greeted(conns[2], 100*time.Millisecond) {
		t.Error("the third is served beside them")
	}
	if err := conns[0].Close(); err != nil {
		t.Fatal(err)
	}
	if !greeted(conns[2], 5*time.Second) {
		t.Error("the third is not served after the first left")
	}
	for _, c := range conns[1:] {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestPythonClient sends what Django sends: text and HTML, Unicode, a file.
func TestPythonClient(t *testing.T) {
	need.Program(t, "/usr/bin/python3", "python3")
	k := &keeper{}
	addr := sink(t, k)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	const program = `
import smtplib, sys
from email.message import EmailMessage
m = EmailMessage()
m["Subject"] = "Zaproszenie na rozmowę — środa"
m["From"] = "Żaneta <zaneta@example.pl>"
m["To"] = "jan@example.pl"
m.set_content("Dzień dobry,\nzażółć gęślą jaźń.\n")
m.add_alternative("<p>Dzień <b>dobry</b></p>", subtype="html")
m.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="życiorys.pdf")
with smtplib.SMTP(sys.argv[1], int(sys.argv[2])) as s:
    s.login("key-anna", "pw")
    s.send_message(m)
    s.send_message(m)
with smtplib.SMTP(sys.argv[1], int(sys.argv[2])) as s:
    s.ehlo(); s.user, s.password = "key-anna", "pw"
    s.auth("LOGIN", s.auth_login)
    s.sendmail("a@b.pl", ["c@d.pl"], "Subject: by login\n\nx")
`
	if out, err := exec.Command("/usr/bin/python3", "-c", program, host, port).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(k.mails) != 3 || k.mails[2].Subject != "by login" {
		t.Fatalf("%+v", k.mails)
	}
	m := k.mails[0]
	if m.Subject != "Zaproszenie na rozmowę — środa" || !strings.Contains(m.From, "Żaneta") || !strings.HasPrefix(m.Text, "Dzień dobry,\nzażółć gęślą jaźń.") ||
		!strings.Contains(m.HTML, "<p>Dzień <b>dobry</b></p>") || !strings.Contains(m.Text, "[attachment: życiorys.pdf]") {
		t.Errorf("%+v", m)
	}
}

func TestParseOddMessages(t *testing.T) {
	for name, c := range map[string]struct{ in, subject, text, html string }{
		"no headers":      {"just text", "", "just text", ""},
		"ISO-8859-2":      {"Subject: =?iso-8859-2?q?=BF=F3=B3w?=\nContent-Type: text/plain; charset=iso-8859-2\n\n\xbf\xf3\xb3w", "żółw", "żółw", ""},
		"raw UTF-8":       {"Subject: żółw\n\nx\x00y", "żółw", "xy", ""},
		"only HTML":       {"Subject: a\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\nPGI+eDwvYj4=\n", "a", "", "<b>x</b>"},
		"broken base64":   {"Subject: a\nContent-Transfer-Encoding: base64\n\n!!!!", "a", "(this part cannot be decoded)", ""},
		"cut short":       {"Subject: a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhello", "a", "hello", ""},
		"unknown charset": {"Subject: a\nContent-Type: text/plain; charset=klingon\n\nx", "a", "x", ""},
	} {
		m := Parse([]byte(c.in))
		if m.Subject != c.subject || m.Text != c.text || m.HTML != c.html {
			t.Errorf("%s: %+v", name, m)
		}
	}
	deep := "Subject: deep\nContent-Type: multipart/mixed; boundary=b0\n\n"
	for i := range 50 {
		deep += "--b" + string(rune('0'+i)) + "\nContent-Type: multipart/mixed; boundary=b" + string(rune('1'+i)) + "\n\n"
	}
	if m := Parse([]byte(deep)); m.Subject != "deep" {
		t.Errorf("deep: %+v", m)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("Subject: a\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>\n--b--"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := Parse(data)
		for _, s := range []string{m.Subject, m.From, m.Text, m.HTML} {
			if bytes.IndexByte([]byte(s), 0) >= 0 || strings.ToValidUTF8(s, "") != s {
				t.Fatalf("%q is no clean text", s)
			}
		}
	})
}
