package edge_test

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman/edge"
)

// TestLinkInThePlaceOfASocket: an instance owns the folder of its socket. A
// link from there to Bosman's own would have its visitors' requests answered as
// those of the proxy's user, who may do anything.
func TestLinkInThePlaceOfASocket(t *testing.T) {
	r := start(t, func(c *edge.Config) { c.ConnectWait = 0; c.ConnectCount = 1 })
	_, admin := r.backend("bosman.sock", says("every right"))
	defer admin.Close()
	if err := os.Symlink(r.dir+"/bosman.sock", r.dir+"/web.sock"); err != nil {
		t.Fatal(err)
	}
	r.put(route("unix:"+r.dir+"/web.sock", 1, 1))
	if status, body, _ := r.get("/api/people"); status != 502 || strings.Contains(body, "every right") {
		t.Errorf("%d %q", status, body)
	}
}

// TestLinkInThePlaceOfAFolder: of the folders media/ and media/a/private/ the
// instance makes a link of media/a. What it leads to is not handed out.
func TestLinkInThePlaceOfAFolder(t *testing.T) {
	r := start(t, nil)
	data := r.dir + "/data"
	if err := errors.Join(os.MkdirAll(data+"/media/a/private", 0o755), os.WriteFile(data+"/media/a/private/f", []byte("mine"), 0o600),
		os.MkdirAll(r.dir+"/bosman/private", 0o755), os.WriteFile(r.dir+"/bosman/private/f", []byte("a secret of Bosman"), 0o600)); err != nil {
		t.Fatal(err)
	}
	up, _ := r.backend("app", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Accel-Redirect", "/media/a/private/f") })
	rt := route(up, 1, 1)
	rt.Private = map[string]string{"/media/": data + "/media", "/media/a/private/": data + "/media/a/private"}
	r.put(rt)
	if status, body, _ := r.get("/"); status != 200 || body != "mine" {
		t.Fatalf("%d %q", status, body)
	}
	if err := errors.Join(os.Rename(data+"/media/a", data+"/media/b"), os.Symlink(r.dir+"/bosman", data+"/media/a")); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := r.get("/"); status != 404 || strings.Contains(body, "secret") {
		t.Errorf("%d %q", status, body)
	}
}
