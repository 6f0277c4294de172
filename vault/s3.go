package vault

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3 asks for it to see a part arrive whole
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/internal/faults"
)

// S3 says how an S3 server is reached. Servers other than Amazon's are asked
// with the bucket in the path.
type S3 struct {
	Endpoint     string // https://minio.example.org:9000; "" is Amazon's
	Region       string
	AccessKey    string
	SecretKey    string
	SessionToken string
	PartSize     int // bytes held in memory, and of each part; 0: 32 MiB. An object has at most 10,000 parts
}

// S3FromEnv reads BOSMAN_S3_ENDPOINT, BOSMAN_S3_REGION (or AWS_REGION,
// AWS_DEFAULT_REGION), AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
// AWS_SESSION_TOKEN.
func S3FromEnv(getenv func(string) string) S3 {
	first := func(names ...string) string {
		for _, n := range names {
			if v := getenv(n); v != "" {
				return v
			}
		}
		return ""
	}
	return S3{
		Endpoint: first("BOSMAN_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
		Region:   first("BOSMAN_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"), AccessKey: getenv("AWS_ACCESS_KEY_ID"),
		SecretKey: getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: getenv("AWS_SESSION_TOKEN"),
	}
}

const (
	partSize = 32 << 20
	maxParts = 10_000 // of S3
	retries  = 4
	// quiet is how long a server may take to begin an answer.
	quiet = 90 * time.Second
)

type bucket struct {
	core   *minio.Core
	name   string
	prefix string // "" or ends with a slash
	part   int
}

func openS3(_ context.Context, u *url.URL, o S3) (objects, string, error) {
	prefix := strings.Trim(path.Clean(u.Path), "/")
	if prefix != "" && prefix != "." {
		if err := CheckName(prefix); err != nil {
			return nil, "", bosman.Invalid("the prefix of the backup target is not usable").Because(err)
		}
		prefix += "/"
	} else {
		prefix = ""
	}
	if e := u.Query().Get("endpoint"); e != "" {
		o.Endpoint = e
	}
	if r := u.Query().Get("region"); r != "" {
		o.Region = r
	}
	where := "s3://" + u.Host + "/" + strings.TrimSuffix(prefix, "/")
	host, secure, err := endpoint(o.Endpoint)
	if err != nil {
		return nil, where, err
	}
	if o.AccessKey == "" || o.SecretKey == "" {
		return nil, where, bosman.Invalid("the backup target %s needs credentials", where).
			WithNext("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of bosman serve")
	}
	if o.Region == "" {
		o.Region = "us-east-1" // what servers other than Amazon's expect, and spares a question
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 15 * time.Second, ResponseHeaderTimeout: quiet, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 4,
		ForceAttemptHTTP2: true, DisableCompression: true,
	}
	core, err := minio.NewCore(host, &minio.Options{
		Creds: credentials.NewStaticV4(o.AccessKey, o.SecretKey, o.SessionToken), Secure: secure, Region: o.Region,
		Transport: transport, MaxRetries: retries,
	})
	if err != nil {
		return nil, where, bosman.Invalid("the S3 server of the backup target is not understood").Because(err).
			WithNext("set BOSMAN_S3_ENDPOINT to its address, for example https://minio.example.org")
	}
	b := &bucket{core: core, name: u.Host, prefix: prefix, part: o.PartSize}
	if b.part == 0 {
		b.part = partSize
	}
	return b, where, nil
}

// endpoint takes the address of a server apart.
func endpoint(text string) (host string, secure bool, err error) {
	if text == "" {
		return "s3.amazonaws.com", true, nil
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" {
		return "", false, bosman.Invalid("the address of the S3 server is not understood").
			WithNext("set BOSMAN_S3_ENDPOINT to its address alone, for example https://minio.example.org")
	}
	return u.Host, u.Scheme == "https", nil
}

func (b *bucket) close() error { return nil }

// wrap turns what the server answered into errors that explain knows.
func (b *bucket) wrap(err error) error {
	if err == nil {
		return nil
	}
	switch e := minio.ToErrorResponse(err); {
	case e.Code == "NoSuchBucket":
		return bosman.Unavailable("there is no bucket %s", b.name).Because(err).WithNext("make it, or name another with --backup-target")
	case e.Code == "NoSuchKey", e.StatusCode == http.StatusNotFound:
		return &known{fs.ErrNotExist, err}
	case e.Code == "PreconditionFailed", e.StatusCode == http.StatusPreconditionFailed:
		return &known{fs.ErrExist, err}
	case e.StatusCode == http.StatusForbidden, e.StatusCode == http.StatusUnauthorized:
		return &known{fs.ErrPermission, err}
	}
	return err
}

// put sends a small object at once and a large one in parts, which the server
// puts together at the end.
func (b *bucket) put(ctx context.Context, name string, r io.Reader) error {
	key, buf := b.prefix+name, make([]byte, b.part)
	n, err := io.ReadFull(r, buf)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	if n < len(buf) {
		return b.putSmall(ctx, key, buf[:n])
	}
	opt := minio.PutObjectOptions{}
	id, err := b.core.NewMultipartUpload(ctx, b.name, key, opt)
	if err != nil {
		return b.wrap(err)
	}
	if err := b.putParts(ctx, key, id, buf, r); err != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if aerr := b.core.AbortMultipartUpload(end, b.name, key, id); aerr != nil && minio.ToErrorResponse(aerr).Code != "NoSuchUpload" {
			err = errors.Join(err, aerr)
		}
		return err
	}
	return nil
}

