package mailsink

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"unicode/utf8"

	"github.com/bosman-cd/bosman"
	"golang.org/x/net/html/charset"
)

// Caps on what of a message is shown.
const (
	maxText  = 1 << 20
	maxDepth = 10
	maxParts = 200
)

// Parse reads a message for people: subject, sender, text and HTML, whatever
// their encodings. What cannot be understood is shown as it came; attachments
// are named at the end of the text.
func Parse(data []byte) bosman.Mail {
	var m bosman.Mail
	msg, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		m.Text = clean(data, maxText)
		return m
	}
	m.Subject, m.From = header(msg.Header.Get("Subject")), header(msg.Header.Get("From"))
	p := &parts{}
	p.walk(msg.Header.Get("Content-Type"), msg.Header.Get("Content-Transfer-Encoding"), "", "", msg.Body, 0)
	m.Text, m.HTML = p.text.String(), p.html.String()
	for _, name := range p.attached {
		m.Text += "\n[attachment: " + name + "]"
	}
	return m
}

// header decodes =?utf-8?…?= words and joins folded lines.
func header(s string) string {
	d := mime.WordDecoder{CharsetReader: charset.NewReaderLabel}
	if plain, err := d.DecodeHeader(s); err == nil {
		s = plain
	}
	return strings.Join(strings.Fields(clean([]byte(s), 2000)), " ")
}

// parts gathers the readable parts of a message.
type parts struct {
	text, html strings.Builder
	attached   []string
	seen       int
}

func (p *parts) walk(contentType, encoding, disposition, name string, body io.Reader, depth int) {
	if p.seen++; depth > maxDepth || p.seen > maxParts {
		return
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind == "" {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") && params["boundary"] != "" {
		r := multipart.NewReader(body, params["boundary"])
		for {
			part, err := r.NextRawPart()
			if err != nil {
				return // the end, or a message cut short: what came is shown
			}
			p.walk(part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part.Header.Get("Content-Disposition"), part.FileName(), part, depth+1)
		}
	}
	if name == "" {
		name = params["name"]
	}
	how, _, err := mime.ParseMediaType(disposition)
	if err != nil {
		how = ""
	}
	if how == "attachment" || name != "" || kind != "text/plain" && kind != "text/html" {
		if name == "" {
			name = kind
		}
		p.attached = append(p.attached, header(name))
		return
	}
	data := decode(encoding, body)
	if label := params["charset"]; label != "" && !strings.EqualFold(label, "utf-8") {
		if r, err := charset.NewReaderLabel(label, bytes.NewReader(data)); err == nil {
			if plain, err := io.ReadAll(r); err == nil {
				data = plain
			}
		}
	}
	to := &p.text
	if kind == "text/html" {
		to = &p.html
	}
	if left := maxText - to.Len(); left > 0 {
		if to.Len() > 0 {
			to.WriteByte('\n')
		}
		to.WriteString(clean(data, left))
	}
}

// decode undoes the transfer encoding; of a damaged part the readable
// beginning is kept.
func decode(encoding string, body io.Reader) []byte {
	r := body
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "quoted-printable":
		r = quotedprintable.NewReader(body)
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, body)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxText))
	if err != nil && len(data) == 0 {
		return []byte("(this part cannot be decoded)")
	}
	return data
}

// clean gives valid text without NULs, at most limit bytes.
func clean(data []byte, limit int) string {
	if len(data) > limit {
		data = data[:limit]
		for len(data) > 0 && !utf8.RuneStart(data[len(data)-1]) {
			data = data[:len(data)-1]
		}
	}
	s := strings.ToValidUTF8(string(data), "\uFFFD")
	return strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "\r\n", "\n")
}
