package web

import (
	"errors"
	"net/http"
	"strings"

	"postern/internal/fault"
	"postern/internal/vault"
)

// message is a page with something to say.
type message struct {
	Title, Text, Next string
	Words             string // Microsoft's own
	Good              bool
	Done              *vault.Description // the account that something good was done for
	Consented         bool               // by an administrator; nobody signed in
	Help              string             // which help a failure comes with
	Again             string             // where to try once more
	Home              string             // the page somebody came from
	Check             string             // where the connection is checked
	Close             bool               // a window that was opened for this closes itself
}

// fail shows what went wrong with a sign-in: one sentence, the next step, and the
// server's own words as text. again is where to try once more, if anywhere: a one-time
// link, or the page of ours that somebody came from.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error, again string) {
	s.Log.WarnContext(r.Context(), "a sign-in failed", "kind", fault.KindOf(err).String(), "error", err)
	status, m := explain(err)
	if strings.HasPrefix(again, home) {
		m.Home = again
	} else {
		m.Again = again
	}
	s.show(w, r, status, "message.html", m)
}

// failLookup says that something of our own could not be looked up: Microsoft was
// not asked.
func (s *Server) failLookup(w http.ResponseWriter, r *http.Request, err error) {
	s.Log.WarnContext(r.Context(), "a page could not be looked up", "kind", fault.KindOf(err).String(), "error", err)
	if errors.Is(err, fault.NotFound) {
		s.show(w, r, http.StatusNotFound, "message.html", message{Title: "There is no such account", Next: "It may have been deleted. See: postern accounts list"})
		return
	}
	s.show(w, r, http.StatusServiceUnavailable, "message.html", message{Title: "Postern cannot look this up now", Next: "Try again in a few minutes. The log says why."})
}

// explain makes a page of an error.
func explain(err error) (status int, m message) {
	m = message{Text: "Nothing was changed.", Next: sentence(fault.HintOf(err))}
	status, m.Title, m.Help = headline(err)
	reply, why := fault.ReplyOf(err), ""
	if e := fault.As(err); e != nil && e.Err != nil {
		why = sentence(e.Err.Error())
	}
	passes := errors.Is(err, fault.Temporary) || errors.Is(err, fault.Throttled)
	switch {
	case reply != nil:
		m.Words = reply.String()
	case passes: // a cause of our network's or disk's is not for whoever has a link
		why, m.Text = "", m.Text+" The log says why."
	}
	if why != "" && why != m.Title+"." {
		m.Text = why + " " + m.Text
	}
	switch {
	case m.Help == "consent":
		m.Next = "Ask an administrator of your organisation to agree, then sign in again."
	case m.Next != "":
	case passes:
		m.Next = "Try again in a few minutes."
	default:
		m.Next = "Begin again from the accounts page, or with: postern signin NAME"
	}
	return status, m
}

// headline is what a failed sign-in comes to, in one line, and which help goes with
// it. The kind decides the status; Microsoft's number, if it is a known one, only
// chooses better words.
func headline(err error) (status int, title, help string) {
	reply := fault.ReplyOf(err)
	status, title = byKind(err, reply)
	switch {
	case errors.Is(err, vault.ErrWrongMailbox):
		return status, "Another account signed in", "mailbox"
	case errors.Is(err, vault.ErrPersonal):
		return status, "This kind of account cannot sign in here", "personal"
	case errors.Is(err, vault.ErrOtherBrowser):
		return status, "Another browser began this sign-in", "browser"
	case errors.Is(err, vault.ErrExpiredState):
		return status, "This sign-in took too long", ""
	case reply == nil:
		return status, title, ""
	}
	switch reply.Enhanced {
	case "65001", "90008", "90093", "90094", "90095":
		return status, "An administrator must agree first", "consent"
	case "54005":
		return status, "This sign-in was finished already", ""
	case "70008":
		return status, "This sign-in took too long", ""
	case "50020", "500200", "500208":
		return status, "This kind of account cannot sign in here", "personal"
	}
	return status, title, ""
}

func byKind(err error, reply *fault.Reply) (status int, title string) {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return http.StatusNotFound, "This sign-in is over"
	case fault.Denied:
		if reply != nil {
			return http.StatusForbidden, "Permission was not given"
		}
		return http.StatusForbidden, "The sign-in was refused"
	case fault.Invalid:
		return http.StatusBadRequest, "This sign-in cannot go on"
	case fault.NeedsAdmin:
		return http.StatusForbidden, "An administrator must change something first"
	case fault.NeedsSignIn:
		return http.StatusForbidden, "Microsoft did not accept the sign-in"
	case fault.Temporary, fault.Throttled:
		if itsOwn(reply) {
			return http.StatusServiceUnavailable, "Microsoft has trouble of its own"
		}
		return http.StatusServiceUnavailable, "Microsoft could not be reached"
	default:
		return http.StatusInternalServerError, "The sign-in did not succeed"
	}
}

// itsOwn reports whether the provider answered, and said that it is the one that is
// ill (RFC 6749 section 4.1.2.1, or a status of 5xx).
func itsOwn(reply *fault.Reply) bool {
	if reply == nil {
		return false
	}
	return reply.Code == "server_error" || reply.Code == "temporarily_unavailable" || len(reply.Code) == 3 && strings.HasPrefix(reply.Code, "5")
}