func sums(p []byte) (md5Base64, sha256Hex string) {
	m, s := md5.Sum(p), sha256.Sum256(p) //nolint:gosec // S3 asks for it to see a part arrive whole
	return base64.StdEncoding.EncodeToString(m[:]), hex.EncodeToString(s[:])
}

func (b *bucket) putSmall(ctx context.Context, key string, p []byte) error {
	opt := minio.PutObjectOptions{DisableContentSha256: true} // the whole sum is signed, not each chunk
	m, s := sums(p)
	plain := opt
	opt.SetMatchETagExcept("*") // not over another
	_, err := b.core.PutObject(ctx, b.name, key, bytes.NewReader(p), int64(len(p)), m, s, opt)
	if minio.ToErrorResponse(err).Code == "NotImplemented" { // servers that do not know conditions; stat asked before
		_, err = b.core.PutObject(ctx, b.name, key, bytes.NewReader(p), int64(len(p)), m, s, plain)
	}
	return b.wrap(err)
}

func (b *bucket) putParts(ctx context.Context, key, id string, buf []byte, r io.Reader) error {
	var parts []minio.CompletePart
	for n, last := len(buf), false; n > 0; {
		m, s := sums(buf[:n])
		if len(parts) == maxParts {
			return bosman.Unavailable("the object grew beyond %d GiB, which S3 does not take in parts of this size", int64(b.part)*maxParts>>30)
		}
		p, err := b.core.PutObjectPart(ctx, b.name, key, id, len(parts)+1, bytes.NewReader(buf[:n]), int64(n),
			minio.PutObjectPartOptions{Md5Base64: m, Sha256Hex: s, DisableContentSha256: true})
		if err != nil {
			return b.wrap(err)
		}
		parts = append(parts, minio.CompletePart{PartNumber: p.PartNumber, ETag: p.ETag})
		if err := faults.Point("vault.s3.part"); err != nil {
			return err
		}
		if last {
			break
		}
		n, err = io.ReadFull(r, buf)
		last = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
	}
	// Not every server heeds the condition on the last step: ask once more.
	if _, err := b.stat(ctx, strings.TrimPrefix(key, b.prefix)); err == nil {
		return fs.ErrExist
	}
	opt := minio.PutObjectOptions{}
	opt.SetMatchETagExcept("*")
	_, err := b.core.CompleteMultipartUpload(ctx, b.name, key, id, parts, opt)
	return b.wrap(err)
}

func (b *bucket) get(ctx context.Context, name string) (io.ReadCloser, error) {
	r, _, _, err := b.core.GetObject(ctx, b.name, b.prefix+name, minio.GetObjectOptions{})
	return r, b.wrap(err)
}

func (b *bucket) stat(ctx context.Context, name string) (object, error) {
	info, err := b.core.StatObject(ctx, b.name, b.prefix+name, minio.StatObjectOptions{})
	if err != nil {
		return object{}, b.wrap(err)
	}
	return object{name: name, size: info.Size, at: info.LastModified.UTC()}, nil
}

func (b *bucket) list(ctx context.Context, prefix string) iter.Seq2[object, error] {
	return func(yield func(object, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the listing when yield wants no more
		for o := range b.core.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true}) {
			if o.Err != nil {
				yield(object{}, b.wrap(o.Err))
				return
			}
			if !yield(object{name: strings.TrimPrefix(o.Key, b.prefix), size: o.Size, at: o.LastModified.UTC()}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(object{}, err)
		}
	}
}

func (b *bucket) remove(ctx context.Context, name string) error {
	err := b.wrap(b.core.RemoveObject(ctx, b.name, b.prefix+name, minio.RemoveObjectOptions{}))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (b *bucket) sweep(ctx context.Context, before time.Time) error {
	for up := range b.core.ListIncompleteUploads(ctx, b.name, b.prefix, true) {
		if up.Err != nil {
			return b.wrap(up.Err)
		}
		if up.Initiated.After(before) || !strings.HasPrefix(up.Key, b.prefix) {
			continue
		}
		if err := b.core.AbortMultipartUpload(ctx, b.name, up.Key, up.UploadID); err != nil && minio.ToErrorResponse(err).Code != "NoSuchUpload" {
			return b.wrap(err)
		}
	}
	return ctx.Err()
}
