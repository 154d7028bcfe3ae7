package login_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365/world"
)

func TestFaultsAtTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	first := s.signedIn()
	refresh := func() (answer, error) {
		return s.post("/contoso.com/oauth2/v2.0/token", s.refreshForm(first.RefreshToken))
	}
	arm := func(f world.Fault) {
		f.Where, f.Stage, f.Mailbox = "token", "refresh_token", s.user.UPN
		s.world.Arm(f)
	}

	arm(world.Fault{Kind: world.FaultReply, Code: "AADSTS90033"})
	if a, err := refresh(); err != nil || a.Status != http.StatusServiceUnavailable || a.Error != "temporarily_unavailable" {
		t.Errorf("reply: %+v %v", a, err)
	}
	arm(world.Fault{Kind: world.FaultReply, Code: "50173"})
	if a, err := refresh(); err != nil || strings.Contains(a.Description, "%s") || a.number() != 50173 || a.Suberror != "bad_token" {
		t.Errorf("reply by number: %+v %v", a, err)
	}
	arm(world.Fault{Kind: world.FaultReply, Code: "consent_required"})
	if a, err := refresh(); err != nil || a.Error != "consent_required" || strings.Contains(a.Description, "AADSTS") {
		t.Errorf("reply by value: %+v %v", a, err)
	}
	arm(world.Fault{Kind: world.FaultGarbage})
	if a, err := refresh(); err == nil {
		t.Errorf("garbage was read: %+v", a)
	}

	arm(world.Fault{Kind: world.FaultStatus, Code: "429", Delay: 7 * time.Second})
	resp, err := s.server.Client().PostForm(s.server.URL+"/contoso.com/oauth2/v2.0/token", s.refreshForm(first.RefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "7" {
		t.Errorf("status: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}

	arm(world.Fault{Kind: world.FaultReply, Code: "AADSTS90055", Delay: 7 * time.Second})
	if resp, err = s.server.Client().PostForm(s.server.URL+"/contoso.com/oauth2/v2.0/token", s.refreshForm(first.RefreshToken)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if date := resp.Header.Get("Date"); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "7" || date != s.world.Now().UTC().Format(http.TimeFormat) {
		t.Errorf("throttled: %d, Retry-After %q, Date %q", resp.StatusCode, resp.Header.Get("Retry-After"), date)
	}

	before := s.world.Count("refresh")
	arm(world.Fault{Kind: world.FaultDrop})
	if _, err := refresh(); err == nil || s.world.Count("refresh") != before {
		t.Errorf("drop: err %v, %d refreshes done", err, s.world.Count("refresh")-before)
	}
	arm(world.Fault{Kind: world.FaultDropAfter})
	if _, err := refresh(); err == nil || s.world.Count("refresh") != before+1 {
		t.Errorf("drop after: err %v, %d refreshes done; the rotation must have happened", err, s.world.Count("refresh")-before)
	}
	arm(world.Fault{Kind: world.FaultSlow, Delay: time.Millisecond})
	if a, err := refresh(); err != nil || a.AccessToken == "" {
		t.Errorf("slow: %+v %v", a, err)
	}
	if left := s.world.Faults(); len(left) != 0 {
		t.Errorf("still armed: %v", left)
	}
}

func TestFaultsAtAuthorize(t *testing.T) {
	t.Parallel()
	for code, wantBack := range map[string]string{"AADSTS90033": "temporarily_unavailable", "AADSTS53003": ""} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.world.Arm(world.Fault{Where: "authorize", Kind: world.FaultReply, Code: code})
			p := s.must(s.visitor().Get(t.Context(), s.authorizeURL("contoso.com", nil)))
			if got := s.lastBack().Get("error"); got != wantBack {
				t.Errorf("the app got %q, want %q", got, wantBack)
			}
			if wantBack == "" && !strings.Contains(p.Text, code) {
				t.Errorf("page %q", p.Text)
			}
		})
	}
}

func TestErrorURIExplains(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	a := s.token("nowhere.com", url.Values{"grant_type": {"password"}}, nil)
	p := s.must(s.visitor().Get(t.Context(), a.ErrorURI))
	s.wantPage(p, "AADSTS90002", "not found")
	if p := s.must(s.visitor().Get(t.Context(), s.server.URL+"/error?code=1")); p.Status != http.StatusNotFound {
		t.Errorf("unknown code: %d", p.Status)
	}
}
