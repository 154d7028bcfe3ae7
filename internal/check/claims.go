package check

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// claims are what a token says about itself. They explain, and never decide:
// Microsoft calls access tokens opaque, and those of personal accounts are.
type claims struct {
	Audience  oneOrMany `json:"aud"`
	Scopes    string    `json:"scp"`
	Roles     []string  `json:"roles"`
	Tenant    string    `json:"tid"`
	UPN       string    `json:"upn"`
	Unique    string    `json:"unique_name"`
	Preferred string    `json:"preferred_username"`
	AppID     string    `json:"appid"`
	Party     string    `json:"azp"`
	IDType    string    `json:"idtyp"`
	Issued    float64   `json:"iat"`
	Expires   float64   `json:"exp"`
}

// oneOrMany is a claim that may be a string or a list (RFC 7519 §4.1.3).
type oneOrMany []string

func (o *oneOrMany) UnmarshalJSON(b []byte) error {
	var one string
	if err := json.Unmarshal(b, &one); err == nil {
		*o = oneOrMany{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(o))
}

func (c claims) client() string { return first(c.AppID, c.Party) }
func (c claims) user() string   { return first(c.UPN, c.Preferred, c.Unique) }
func (c claims) application() bool {
	return c.IDType == "app" || c.Scopes == "" && c.user() == ""
}
func (c claims) expires() time.Time { return time.Unix(int64(c.Expires), 0) }
func (c claims) issued() time.Time  { return time.Unix(int64(c.Issued), 0) }

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// decode reads the claims of a JWT without verifying it; false means the token
// is opaque.
func decode(token string) (claims, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return claims{}, false
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return claims{}, false
	}
	return c, true
}

// content compares what the token says with the settings. It warns where a server has
// the last word; no server is asked for Graph's, and High Volume Email's rule is known.
func (c *checking) content(context.Context) Stage {
	cl, ok := decode(c.login.Token.Reveal())
	if !ok {
		return conclude(c.lastsEnough(), "The token is opaque; only the server can read it.")
	}
	var found []finding
	for _, look := range []func(claims) []finding{c.audienceFits, c.permissionFits, c.ownerFits, c.timeFits} {
		found = append(found, look(cl)...)
	}
	st := conclude(found, "The token is for this service, tenant, app and mailbox.")
	if cl.application() && len(cl.Roles) == 0 && len(found) == 0 {
		st.Summary = "The token is for this service, tenant and app. It names no application permission, which is right when Exchange grants the access (RBAC for Applications)."
	}
	for _, d := range []Detail{
		{"audience", strings.Join(cl.Audience, ", ")}, {"scopes", cl.Scopes}, {"roles", strings.Join(cl.Roles, ", ")},
		{"tenant", cl.Tenant}, {"signed in as", cl.user()}, {"app", cl.client()}, {"expires", cl.expires().UTC().Format(time.RFC3339)},
	} {
		if d.Value != "" {
			st.Details = append(st.Details, d)
		}
	}
	c.doubt(StageContent, st)
	return st
}

// Ids of Office 365 Exchange Online and of Graph, which may stand for their addresses.
const (
	exchangeID = "00000002-0000-0ff1-ce00-000000000000"
	graphID    = "00000003-0000-0000-c000-000000000000"
)

func (c *checking) audienceFits(cl claims) []finding {
	good, who, next := []string{exchangeID, "https://outlook.office.com", "https://outlook.office365.com", c.Cloud.Outlook, c.Cloud.AppOnly},
		"the mail servers refuse", "Ask for scopes of Office 365 Exchange Online, not of Graph, and check the chosen cloud."
	if c.Purpose == Graph {
		good, who, next = []string{graphID, c.Cloud.Graph}, "Graph refuses", "Ask for scopes of Microsoft Graph, and check the chosen cloud."
	}
	for _, a := range cl.Audience {
		if slices.ContainsFunc(good, func(g string) bool {
			return g != "" && strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(g, "/"))
		}) {
			return nil
		}
	}
	if len(cl.Audience) == 0 {
		return nil
	}
	return []finding{{c.Purpose == Graph, fmt.Sprintf("The token is for %s, which %s.", strings.Join(cl.Audience, ", "), who), next}}
}

