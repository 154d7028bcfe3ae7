package fetch

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/handover"
	"postern/internal/mailbox/imap"
)

// Check says what is wrong with a task, the field first: rules[0].take.save: "pdf" is
// not known; allowed: …. It is fault.Invalid.
func (t Task) Check() error {
	if err := t.Spec.check(); err != nil {
		return fault.Wrap(fault.Invalid, fmt.Sprintf("task %q", t.Name), err)
	}
	return nil
}

func (s Spec) check() error {
	for _, part := range []struct {
		name string
		err  error
	}{
		{"source.", s.Source.check(s.After)},
		{"handover.", s.Handover.check()},
		{"after: ", s.After.check()},
		{"unmatched: ", s.Unmatched.check()},
		{"failure.", s.Failure.check()},
		{"schedule.", s.Schedule.check()},
		{"limits.", s.Limits.check()},
		{"", oneOf("nested", s.Nested, Keep, Open)},
		{"", s.checkRules()},
		{"", s.checkPOP3()},
	} {
		if part.err != nil {
			return fmt.Errorf("%s%w", part.name, part.err)
		}
	}
	return nil
}

// oneOf refuses a word that is not among those allowed; "" is the first of them.
func oneOf[T ~string](field string, word T, allowed ...T) error {
	if word == "" || slices.Contains(allowed, word) {
		return nil
	}
	return fmt.Errorf("%s: %q is not known; allowed: %s", field, word, joined(allowed))
}

func joined[T ~string](words []T) string {
	out := make([]string, 0, len(words))
	for _, w := range words {
		out = append(out, string(w))
	}
	return strings.Join(out, ", ")
}

func (o Origin) check(after Action) error {
	if err := oneOf("protocol", o.Protocol, IMAP, POP3); err != nil {
		return err
	}
	if err := oneOf("which", o.Which, All, Unread, Unflagged, Untagged); err != nil {
		return err
	}
	if o.Which == Untagged && after.Do != Tag {
		return fmt.Errorf("which: untagged needs an action that tags: \"after: tag KEYWORD\"")
	}
	if strings.ContainsAny(o.Search, "\r\n\x00") {
		return fmt.Errorf("search: it must be one line")
	}
	if o.Search != "" {
		if err := imap.CheckSearch(o.Search); err != nil {
			return fmt.Errorf("search: %w", err)
		}
	}
	for field, list := range map[string][]string{"folders": o.Folders, "exclude": o.Exclude} {
		if slices.Contains(list, "") {
			return fmt.Errorf("%s: a folder without a name", field)
		}
	}
	return oneOf("start", o.Start, StartNew, StartAll)
}

func (h Handover) check() error {
	kind := h.Kind()
	switch {
	case h.Directory == "" && kind == "":
		return fmt.Errorf("directory: a place for the files is needed: directory, object, webhook or command")
	case h.Directory != "" && !filepath.IsAbs(h.Directory):
		return fmt.Errorf("directory: %q is not an absolute path", h.Directory)
	case h.Directory == "" && (h.Path != "" || h.Clash != ""):
		return fmt.Errorf("path, clash: they are only used with directory")
	case kind == "" && (h.Each != "" || h.Act != ""):
		return fmt.Errorf("each, act: they are only used with object, webhook or command")
	case h.Directory == "" && h.Act == ActSaved:
		return fmt.Errorf("act: saved is only used with directory")
	}
	if _, err := h.pathTemplate(); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if err := h.checkTarget(); err != nil {
		return err
	}
	return cmp.Or(oneOf("each", h.Each, EachMessage, EachAttachment), oneOf("act", h.Act, ActHandedOver, ActSaved),
		oneOf("clash", h.Clash, handover.ClashRename, handover.ClashOverwrite, handover.ClashSkip, handover.ClashFail))
}

// checkTarget has the target described; a key is given when there is something to do.
func (h Handover) checkTarget() error {
	if h.Kind() == "" {
		return nil
	}
	t, err := handover.New(h.Spec, handover.With{Name: extract.SafeName})
	if err != nil {
		return fmt.Errorf("%s: %w", h.Kind(), err)
	}
	return t.Close()
}

