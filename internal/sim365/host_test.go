package sim365_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"postern/internal/sim365"
	"postern/internal/sim365/world"
)

// Under another name than localhost the simulator is what a proxy must find.
func TestAnotherHost(t *testing.T) {
	t.Parallel()
	const host = "login.microsoft.test"
	s, err := sim365.Start(t.Context(), sim365.Options{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	if s.SMTP().Host != host || !strings.HasPrefix(s.Authority(), "https://"+host+":") || !strings.HasPrefix(s.Control(), "http://localhost:") {
		t.Errorf("SMTP at %s, authority at %s, control at %s", s.SMTP().Host, s.Authority(), s.Control())
	}
	_, config := trusting(t, s)
	config.ServerName = ""
	transport := &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		name, port, _ := net.SplitHostPort(address)
		if name != host {
			t.Errorf("dialled %s", address)
		}
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	resp, err := (&http.Client{Transport: transport}).Get(s.Authority() + "/common/v2.0/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		Token string `json:"token_endpoint"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || !strings.HasPrefix(doc.Token, s.Authority()+"/") {
		t.Errorf("token endpoint %q, %v", doc.Token, err)
	}
}

// The clock that is off shows in the Date of answers, in what tokens say of their
// times, and in what has expired.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	s, err := sim365.Start(t.Context(), sim365.Options{ClockAhead: 7 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	c := s.Contoso()
	client, _ := trusting(t, s)
	s.World.UpdateApp(c.App.ClientID, func(a *world.App) {
		a.UserConsent[c.HVE.ObjectID] = "SMTP.Send"
	})
	ask := func() time.Time {
		t.Helper()
		resp, err := client.PostForm(s.Authority()+"/contoso.com/oauth2/v2.0/token", url.Values{
			"grant_type": {"password"}, "client_id": {c.App.ClientID}, "client_secret": {c.App.Secret}, "scope": {outlook + "SMTP.Send openid"},
			"username": {c.HVE.UPN}, "password": {sim365.Password},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		date, err := http.ParseTime(resp.Header.Get("Date"))
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("answer %d, date %q: %v", resp.StatusCode, resp.Header.Get("Date"), err)
		}
		return date
	}
	off := func(at time.Time) time.Duration { return time.Until(at).Round(time.Minute) }
	tokens := func() []world.Token { return s.World.Tokens() }

	if got := off(ask()); got != 7*time.Minute {
		t.Errorf("Date is %v ahead", got)
	}
	if got := off(tokens()[0].Issued); got != 7*time.Minute {
		t.Errorf("the token was issued %v ahead", got)
	}
	controller{t, s}.want(http.StatusNoContent, http.MethodPut, "/clock", `{"ahead": "-3m"}`)
	if got := off(ask()); got != -3*time.Minute {
		t.Errorf("Date is %v ahead after it was set back", got)
	}
	s.SetClockAhead(90 * time.Minute) // longer than tokens live
	for _, token := range tokens() {
		if _, err := s.World.CheckToken(token.Raw); err == nil {
			t.Error("by that clock the token has expired")
		}
	}
}