func (c *checking) permissionFits(cl claims) []finding {
	final := c.Purpose == Graph
	if cl.application() {
		if c.Method != Application {
			return []finding{{final, "The token is the app's own, though the account is to sign in as a person.", "Sign the mailbox in."}}
		}
		role, api := c.neededRole()
		if (len(cl.Roles) == 0 && !final) || slices.Contains(cl.Roles, role) {
			return nil
		}
		return []finding{{final, fmt.Sprintf("The token lacks the application permission %s.", role),
			fmt.Sprintf("Add %s of %s to the app registration and grant admin consent.", role, api)}}
	}
	if c.Method == Application {
		return []finding{{final, "The token is a person's, though the account is to use an application permission.", "Check the account's method."}}
	}
	scopes := c.neededScopes()
	if cl.Scopes == "" || slices.ContainsFunc(strings.Fields(cl.Scopes), func(s string) bool {
		return slices.ContainsFunc(scopes, func(need string) bool { return strings.EqualFold(s, need) })
	}) {
		return nil
	}
	return []finding{{final, fmt.Sprintf("The token lacks the permission %s.", scopes[0]),
		fmt.Sprintf("Add the delegated permission %s to the app registration and sign the mailbox in again.", scopes[0])}}
}

// neededScopes are the delegated permissions of which one will do.
func (c *checking) neededScopes() []string {
	switch c.Purpose {
	case IMAP:
		return []string{"IMAP.AccessAsUser.All"}
	case POP3:
		return []string{"POP.AccessAsUser.All"}
	case Graph:
		return []string{"Mail.Send", "Mail.Send.Shared"}
	case HVE:
		return []string{cmp.Or(c.Cloud.HVEScope, "SMTP.Send")}
	}
	return []string{"SMTP.Send"}
}

// neededRole is the application permission, and whose it is.
func (c *checking) neededRole() (role, api string) {
	const exchangeOnline = "Office 365 Exchange Online"
	switch c.Purpose {
	case IMAP:
		return "IMAP.AccessAsApp", exchangeOnline
	case POP3:
		return "POP.AccessAsApp", exchangeOnline
	case Graph:
		return "Mail.Send", "Microsoft Graph"
	case HVE:
		return "Mail.Send", exchangeOnline
	}
	return "SMTP.SendAsApp", exchangeOnline
}

func (c *checking) ownerFits(cl claims) []finding {
	var found []finding
	if isGUID(c.Tenant) && cl.Tenant != "" && !strings.EqualFold(cl.Tenant, c.Tenant) {
		found = append(found, finding{false, fmt.Sprintf("The token comes from the tenant %s, not from %s.", cl.Tenant, c.Tenant), "Check the tenant, and sign in with an account of it."})
	}
	if c.ClientID != "" && cl.client() != "" && !strings.EqualFold(cl.client(), c.ClientID) {
		found = append(found, finding{false, fmt.Sprintf("The token belongs to the app %s, not to %s.", cl.client(), c.ClientID), "Sign the mailbox in again: the client id was changed since."})
	}
	if !c.Shared && cl.user() != "" && !strings.EqualFold(cl.user(), c.Mailbox.String()) {
		found = append(found, finding{false, fmt.Sprintf("%s signed in, and the mailbox is %s.", cl.user(), c.Mailbox),
			fmt.Sprintf("Sign in as %s, or mark the account as a shared mailbox and give %s Full Access and Send As.", c.Mailbox, cl.user())})
	}
	return found
}

// Leeway between Entra's clock and ours, and the time a token should still have.
const (
	clockLeeway = clockWrong
	enoughLeft  = 10 * time.Minute
)

func (c *checking) timeFits(cl claims) []finding {
	now := c.Now()
	switch {
	case cl.Issued != 0 && cl.issued().After(now.Add(clockLeeway)):
		return []finding{{false, fmt.Sprintf("The token was issued %s in the future.", minutes(cl.issued().Sub(now))), "Set this machine's clock by NTP."}}
	case cl.Expires != 0 && cl.expires().Before(now):
		return []finding{{false, fmt.Sprintf("The token ended %s ago.", minutes(now.Sub(cl.expires()))), "Set this machine's clock by NTP."}}
	}
	return c.lastsEnough()
}

// lastsEnough looks at the token's end, which the answer that brought it tells too.
func (c *checking) lastsEnough() []finding {
	left := c.login.Expires.Sub(c.Now())
	if c.login.Expires.IsZero() || left >= enoughLeft {
		return nil
	}
	what := fmt.Sprintf("The token lasts only %s more.", minutes(left))
	if c.Purpose == HVE {
		what = fmt.Sprintf("The token lasts only %s more, and High Volume Email refuses one of less than %s.", minutes(left), minutes(enoughLeft))
	}
	return []finding{{c.Purpose == HVE, what, "Check this machine's clock, and the tenant's policy for token lifetimes."}}
}
