package test

import (
	"encoding/json"
	"testing"
	"time"

	"postern/internal/sim365/world"
)

// stateOf reads an account's state through the command line.
func stateOf(t *testing.T, g *gate, account string) (state, reason string) {
	t.Helper()
	var rows []struct{ Name, State, Reason string }
	if err := json.Unmarshal([]byte(g.postern("accounts", "list", "--json")), &rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Name == account {
			return r.State, r.Reason
		}
	}
	t.Fatalf("no account %s", account)
	return "", ""
}

// expire ends every access token, as a revocation would. A token that is seconds
// old is not replaced when it is refused (whoever asked at the same moment has
// just got it), so the tokens must have some age first.
func (g *gate) expire() {
	time.Sleep(2500 * time.Millisecond)
	g.sim.World.ExpireTokens()
}

// TestRefreshCutOff cuts the line after Microsoft has rotated the refresh token
// and before Postern has heard of it, and then kills Postern in that gap. The
// account must go on working with nobody signing in again.
func TestRefreshCutOff(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	sendOne(t, g, "before")
	codes := g.sim.World.Count("code")

	t.Run("the answer is lost", func(t *testing.T) {
		rotated := g.sim.World.Count("refresh")
		g.expire()
		g.sim.World.Arm(world.Fault{Where: "token", Kind: world.FaultDropAfter, Times: 1})
		out, _, _ := g.try("", "check", "scan", "--for", "send") // asks for a fresh token
		if g.sim.World.Count("refresh") == rotated {
			t.Fatalf("nothing was rotated:\n%s", out)
		}
		sendOne(t, g, "after the answer was lost")
	})
	t.Run("the process is killed", func(t *testing.T) {
		rotated := g.sim.World.Count("refresh")
		g.stop()
		g.start() // with nothing cached but what the database has
		g.expire()
		g.sim.World.Arm(world.Fault{Where: "token", Kind: world.FaultDropAfter, Times: 1})
		submitOne(t, g, "across the kill")
		waitFor(t, "the rotation", func() bool { return g.sim.World.Count("refresh") > rotated })
		g.kill()
		g.start()
		waitFor(t, "the message to arrive", func() bool {
			retryAll(t, g) // if the failure was still recorded, the message backs off for half a minute
			return sentWith(g, "across the kill") == 1
		})
		sendOne(t, g, "after the kill")
	})
	if state, reason := stateOf(t, g, "scan"); state != "active" {
		t.Errorf("the account is %s: %s", state, reason)
	}
	if g.sim.World.Count("code") != codes {
		t.Error("somebody signed in again")
	}
	g.stop()
}

// retryAll makes every waiting message due now.
func retryAll(t *testing.T, g *gate) {
	t.Helper()
	var waiting []struct{ ID string }
	if err := json.Unmarshal([]byte(g.postern("queue", "list", "--json", "--state", "queued")), &waiting); err != nil {
		t.Fatal(err)
	}
	for _, m := range waiting {
		_, _, _ = g.try("", "queue", "retry", m.ID) // it may be on its way by now
	}
}

// TestOutageIsNotASignIn keeps the token endpoint away for a while: mail waits,
// nobody is told to sign in, and it goes on by itself.
func TestOutageIsNotASignIn(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	g.stop()
	g.start()
	g.expire()
	away := g.sim.World.Arm(world.Fault{Where: "token", Kind: world.FaultStatus, Code: "503", Times: -1})
	submitOne(t, g, "through the outage")
	var waiting []struct {
		ID, State, Reason string
		Attempts          int
	}
	waitFor(t, "the first try to fail", func() bool {
		waiting = nil
		if err := json.Unmarshal([]byte(g.postern("queue", "list", "--json")), &waiting); err != nil {
			t.Fatal(err)
		}
		return len(waiting) == 1 && waiting[0].Attempts > 0
	})
	if waiting[0].State != "queued" || waiting[0].Reason == "" {
		t.Errorf("the message is %s because %q", waiting[0].State, waiting[0].Reason)
	}
	if state, reason := stateOf(t, g, "scan"); state != "active" {
		t.Errorf("an outage made the account %s: %s", state, reason)
	}
	g.sim.World.Disarm(away)
	g.postern("queue", "retry", waiting[0].ID) // it would go by itself in half a minute
	waitFor(t, "the message to arrive", func() bool { return sentWith(g, "through the outage") == 1 })
	g.stop()
}

// TestRevokedThenSignedIn lets Microsoft revoke the sessions: the account pauses,
// its mail waits with the reason, and one new sign-in sends it.
func TestRevokedThenSignedIn(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.unlimited("scan@contoso.com")
	g.setUp("")
	g.stop()
	g.start()
	g.sim.World.RevokeSessions("scan@contoso.com")
	g.expire()
	submitOne(t, g, "after a new sign-in")
	waitFor(t, "the account to pause", func() bool { s, _ := stateOf(t, g, "scan"); return s == "needs_sign_in" })
	if _, reason := stateOf(t, g, "scan"); reason == "" {
		t.Error("no reason is given")
	}
	g.signIn("scan", "scan@contoso.com")
	waitFor(t, "the message to arrive", func() bool { return sentWith(g, "after a new sign-in") == 1 })
	if state, _ := stateOf(t, g, "scan"); state != "active" {
		t.Errorf("the account is %s", state)
	}
	g.stop()
}
