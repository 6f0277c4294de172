package problem

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/bosman-cd/bosman"
	"github.com/klauspost/compress/zstd"
)

// errTooLarge is answered 413.
var errTooLarge = errors.New("too large")

// body reads a request and undoes its Content-Encoding, within the caps.
func (in *Intake) body(r *http.Request) ([]byte, error) {
	raw, err := readAll(r.Body, in.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	encodings := strings.Split(r.Header.Get("Content-Encoding"), ",")
	for i := len(encodings) - 1; i >= 0; i-- {
		if raw, err = in.inflate(strings.ToLower(strings.TrimSpace(encodings[i])), raw); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, bosman.Invalid("the body cannot be read").Because(err)
	}
	if int64(len(data)) > limit {
		return nil, errTooLarge
	}
	return data, nil
}

func (in *Intake) inflate(encoding string, raw []byte) (data []byte, err error) {
	var r io.Reader
	switch encoding {
	case "", "identity":
		return raw, nil
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(raw))
	case "deflate": // zlib by the book, but some send the bare stream
		if r, err = zlib.NewReader(bytes.NewReader(raw)); err != nil {
			r, err = flate.NewReader(bytes.NewReader(raw)), nil
		}
	case "br":
		r = brotli.NewReader(bytes.NewReader(raw))
	case "zstd":
		var d *zstd.Decoder
		d, err = zstd.NewReader(bytes.NewReader(raw), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20), zstd.WithDecoderMaxWindow(8<<20))
		if err == nil {
			defer d.Close()
			r = d
		}
	default:
		return nil, bosman.Invalid("the content encoding %.40q is not known", encoding)
	}
	if err != nil {
		return nil, bosman.Invalid("the body is not %s", encoding).Because(err)
	}
	return readAll(r, in.cfg.MaxDecoded)
}

// storeBody gives the JSON of a store request: as it is, base64 of it, or
// base64 of it compressed.
func (in *Intake) storeBody(data []byte) ([]byte, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil, bosman.Invalid("the body is empty")
	}
	if data[0] == '{' {
		return data, nil
	}
	plain := make([]byte, base64.StdEncoding.DecodedLen(len(data)))
	n, err := base64.StdEncoding.Decode(plain, data)
	if err != nil {
		return nil, bosman.Invalid("the body is neither JSON nor base64")
	}
	plain = bytes.TrimSpace(plain[:n])
	if len(plain) > 0 && plain[0] == '{' {
		return plain, nil
	}
	encoding := "deflate"
	if len(plain) > 1 && plain[0] == 0x1f && plain[1] == 0x8b {
		encoding = "gzip"
	}
	return in.inflate(encoding, plain)
}

// item is one part of an envelope.
type item struct {
	Type        string
	ContentType string
	Filename    string
	Payload     []byte
}

// envelope is a parsed envelope.
type envelope struct {
	EventID string
	SentAt  string
	DSN     string
	Items   []item
}

// maxEnvelopeItems caps the items of one envelope.
const maxEnvelopeItems = 1000

// parseEnvelope reads Headers { "\n" Item }, Item = Headers "\n" Payload. With
// a length exactly so many bytes are payload, else all up to the next newline.
func parseEnvelope(data []byte) (*envelope, error) {
	line, rest := cutLine(data)
	var head struct {
		EventID any `json:"event_id"`
		SentAt  any `json:"sent_at"`
		DSN     any `json:"dsn"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, bosman.Invalid("the envelope's header is not JSON")
	}
	e := &envelope{EventID: str(head.EventID), SentAt: str(head.SentAt), DSN: str(head.DSN)}
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		if len(bytes.TrimSpace(line)) == 0 {
			if len(bytes.TrimSpace(rest)) == 0 {
				break
			}
			continue
		}
		var h struct {
			Type        any `json:"type"`
			Length      any `json:"length"`
			ContentType any `json:"content_type"`
			Filename    any `json:"filename"`
		}
		if err := json.Unmarshal(line, &h); err != nil {
			return nil, bosman.Invalid("an item's header in the envelope is not JSON")
		}
		it := item{Type: str(h.Type), ContentType: str(h.ContentType), Filename: str(h.Filename)}
		if h.Length == nil {
			it.Payload, rest = cutLine(rest)
		} else {
			f, ok := h.Length.(float64)
			n := int(f)
			if !ok || f < 0 || f != float64(n) || n > len(rest) {
				return nil, bosman.Invalid("the length of an item in the envelope is wrong")
			}
			it.Payload, rest = rest[:n], rest[n:]
			if len(rest) > 0 {
				if rest[0] != '\n' {
					return nil, bosman.Invalid("an item of the envelope does not end where its length says")
				}
				rest = rest[1:]
			}
		}
		if e.Items = append(e.Items, it); len(e.Items) > maxEnvelopeItems {
			return nil, errTooLarge
		}
	}
	return e, nil
}

func cutLine(data []byte) (line, rest []byte) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return data[:i], data[i+1:]
	}
	return data, nil
}

var bareNumber = regexp.MustCompile(`-?(?:NaN|Infinity)\b`)

// object decodes a JSON object; the bare NaN and Infinity of some clients
// become null.
func object(data []byte) (map[string]any, error) {
	m, err := decodeObject(data)
	if err != nil && bareNumber.Match(data) {
		m, err = decodeObject(withoutNaN(data))
	}
	if err != nil || m == nil {
		return nil, bosman.Invalid("this is not a JSON object")
	}
	return m, nil
}

func decodeObject(data []byte) (m map[string]any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err = d.Decode(&m)
	return m, err
}

// withoutNaN replaces NaN and Infinity outside of strings.
func withoutNaN(data []byte) []byte {
	out := make([]byte, 0, len(data))
	for i, inString := 0, false; i < len(data); i++ {
		c := data[i]
		switch {
		case inString && c == '\\' && i+1 < len(data):
			out = append(out, c, data[i+1])
			i++
			continue
		case c == '"':
			inString = !inString
		case !inString && (c == 'N' || c == 'I' || c == '-'):
			if loc := bareNumber.FindIndex(data[i:min(len(data), i+10)]); loc != nil && loc[0] == 0 {
				out = append(out, "null"...)
				i += loc[1] - 1
				continue
			}
		}
		out = append(out, c)
	}
	return out
}

// str gives text for what should be text.
func str(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}