func (h Handover) pathTemplate() (handover.PathTemplate, error) {
	return handover.ParsePath(cmp.Or(h.Path, "{filename}"))
}

// keyword is what IMAP takes for one (RFC 9051 §9, flag-keyword).
var keyword = regexp.MustCompile(`^\$?[A-Za-z0-9._-]{1,64}$`)

func (a Action) check() error {
	switch {
	case a.Do == Tag && !keyword.MatchString(a.To):
		return fmt.Errorf("tag needs a keyword of letters, digits and . _ -: \"tag Fetched\"")
	case a.Do == Move && a.To == "":
		return fmt.Errorf("move needs a folder: \"move Archive\"")
	}
	return nil
}

func (f Failure) check() error {
	switch f.Do.Do {
	case "", Nothing, Flag, Move:
	default:
		return fmt.Errorf("do: %q is not for messages that failed; allowed: nothing, flag, move FOLDER", f.Do)
	}
	if err := f.Do.check(); err != nil {
		return fmt.Errorf("do: %w", err)
	}
	if f.Tries < 0 || f.Tries > 100 {
		return fmt.Errorf("tries: %d is not between 1 and 100", f.Tries)
	}
	return nil
}

func (s Schedule) check() error {
	const least = time.Second
	if s.Every > 0 && time.Duration(s.Every) < least {
		return fmt.Errorf("every: shorter than %s", least)
	}
	if s.Cron == "" {
		if s.Zone != "" {
			return fmt.Errorf("zone: it is only used with cron")
		}
		return nil
	}
	if s.Every > 0 {
		return fmt.Errorf("cron: every is given too; choose one of them")
	}
	_, err := s.cron()
	return err
}

func (l Limits) check() error {
	if l.Messages < 0 {
		return fmt.Errorf("messages: %d is no number of messages", l.Messages)
	}
	return nil
}

func (s Spec) checkRules() error {
	names := map[string]bool{}
	for i, r := range s.Rules {
		if err := r.check(); err != nil {
			return fmt.Errorf("rules[%d].%w", i, err)
		}
		if r.Name != "" && names[r.Name] {
			return fmt.Errorf("rules[%d].name: %q is another rule's name", i, r.Name)
		}
		names[r.Name] = true
	}
	return nil
}

func (r Rule) check() error {
	t := r.Take
	for _, k := range t.Save {
		if err := oneOf("take.save", k, Attachments, EML, Text, HTML, List); err != nil || k == "" {
			return fmt.Errorf("take.save: %q is not known; allowed: attachments, eml, text, html, manifest", k)
		}
	}
	if len(t.Save) > 0 && !slices.ContainsFunc(t.Save, func(k Kind) bool { return k != List }) {
		return fmt.Errorf("take.save: a manifest of nothing; add attachments, eml, text or html")
	}
	for _, media := range t.Types {
		if _, err := path.Match(media, ""); err != nil || !strings.Contains(media, "/") {
			return fmt.Errorf("take.types: %q is no media type; allowed: application/pdf, image/*", media)
		}
	}
	if t.MaxSize > 0 && t.MinSize > t.MaxSize {
		return fmt.Errorf("take.min_size: it is more than max_size")
	}
	return nil
}

// checkPOP3 refuses what POP3 has no words for.
func (s Spec) checkPOP3() error {
	if s.Source.Protocol != POP3 {
		return nil
	}
	const out = "POP3 knows %s; use protocol: imap, or %s"
	for _, f := range s.Source.Folders {
		if !strings.EqualFold(f, "INBOX") {
			return fmt.Errorf("source.folders: "+out, "no folders but INBOX", "leave folders out")
		}
	}
	if w := s.Source.Which; w != "" && w != All {
		return fmt.Errorf("source.which: "+out, "no flags", "which: all (a message is never taken twice)")
	}
	if s.Source.Search != "" {
		return fmt.Errorf("source.search: "+out, "no search", "the filters of a rule")
	}
	for field, a := range map[string]Action{"after": s.After, "unmatched": s.Unmatched, "failure.do": s.Failure.Do} {
		if !a.None() && a.Do != Delete {
			return fmt.Errorf(field+": "+out, "no flags and no folders", "nothing or delete")
		}
	}
	return nil
}
