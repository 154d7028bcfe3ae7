package web_test

import (
	"strings"
	"testing"

	"postern/internal/people"
)

// Somebody who may only look is not shown what is not for them to do.
func TestViewersSeeNoButtons(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.people.user("viewer", people.Viewer)
	for _, path := range []string{"/", "/devices", "/devices/printer", "/alerts", "/alerts/admins"} {
		a := s.do(s.as("viewer", s.request("GET", path, nil)))
		main := a.body[strings.Index(a.body, "<h1>"):]
		if a.StatusCode != 200 {
			t.Errorf("%s: status %d", path, a.StatusCode)
		}
		for _, unwanted := range []string{`method="post" action="/devices`, `<button>Save`, "/new", `value="test"`} {
			if strings.Contains(main, unwanted) {
				t.Errorf("%s shows a viewer %s", path, unwanted)
			}
		}
	}
}
