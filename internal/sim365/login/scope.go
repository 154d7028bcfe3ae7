package login

import (
	"slices"
	"strings"

	"postern/internal/sim365/world"
)

// wanted is a parsed scope parameter.
type wanted struct {
	openid, profile, email, offline bool

	resources []string            // as asked for, in order
	names     map[string][]string // resource as asked for → short permission names
}

// only returns the part for one resource, keeping the OpenID scopes.
func (q wanted) only(resource string) wanted {
	q.resources = []string{resource}
	q.names = map[string][]string{resource: q.names[resource]}
	return q
}

// all lists the short names of every resource, for consent.
func (q wanted) all() []string {
	var out []string
	for _, r := range q.resources {
		for _, n := range q.names[r] {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// echo is the scope member of a token response. Microsoft names Graph's scopes
// short and those of other resources in full, and never repeats offline_access.
func (q wanted) echo(canonical string) string {
	var out []string
	for _, r := range q.resources {
		for _, n := range q.names[r] {
			if canonical != world.GraphResource {
				n = r + "/" + n
			}
			out = append(out, n)
		}
	}
	for _, o := range []struct {
		on   bool
		name string
	}{{q.openid, "openid"}, {q.profile, "profile"}, {q.email, "email"}} {
		if o.on && canonical == world.GraphResource {
			out = append(out, o.name)
		}
	}
	return strings.Join(out, " ")
}

// delegated parses a scope parameter of a grant that acts for a user.
func (s *Server) delegated(raw string, app world.App, tenant string) (wanted, *failure) {
	q := wanted{names: map[string][]string{}}
	for _, word := range strings.Fields(raw) {
		if q.openID(word) {
			continue
		}
		resource, name := splitScope(word)
		canonical, ok := s.world.Resource(resource)
		if !ok {
			return q, aadsts(500011, resource, tenant)
		}
		if !slices.Contains(q.resources, resource) {
			q.resources = append(q.resources, resource)
		}
		if name == ".default" {
			q.names[resource] = append(q.names[resource], registered(app, canonical, delegatedNames)...)
			continue
		}
		full, ok := lookup(delegatedNames(canonical), name)
		if !ok {
			return q, aadsts(70011, word)
		}
		q.names[resource] = append(q.names[resource], full)
	}
	return q, nil
}

// openID takes the scopes that belong to no resource.
func (q *wanted) openID(word string) bool {
	switch strings.ToLower(word) {
	case "openid":
		q.openid = true
	case "profile":
		q.profile = true
	case "email":
		q.email = true
	case "offline_access":
		q.offline = true
	default:
		return false
	}
	return true
}

// splitScope cuts "https://outlook.office.com/SMTP.Send"; a bare name means Graph.
func splitScope(word string) (resource, name string) {
	i := strings.LastIndexByte(word, '/')
	if i < 0 {
		return world.GraphResource, word
	}
	return strings.TrimRight(word[:i], "/"), word[i+1:]
}

// registered lists the app's permissions that a resource knows.
func registered(app world.App, canonical string, known func(string) []string) []string {
	var out []string
	for _, p := range app.Permissions {
		if name, ok := lookup(known(canonical), p); ok {
			out = append(out, name)
		}
	}
	return out
}

func lookup(names []string, name string) (string, bool) {
	i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
	if i < 0 {
		return "", false
	}
	return names[i], true
}

// delegatedNames are the scopes a resource exposes, as far as mail goes.
func delegatedNames(canonical string) []string {
	names := []string{"SMTP.Send", "IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "Mail.Send", "Mail.Read", "Mail.ReadWrite",
		"Mail.Send.Shared", "Mail.Read.Shared", "Mail.ReadWrite.Shared", "User.Read"}
	if canonical != world.GraphResource {
		return append(names, "EWS.AccessAsUser.All")
	}
	return names
}

// roleNames are the application permissions a resource exposes.
func roleNames(canonical string) []string {
	if canonical == world.GraphResource {
		return []string{"Mail.Send", "Mail.Read", "Mail.ReadWrite", "User.Read.All"}
	}
	return []string{"SMTP.SendAsApp", "IMAP.AccessAsApp", "POP.AccessAsApp", "Mail.Send", "full_access_as_app"}
}

// unconsented lists what neither the user nor the admin has agreed to. Admin
// consent covers what is registered; more has to be asked for, as with Microsoft.
func unconsented(q wanted, app world.App, u world.User) []string {
	granted := strings.Fields(app.UserConsent[u.ObjectID])
	if app.AdminConsent[u.TenantID] {
		granted = append(granted, app.Permissions...)
	}
	var missing []string
	for _, name := range q.all() {
		if _, ok := lookup(granted, name); !ok {
			missing = append(missing, name)
		}
	}
	return missing
}
