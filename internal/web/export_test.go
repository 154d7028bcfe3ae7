package web

import "postern/internal/people"

// Place is a route and the least role it asks for.
type Place struct {
	Pattern string
	Least   people.Role
}

// Places are all routes behind the guard.
func (s *Server) Places() []Place {
	var all []Place
	for _, p := range s.places() {
		all = append(all, Place{p.pattern, p.least})
	}
	return all
}

// OwnPath is where a login may lead on to.
func OwnPath(back string) string { return ownPath(back) }
