package main

import (
	"fmt"
	"strings"
	"time"

	"postern/internal/catalogue"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

// known is one fault: a number, an error value or a reply of an entry.
type known struct {
	entry   catalogue.Entry
	reply   string // AADSTS50126, consent_required, 535 5.7.3 …
	code    string // of an AADSTS number that no entry has: it fills the entry
	fault   world.Fault
	account string
	purpose vault.Purpose
	why     string // it cannot be provoked
}

// faultsOf are all the faults an entry is about.
func faultsOf(e catalogue.Entry) []known {
	switch {
	case e.Protocol != catalogue.OAuth:
		return replies(e)
	case e.ID == "oauth.no_answer":
		return []known{token(e, "no answer", world.Fault{Kind: world.FaultDrop})}
	}
	var all []known
	for _, number := range e.Match.AADSTS {
		k := token(e, "AADSTS"+number, world.Fault{Kind: world.FaultReply, Code: number})
		if number == "any" {
			k.code, k.reply, k.fault.Code = "999999", "AADSTS999999", "999999"
		}
		all = append(all, k)
	}
	for _, value := range e.Match.Code {
		all = append(all, token(e, value, world.Fault{Kind: world.FaultReply, Code: value + " No number came with it."}))
	}
	return all
}

// token is a fault of the token endpoint. Some Microsoft tells on pages of its own, to a
// browser; what they mean is the same.
func token(e catalogue.Entry, reply string, f world.Fault) known {
	f.Where, f.Times = "token", always
	return known{entry: e, reply: reply, fault: f, account: "all", purpose: vault.Send}
}

// always keeps a fault armed until it is taken away.
const always = -1

// replies are the faults of the other protocols, as the entry's examples have them.
func replies(e catalogue.Entry) []known {
	var all []known
	for _, line := range e.Examples {
		k := known{entry: e, reply: line, account: "all", why: beyond(e.ID)}
		k.fault = world.Fault{Where: e.Protocol, Stage: stageOf(e), Kind: world.FaultReply, Code: line, Times: always}
		k.purpose = map[string]vault.Purpose{
			catalogue.SMTP: vault.Send, catalogue.HVE: vault.HVE, catalogue.IMAP: vault.IMAP, catalogue.POP3: vault.POP3, catalogue.Graph: vault.Graph,
		}[e.Protocol]
		if strings.HasPrefix(e.ID, "smtp.hve_") {
			k.purpose, k.fault.Where = vault.HVE, catalogue.HVE
		}
		if k.purpose == vault.HVE {
			k.account = "bulk"
		}
		switch {
		case e.ID == "graph.not_accepted":
			k.fault.Kind, k.fault.Code = world.FaultStatus, "200"
		case e.ID == "imap.token_expired":
			k.fault.Kind = world.FaultTokenExpired
		case strings.HasPrefix(line, "BAD Request is throttled"):
			k.fault.Kind, k.fault.Delay = world.FaultBackoff, 89*time.Second
		case strings.HasPrefix(line, "BYE "):
			k.fault.Code = "* " + line
		}
		all = append(all, k)
	}
	return all
}

// stageOf is where in a dialogue Microsoft says what an entry is about.
func stageOf(e catalogue.Entry) string {
	name := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(e.ID, e.Protocol), "."), "hve_")
	switch e.Protocol {
	case catalogue.Graph:
		return "send"
	case catalogue.POP3:
		if name == "unavailable" || name == "state_error" {
			return "list"
		}
		return "auth"
	case catalogue.IMAP:
		switch name {
		case "auth_refused", "login_refused":
			return "auth"
		case "closed":
			return "greeting"
		case "not_connected", "throttled":
			return "list"
		}
		return "select"
	case catalogue.HVE:
		return "auth"
	}
	return submissionStage(name)
}

func submissionStage(name string) string {
	for stage, names := range map[string]string{
		"ehlo": "old_tls unavailable",
		"auth": `auth_refused auth_disabled_tenant auth_disabled_mailbox basic_disabled security_defaults conditional_access
			password_wrong federation_down federation_plain auth_policy auth_other basic_retired auth_mechanism user token_age`,
		"rcpt": "internal too_many_of_domain too_many_recipients recipient_unknown recipient_rejected address_refused recipient_rate",
		"dot": `send_as_denied connections recipient_busy throttled daily_limit daily_limit_code sender_full trial_limit
			tenant_external_limit many_from bare_line_feed no_from`,
	} {
		for n := range strings.FieldsSeq(names) {
			if n == name {
				return stage
			}
		}
	}
	return "mail"
}

// beyond says why a check cannot come upon an entry; "" when it can.
func beyond(id string) string {
	return map[string]string{
		"imap.unconvertible": "it is the body of a message, and a check reads none",
		"imap.bad_charset":   "it is said of words that are searched for, and a check searches for none",
		"graph.resync":       "it is said of a folder that is read bit by bit, and a check reads none by Graph",
	}[id]
}

// values are what the check fills an entry with.
func (k known) values() map[string]string {
	mailbox := map[string]string{"all": "scan@contoso.com", "bulk": "hve@contoso.com"}[k.account]
	v := map[string]string{"mailbox": mailbox, "domain": "contoso.com"}
	if k.code != "" {
		v["code"] = k.code
	}
	return v
}

func (k known) String() string { return fmt.Sprintf("%s (%s)", k.entry.ID, k.reply) }
