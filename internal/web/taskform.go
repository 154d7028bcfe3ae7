package web

import (
	"encoding"
	"fmt"
	"strconv"
	"strings"

	"postern/internal/declare"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/handover"
	"postern/internal/secret"
)

// mostRules is how many rules the form takes; a document takes any number.
const mostRules = 50

// text reads a field that knows how to read itself.
func (f form) text(name string, into encoding.TextUnmarshaler) {
	if text := f.Get(name); text != "" {
		if err := into.UnmarshalText([]byte(text)); err != nil {
			f.wrong(name, sentence(err.Error()))
		}
	}
}

// rows are a field's lines, without the empty ones.
func (f form) rows(name string) (rows []string) {
	for line := range strings.Lines(f.Values.Get(name)) {
		if line = strings.TrimSpace(line); line != "" {
			rows = append(rows, line)
		}
	}
	return rows
}

// patterns reads one pattern a line.
func (f form) patterns(name string) (list fetch.Patterns) {
	for _, line := range f.rows(name) {
		p, err := fetch.NewPattern(line)
		if err != nil {
			f.wrong(name, sentence(err.Error()))
			continue
		}
		list = append(list, p)
	}
	return list
}

// action reads a deed and what it needs.
func (f form) action(name string) fetch.Action {
	a := fetch.Action{Do: fetch.Deed(f.Get(name))}
	if a.Do == fetch.Tag || a.Do == fetch.Move {
		if a.To = f.Get(name + "_to"); a.To == "" {
			f.wrong(name+"_to", "Fill this in: the folder to move to, or the keyword.")
		}
	}
	if a.Do == fetch.Nothing {
		return fetch.Action{}
	}
	return a
}

// task reads the form as a document would say it.
func (f form) task(name string) declare.Task {
	d := declare.Task{Name: name, Account: f.Get("account"), Disabled: f.Get("disabled") != ""}
	d.Source = f.origin()
	for i := range f.rules() {
		d.Rules = append(d.Rules, f.rule(i))
	}
	if len(d.Rules) == 1 && plain(d.Rules[0]) {
		d.Rules = nil // the same, said by nothing
	}
	d.Nested = fetch.Nested(without(f.Get("nested"), string(fetch.Keep)))
	d.Handover = f.handover()
	if key := f.Values.Get("key"); key != "" && d.Handover.Kind() != "" && d.Handover.Command == nil {
		d.Key = &declare.SecretRef{Value: secret.New(key)}
	}
	d.After, d.Unmatched, d.Failure.Do = f.action("after"), f.action("unmatched"), f.action("failure")
	d.Failure.Tries, d.MakeFolders = f.count("tries"), f.Get("make_folders") != ""
	d.Schedule = f.schedule()
	d.Limits.Messages = f.count("limit_messages")
	f.text("limit_bytes", &d.Limits.Bytes)
	f.text("limit_message", &d.Limits.Message)
	return d
}

// without is a word, "" when it is the usual one, which nobody needs to say.
func without(word, usual string) string {
	if word == usual {
		return ""
	}
	return word
}

func (f form) origin() fetch.Origin {
	o := fetch.Origin{
		Protocol: fetch.Protocol(without(f.Get("protocol"), string(fetch.IMAP))), Folders: f.rows("folders"), Exclude: f.rows("exclude"),
		Which: fetch.Which(without(f.Get("which"), string(fetch.All))), Start: fetch.Start(without(f.Get("start"), string(fetch.StartNew))), Search: f.Get("search"),
	}
	if len(o.Folders) == 1 && strings.EqualFold(o.Folders[0], "INBOX") {
		o.Folders = nil
	}
	f.text("since", &o.Since)
	f.text("max_age", &o.MaxAge)
	return o
}

// rules is how many rules the form has.
func (f form) rules() int {
	n, _ := strconv.Atoi(f.Get("rules"))
	return max(0, min(n, mostRules))
}

// ruleField names a field of a rule.
func ruleField(i int, name string) string { return fmt.Sprintf("rule%d_%s", i, name) }

func (f form) rule(i int) fetch.Rule {
	at := func(name string) string { return ruleField(i, name) }
	r := fetch.Rule{Name: f.Get(at("name")), Skip: f.Get(at("skip")) != ""}
	r.Match = fetch.Match{
		From: f.patterns(at("from")), To: f.patterns(at("to")), Subject: f.patterns(at("subject")), Body: f.patterns(at("body")),
		SkipAutomatic: f.Get(at("skip_automatic")) != "",
	}
	for _, kind := range f.Values[at("save")] {
		r.Take.Save = append(r.Take.Save, fetch.Kind(kind))
	}
	if usual := r.Take.Save; len(usual) == 2 && usual[0] == fetch.Attachments && usual[1] == fetch.List {
		r.Take.Save = nil
	}
	r.Take.Names, r.Take.Types = f.patterns(at("names")), f.rows(at("types"))
	r.Take.Inline, r.Take.AnyMessage = f.Get(at("inline")) != "", f.Get(at("any_message")) != ""
	f.text(at("min_size"), &r.Take.MinSize)
	f.text(at("max_size"), &r.Take.MaxSize)
	return r
}

