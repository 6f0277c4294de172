package edge_test

import (
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
