package helm

import (
	"strings"
	"testing"

	"github.com/bosman-cd/bosman"
)

// TestUnkeptStateIsLoud: who is told what happens is told that too.
func TestUnkeptStateIsLoud(t *testing.T) {
	h := &Helm{}
	m, ok, err := h.MessageOf(t.Context(), bosman.Event{Kind: bosman.EventStateUnkept, Subject: "the backup target is full"})
	if err != nil || !ok || m.Kind != "backup.failed" || !strings.Contains(m.Text, "is full") {
		t.Errorf("%+v, %v, %v", m, ok, err)
	}
}
