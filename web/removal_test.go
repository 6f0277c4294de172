package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/web/internal/story"
)

// closing is a Helm whose visitor closes the page while an instance is removed.
type closing struct {
	Helm
	close func()
	ended error
}

// RemoveInstance implements Helm.
func (c *closing) RemoveInstance(ctx context.Context, a bosman.Actor, app, name string) error {
	c.close()
	if c.ended = ctx.Err(); c.ended != nil {
		return c.ended
	}
	return c.Helm.RemoveInstance(ctx, a, app, name)
}

// Whoever closes the page ends no removal half-way.
func TestClosingThePageEndsNoRemoval(t *testing.T) {
	var helm *closing
	s := start(t, func(_ *story.Story, cfg *Config) {
		helm = &closing{Helm: cfg.Helm}
		cfg.Helm = helm
	})
	v := s.as("piotr")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	helm.close = cancel
	v.do(httptest.NewRequestWithContext(ctx, http.MethodPost, "/rms/instances/testing-anna/remove", nil))
	if ctx.Err() == nil || helm.ended != nil || len(s.story.Called()) != 1 {
		t.Errorf("the page was closed: %v; the removal was broken off: %v; asked %v", ctx.Err(), helm.ended, s.story.Called())
	}
}
