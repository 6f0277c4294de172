package client

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/api/wire"
)

// FetchBackup hands each file of a backup's database to put, over the socket
// alone. Only with no error are all files there and what they were.
func (c *Client) FetchBackup(ctx context.Context, app string, n int, put func(name string, size int64, r io.Reader) error) (sums wire.Fetched, err error) {
	resp, err := c.send(ctx, http.MethodPost, at("apps", app, "backups", n, "fetch"), "", nil, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	t, got := tar.NewReader(resp.Body), wire.Fetched{}
	for {
		h, err := t.Next()
		if err != nil { // also at its end: the checksums come last
			return nil, bosman.Unavailable("the server's answer broke off").Because(fmt.Errorf("%w: %w", ErrUnreachable, err))
		}
		if h.Name == wire.FetchedSums {
			if err := json.NewDecoder(t).Decode(&sums); err != nil {
				return nil, bosman.Unavailable("the server's answer broke off").Because(fmt.Errorf("%w: %w", ErrUnreachable, err))
			}
			if !maps.Equal(got, sums) {
				return nil, bosman.Failed("what arrived is not what was sent").WithNext("try again")
			}
			return sums, nil
		}
		if h.Typeflag != tar.TypeReg || path.Base(h.Name) != h.Name || !strings.HasPrefix(h.Name, "database") {
			return nil, bosman.Failed("the server sent %q, which is no file of a backup", h.Name)
		}
		sum := sha256.New()
		if err := put(h.Name, h.Size, io.TeeReader(t, sum)); err != nil {
			return nil, err
		}
		got[h.Name] = hex.EncodeToString(sum.Sum(nil))
	}
}
