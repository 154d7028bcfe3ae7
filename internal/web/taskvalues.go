package web

import (
	"cmp"
	"encoding"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"postern/internal/fetch"
	"postern/internal/handover"
)

// filling puts what is so into the fields of a form.
type filling struct{ url.Values }

func (v filling) set(name, value string) {
	if value != "" {
		v.Set(name, value)
	}
}

func (v filling) tick(name string, on bool) {
	if on {
		v.Set(name, "1")
	}
}

func (v filling) number(name string, n int) {
	if n != 0 {
		v.Set(name, strconv.Itoa(n))
	}
}

// written is for what writes itself.
func (v filling) written(name string, zero bool, m encoding.TextMarshaler) {
	if !zero {
		b, _ := m.MarshalText() // these never fail
		v.Set(name, string(b))
	}
}

func (v filling) patterns(name string, list fetch.Patterns) {
	lines := make([]string, len(list))
	for i, p := range list {
		lines[i] = p.String()
	}
	v.set(name, strings.Join(lines, "\n"))
}

// taskValues fill the form with a task as it is.
func taskValues(t fetch.Task) url.Values {
	v := filling{url.Values{}}
	v.set("name", t.Name)
	v.set("account", t.Account)
	v.tick("disabled", t.Disabled)
	v.origin(t.Source)
	rules := t.Rules
	if len(rules) == 0 {
		rules = []fetch.Rule{{}}
	}
	v.number("rules", len(rules))
	for i, r := range rules {
		v.rule(i, r)
	}
	v.set("nested", cmp.Or(string(t.Nested), string(fetch.Keep)))
	v.handover(t.Handover)
	for name, a := range map[string]fetch.Action{"after": t.After, "unmatched": t.Unmatched, "failure": t.Failure.Do} {
		v.set(name, cmp.Or(string(a.Do), string(fetch.Nothing)))
		v.set(name+"_to", a.To)
	}
	v.number("tries", t.Failure.Tries)
	v.tick("make_folders", t.MakeFolders)
	v.set("when", whenOf(t.Schedule))
	v.written("every", t.Schedule.Every.IsZero(), t.Schedule.Every)
	v.set("cron", t.Schedule.Cron)
	v.set("zone", t.Schedule.Zone)
	v.number("limit_messages", t.Limits.Messages)
	v.written("limit_bytes", t.Limits.Bytes.IsZero(), t.Limits.Bytes)
	v.written("limit_message", t.Limits.Message.IsZero(), t.Limits.Message)
	return v.Values
}

func (v filling) origin(o fetch.Origin) {
	v.set("protocol", cmp.Or(string(o.Protocol), string(fetch.IMAP)))
	v.set("folders", cmp.Or(strings.Join(o.Folders, "\n"), "INBOX"))
	v.set("exclude", strings.Join(o.Exclude, "\n"))
	v.set("which", cmp.Or(string(o.Which), string(fetch.All)))
	v.set("start", cmp.Or(string(o.Start), string(fetch.StartNew)))
	v.set("search", o.Search)
	v.written("since", o.Since.IsZero(), o.Since)
	v.written("max_age", o.MaxAge.IsZero(), o.MaxAge)
}

func (v filling) rule(i int, r fetch.Rule) {
	at := func(name string) string { return ruleField(i, name) }
	v.set(at("name"), r.Name)
	v.tick(at("skip"), r.Skip)
	v.patterns(at("from"), r.Match.From)
	v.patterns(at("to"), r.Match.To)
	v.patterns(at("subject"), r.Match.Subject)
	v.patterns(at("body"), r.Match.Body)
	v.tick(at("skip_automatic"), r.Match.SkipAutomatic)
	save := r.Take.Save
	if len(save) == 0 {
		save = []fetch.Kind{fetch.Attachments, fetch.List}
	}
	for _, kind := range save {
		v.Add(at("save"), string(kind))
	}
	v.patterns(at("names"), r.Take.Names)
	v.set(at("types"), strings.Join(r.Take.Types, "\n"))
	v.written(at("min_size"), r.Take.MinSize.IsZero(), r.Take.MinSize)
	v.written(at("max_size"), r.Take.MaxSize.IsZero(), r.Take.MaxSize)
	v.tick(at("inline"), r.Take.Inline)
	v.tick(at("any_message"), r.Take.AnyMessage)
}

func (v filling) handover(h fetch.Handover) {
	v.set("directory", h.Directory)
	v.set("path", h.Path)
	v.set("clash", cmp.Or(string(h.Clash), string(handover.ClashRename)))
	v.set("target", h.Kind())
	v.set("each", cmp.Or(string(h.Each), string(fetch.EachMessage)))
	v.set("act", cmp.Or(string(h.Act), string(fetch.ActHandedOver)))
	object, hook, command := handover.Object{}, handover.Webhook{}, handover.Command{}
	switch {
	case h.Object != nil:
		object = *h.Object
	case h.Webhook != nil:
		hook = *h.Webhook
	case h.Command != nil:
		command = *h.Command
	}
	v.set("object_url", object.URL)
	v.set("object_endpoint", object.Endpoint)
	v.set("object_region", object.Region)
	v.set("object_key_id", object.KeyID)
	v.set("object_name", object.Name)
	v.set("object_clash", cmp.Or(string(object.Clash), string(handover.ClashRename)))
	v.set("webhook_url", hook.URL)
	v.set("webhook_format", cmp.Or(string(hook.Format), string(handover.FormatJSON)))
	v.number("webhook_limit_mb", hook.LimitMB)
	v.tick("webhook_link_local", hook.LinkLocal)
	v.set("command_path", command.Path)
	v.set("command_args", strings.Join(command.Args, "\n"))
	v.set("command_dir", command.Dir)
	env := make([]string, 0, len(command.Env))
	for name, value := range command.Env {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	v.set("command_env", strings.Join(env, "\n"))
	v.set("ca", cmp.Or(object.CA, hook.CA))
	v.number("timeout_seconds", cmp.Or(object.TimeoutSeconds, hook.TimeoutSeconds, command.TimeoutSeconds))
}

// whenOf is the choice that a schedule is made with.
func whenOf(c fetch.Schedule) string {
	switch {
	case c.Watch && c.Cron != "":
		return "watch_cron"
	case c.Watch:
		return "watch"
	case c.Cron != "":
		return "cron"
	case c.Every > 0:
		return "every"
	}
	return "manual"
}
