package serve

import (
	"net/http"

	"github.com/bosman-cd/bosman"
)

// pages answers what comes through the edge.
func (s *server) pages() (http.Handler, error) {
	return front{git: s.git, intake: s.intake, hooks: s.forges, api: http.NotFoundHandler(), pages: http.NotFoundHandler()}, nil
}

// api answers programs.
func (s *server) api(_ func(*http.Request) (bosman.Actor, error)) http.Handler {
	return http.NotFoundHandler()
}