// plain reports whether a rule says nothing.
func plain(r fetch.Rule) bool {
	m, t := r.Match, r.Take
	return r.Name == "" && !r.Skip && len(m.From)+len(m.To)+len(m.Subject)+len(m.Body)+len(t.Save)+len(t.Names)+len(t.Types) == 0 &&
		!m.SkipAutomatic && !t.Inline && !t.AnyMessage && t.MinSize == 0 && t.MaxSize == 0
}

func (f form) handover() fetch.Handover {
	h := fetch.Handover{Directory: f.Get("directory")}
	if h.Directory != "" {
		h.Path, h.Clash = f.Get("path"), handover.Clash(without(f.Get("clash"), string(handover.ClashRename)))
	}
	timeout := 0
	if f.Get("target") != "" {
		h.Each, h.Act = fetch.Each(without(f.Get("each"), string(fetch.EachMessage))), fetch.Act(without(f.Get("act"), string(fetch.ActHandedOver)))
		timeout = f.count("timeout_seconds")
	}
	switch f.Get("target") {
	case "object":
		h.Object = &handover.Object{
			URL: f.Get("object_url"), Endpoint: f.Get("object_endpoint"), Region: f.Get("object_region"), KeyID: f.Get("object_key_id"), CA: f.Get("ca"),
			Name: f.Get("object_name"), Clash: handover.Clash(without(f.Get("object_clash"), string(handover.ClashRename))), TimeoutSeconds: timeout,
		}
	case "webhook":
		h.Webhook = &handover.Webhook{
			URL: f.Get("webhook_url"), Format: handover.Format(without(f.Get("webhook_format"), string(handover.FormatJSON))), LimitMB: f.count("webhook_limit_mb"),
			CA: f.Get("ca"), LinkLocal: f.Get("webhook_link_local") != "", TimeoutSeconds: timeout,
		}
	case "command":
		h.Command = &handover.Command{Path: f.Get("command_path"), Args: f.rows("command_args"), Env: f.pairs("command_env"), Dir: f.Get("command_dir"), TimeoutSeconds: timeout}
	}
	return h
}

// pairs reads NAME=value lines.
func (f form) pairs(name string) map[string]string {
	var out map[string]string
	for _, line := range f.rows(name) {
		key, value, found := strings.Cut(line, "=")
		if !found {
			f.wrong(name, "Write one NAME=value a line.")
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[strings.TrimSpace(key)] = value
	}
	return out
}

func (f form) schedule() (c fetch.Schedule) {
	switch f.Get("when") {
	case "every":
		f.need("every")
		f.text("every", &c.Every)
	case "cron":
		f.need("cron")
		c.Cron, c.Zone = f.Get("cron"), f.Get("zone")
	case "watch":
		c.Watch = true
		f.text("every", &c.Every)
	case "watch_cron":
		c.Watch, c.Cron, c.Zone = true, f.Get("cron"), f.Get("zone")
	}
	return c
}

// checkTask says beside its field what is wrong with a task.
func (f *form) checkTask(t fetch.Task) {
	err := t.Check()
	if err == nil {
		return
	}
	text := err.Error()
	if e := fault.As(err); e != nil && e.Err != nil {
		text = e.Err.Error()
	}
	if field, say := placeOf(text); field != "" {
		f.wrong(field, sentence(say))
		return
	}
	f.refuse(err)
}

// placeOf finds the field of the form that what is wrong with a task begins with: its
// check names the place in the document first.
func placeOf(text string) (field, say string) {
	place, say, found := strings.Cut(text, ": ")
	if !found {
		return "", text
	}
	if rest, is := strings.CutPrefix(place, "rules["); is {
		number, key, _ := strings.Cut(rest, "].")
		i, err := strconv.Atoi(number)
		if err != nil {
			return "", text
		}
		return ruleField(i, key[strings.LastIndex(key, ".")+1:]), say
	}
	return map[string]string{
		"source.protocol": "protocol", "source.which": "which", "source.search": "search", "source.folders": "folders", "source.exclude": "exclude",
		"source.start": "start", "handover.directory": "directory", "handover.path": "path", "handover.clash": "clash", "handover.each": "each",
		"handover.act": "act", "handover.object": "object_url", "handover.webhook": "webhook_url", "handover.command": "command_path",
		"after": "after_to", "unmatched": "unmatched_to", "failure.do": "failure_to", "failure.tries": "tries", "schedule.every": "every",
		"schedule.cron": "cron", "schedule.zone": "zone", "limits.messages": "limit_messages", "nested": "nested",
	}[place], say
}
