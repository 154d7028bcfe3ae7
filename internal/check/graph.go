package check

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"postern/internal/fault"
)

// Unsent is the headline of a check of Graph that could prove no more than the token.
const Unsent = "Connection successful, as far as it can be tried without sending"

// lookUp asks Graph who the mailbox is, if the token happens to allow that. Sending
// needs no such permission, and none is asked for to check it.
func (c *checking) lookUp(ctx context.Context) Stage {
	address, ok := c.profile()
	if !ok {
		c.report.Headline = Unsent
		return Stage{
			Status:  Skipped,
			Summary: fmt.Sprintf("Not tried: the token is for sending, and may not look at %s. Whether Graph takes its mail is known after a first message.", c.Mailbox),
		}
	}
	a, err := c.get(ctx, address, c.login.Token)
	switch {
	case err != nil:
		return c.unanswered(err)
	case a.status == http.StatusOK:
		return Stage{Status: OK, Summary: fmt.Sprintf("Graph knows %s; nothing was sent.", c.Mailbox)}
	}
	return c.failure(&fault.Error{Kind: fault.Unknown, Op: "look up the mailbox", Reply: a.refusal()},
		fmt.Sprintf("Graph does not show %s to this token.", c.Mailbox))
}

// profile is where the mailbox can be looked up with the permissions of the token, as
// it states them itself.
func (c *checking) profile() (address string, ok bool) {
	cl, readable := decode(c.login.Token.Reveal())
	if !readable {
		return "", false
	}
	granted := append(strings.Fields(cl.Scopes), cl.Roles...)
	may := func(permissions ...string) bool {
		return slices.ContainsFunc(permissions, func(p string) bool { return slices.Contains(granted, p) })
	}
	base := strings.TrimRight(c.Cloud.Graph, "/") + "/v1.0/"
	switch {
	case may("User.ReadBasic.All", "User.Read.All", "Directory.Read.All"):
		return base + "users/" + url.PathEscape(c.Mailbox.String()) + "?$select=id", true
	case may("User.Read") && !cl.application() && !c.Shared:
		return base + "me?$select=id", true
	}
	return "", false
}

// refusal is Graph's error as a reply.
func (a answer) refusal() *fault.Reply {
	var body struct {
		Error struct{ Code, Message string }
	}
	_ = json.Unmarshal(a.body, &body) // without one the status alone is told
	return &fault.Reply{Protocol: "graph", Stage: "look up", Code: strconv.Itoa(a.status), Enhanced: body.Error.Code, Text: body.Error.Message}
}
