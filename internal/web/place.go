package web

import (
	"net/http"
	"slices"

	"postern/internal/people"
)

// role is what somebody who is logged in may do.
type role = people.Role

const (
	viewer   = people.Viewer
	operator = people.Operator
	admin    = people.Admin
)

// place is one page or act behind the guard.
type place struct {
	pattern string // of http.ServeMux
	least   role   // who may; "" is anybody
	do      http.HandlerFunc
}

// Patterns are those of every page and act there is, for tests that walk them all.
func Patterns() []string {
	var s Server // nothing of it is called
	var all []string
	for _, p := range slices.Concat(s.openPlaces(), s.places()) {
		all = append(all, p.pattern)
	}
	return all
}

// openPlaces are what nobody needs to be signed in for.
func (s *Server) openPlaces() []place {
	return slices.Concat([]place{
		{"GET /healthz", "", s.health},
		{"GET /readyz", "", s.readiness},
		{"GET /signin/{token}", "", s.showLink},
		{"POST /signin/{token}", "", s.takeLink},
		{"GET " + CallbackPath + "{$}", "", s.callback},
		{"POST " + CallbackPath + "{$}", "", s.posted},
		{"GET /postern.css", "", s.asset("postern.css")},
		{"GET /postern.js", "", s.asset("postern.js")},
	}, s.loginPlaces())
}

// places are all pages and acts that need somebody to be signed in; each page's file
// lists its own. Whatever people give a name has its page at the list's address and the
// name, where no page of ours may stand: forms that make a thing are under /new/.
func (s *Server) places() []place {
	return slices.Concat(
		s.overviewPlaces(),
		s.accountPlaces(),
		s.appPlaces(),
		s.devicePlaces(),
		s.alertPlaces(),
		s.settingsPlaces(),
		s.checkPlaces(),
		s.guidePlaces(),
		s.queuePlaces(),
		s.taskPlaces(),
		s.ledgerPlaces(),
		s.readerPlaces(),
		s.mePlaces(),
		s.userPlaces(),
		s.auditPlaces(),
	)
}

// entry is one line of the navigation.
type entry struct {
	Path, Label string
	Here        bool // this page is, or belongs to, that one
	Least       role // who sees it; "" is everybody
}

// group is the entries that belong together.
type group struct {
	Label   string
	Entries []entry
}

// navigation is the way through the pages for somebody, in the order people need them.
// here is the entry that the page belongs to.
func navigation(here string, who role) []group {
	var groups []group
	for _, g := range []group{
		{"", []entry{{Path: "/", Label: "Overview"}}},
		{"Mail", []entry{{Path: queueHome, Label: "Queue"}, {Path: tasksHome, Label: "Tasks"}, {Path: ledgerHome, Label: "Ledger"}, {Path: readersHome, Label: "Sessions"}}},
		{"Set up", []entry{{Path: "/accounts", Label: "Accounts"}, {Path: "/apps", Label: "App registrations"}, {Path: "/devices", Label: "Devices"}, {Path: checkHome, Label: "Check"}, {Path: guideHome, Label: "Guides"}}},
		{"Postern", []entry{{Path: alertsPath, Label: "Alerts"}, {Path: settingsPath, Label: "Settings", Least: admin}, {Path: usersPath, Label: "Users", Least: admin}, {Path: auditPath, Label: "Audit log", Least: admin}}},
	} {
		g.Entries = slices.DeleteFunc(g.Entries, func(e entry) bool { return e.Least != "" && !who.May(e.Least) })
		for i := range g.Entries {
			g.Entries[i].Here = g.Entries[i].Path == here
		}
		if len(g.Entries) > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}
