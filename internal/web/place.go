package web

import (
	"net/http"
	"slices"
)

// role is what somebody who is signed in may do: each role may do what the one
// before it may.
type role int

// The roles. A viewer looks, an operator acts on mail, an admin changes who and what
// Postern acts for.
const (
	viewer role = iota
	operator
	admin
)

// place is one page or act behind the guard.
type place struct {
	pattern string // of http.ServeMux
	least   role   // who may
	do      http.HandlerFunc
}

// places are all pages and acts that need somebody to be signed in; each page's file
// lists its own.
func (s *Server) places() []place {
	return slices.Concat(
		s.overviewPlaces(),
		s.accountPlaces(),
		s.devicePlaces(),
		s.queuePlaces(),
	)
}

// entry is one line of the navigation.
type entry struct {
	Path, Label string
	Here        bool // this page is, or belongs to, that one
}

// group is the entries that belong together.
type group struct {
	Label   string
	Entries []entry
}

// navigation is the way through the pages, in the order people need them. here is the
// entry that the page belongs to.
func navigation(here string) []group {
	groups := []group{
		{"", []entry{{Path: "/", Label: "Overview"}}},
		{"Mail", []entry{{Path: queueHome, Label: "Queue"}}},
		{"Set up", []entry{{Path: "/accounts", Label: "Accounts"}, {Path: "/devices", Label: "Devices"}}},
	}
	for _, g := range groups {
		for i := range g.Entries {
			g.Entries[i].Here = g.Entries[i].Path == here
		}
	}
	return groups
}
