package serve

import (
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/helm"
)

func TestWhoSleepsThere(t *testing.T) {
	s := pruned(t)
	for n, i := range []bosman.Instance{
		{Name: "staging", Kind: bosman.KindStaging}, {Name: "preview-c1", Kind: bosman.KindPreview}, {Name: "preview-c2", Kind: bosman.KindPreview},
	} {
		i.App, i.UID, i.ErrorKey = "rms", helm.FirstUID+n+1, i.Name
		if err := s.store.SaveInstance(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(base string, ports int, asked map[string]string) {
		t.Helper()
		var err error
		if s.addresses, err = newAddresses(":8080", base, ""); err != nil {
			t.Fatal(err)
		}
		s.addresses.ports = ports
		s.routes = &routes{instances: &instances{addresses: s.addresses}}
		for host, want := range asked {
			i, err := s.sleeper(t.Context(), host)
			if i.Name != want || (want == "") != (bosman.KindOf(err) == bosman.KindNotFound) {
				t.Errorf("%s: %s, %v; want %q", host, i.Name, err, want)
			}
		}
	}
	ask("", 0, map[string]string{
		"preview-c1.rms.localhost:8080": "preview-c1", "Preview-C2.rms.localhost": "preview-c2",
		"staging.rms.localhost:8080": "", "preview-c3.rms.localhost": "", "": "", "localhost:8080": "",
	})
	ask("example.org", 0, map[string]string{"preview-c1-rms.example.org": "preview-c1", "preview-c1.rms.localhost": ""})
	ask("", 9000, map[string]string{"any.host:9001": "preview-c1", "[::1]:9002": "preview-c2", "any.host:9000": "", "any.host:8080": ""})
}
