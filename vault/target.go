package vault

import (
	"context"
	"io"
	"iter"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
)

// objects is one kind of target. Names were checked before.
type objects interface {
	// put makes an object of what r gives, whole or not at all. An error of r
	// is given back. fs.ErrExist if the name is taken.
	put(ctx context.Context, name string, r io.Reader) error
	// get opens an object; fs.ErrNotExist or KindNotFound if it is not there.
	get(ctx context.Context, name string) (io.ReadCloser, error)
	stat(ctx context.Context, name string) (object, error)
	// list gives finished objects by prefix in the order of their names.
	list(ctx context.Context, prefix string) iter.Seq2[object, error]
	// remove takes an object away; one that is not there is no error.
	remove(ctx context.Context, name string) error
	// sweep removes unfinished objects begun before a moment.
	sweep(ctx context.Context, before time.Time) error
	close() error
}

// object is one in a listing.
type object struct {
	name string
	size int64
	at   time.Time
}

// openTarget gives the objects of a target and its name for people.
func openTarget(ctx context.Context, target string, s3 S3) (objects, string, error) {
	if filepath.IsAbs(target) {
		o, err := openFolder(filepath.Clean(target))
		return o, filepath.Clean(target), err
	}
	what := func(why string) error { // a target may hold secrets by mistake: it is not repeated
		return bosman.Invalid("the backup target is not understood: %s", why).
			WithNext("name an absolute folder such as /mnt/backup/bosman, or s3://BUCKET/PREFIX")
	}
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return nil, "", what("it is no address")
	case u.User != nil || hasSecret(u.Query()):
		return nil, "", bosman.Invalid("the backup target must not hold secrets: others can read them in the list of processes").
			WithNext("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
	case u.Scheme == "file" && (u.Host == "" || u.Host == "localhost") && filepath.IsAbs(u.Path):
		o, err := openFolder(filepath.Clean(u.Path))
		return o, filepath.Clean(u.Path), err
	case u.Scheme == "s3" && u.Host != "":
		return openS3(ctx, u, s3)
	case u.Scheme == "file" || u.Scheme == "s3":
		return nil, "", what("it lacks a folder or a bucket")
	case u.Scheme == "":
		return nil, "", what("a folder is named by its whole path")
	default:
		return nil, "", what("addresses " + u.Scheme + ":// are not known")
	}
}

func hasSecret(q url.Values) bool {
	for k := range q {
		if k = strings.ToLower(k); strings.Contains(k, "secret") || strings.Contains(k, "key") || strings.Contains(k, "token") {
			return true
		}
	}
	return false
}
