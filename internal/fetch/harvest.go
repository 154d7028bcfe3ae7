package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"slices"
	"strings"

	"postern/internal/extract"
	"postern/internal/fault"
)

// output receives one file. After Close, file has its staging name (if it has one),
// size and digest.
type output interface {
	io.WriteCloser
	file() File
}

// maxFiles is how many files of one message are kept.
const maxFiles = 500

// What is kept of a body's text, for filters and for targets.
const (
	filteredText = 256 << 10
	toldText     = 2 << 10
)

// reader is what reading messages takes: kept from one to the next, for it would be most
// of what is allocated.
type reader struct {
	extract.Extractor
	buf []byte
}

func newReader() *reader { return &reader{buf: make([]byte, 32<<10)} }

// crop is a part that was kept for now.
type crop struct {
	part extract.Part
	out  output
}

// harvest is what was taken out of one message.
type harvest struct {
	*reader
	rules   []Rule // that may still fit
	crops   []crop
	eml     output
	summary extract.Summary
	digest  string
	create  func() (output, error)
}

// reap reads a message and keeps what any of the rules may want. The harvest holds what
// was opened even when an error comes back.
func (h *harvest) reap(body io.Reader, limits extract.Limits, most int64) (err error) {
	m := &meter{r: body, limit: most}
	var whole io.Reader = m
	if keptWhole(h.rules) {
		if h.eml, err = h.create(); err != nil {
			return err
		}
		whole = io.TeeReader(m, h.eml)
	} else {
		m.hash = sha256.New() // else the file's is the message's
	}
	if h.unopened(limits) {
		h.summary, err = h.Head(whole, limits)
	} else {
		h.summary, err = h.Walk(whole, limits, h.take)
	}
	if err == nil || errors.Is(err, extract.ErrTooMuch) && !m.over {
		// What is left keeps the connection of use to the other messages, and is in the digest.
		if rest := h.rest(m); rest != nil {
			err = rest
		}
	}
	h.summary.Size = m.n
	if h.eml == nil {
		h.digest = hex.EncodeToString(m.hash.Sum(nil))
		return err
	}
	if closed := h.eml.Close(); err == nil {
		err = closed
	}
	h.digest = h.eml.file().SHA256
	return err
}

// keptWhole reports whether a rule may want all of a message in one file.
func keptWhole(rules []Rule) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return r.Take.saves(EML) && !r.Skip })
}

// rest reads what the walk left of the message.
func (h *harvest) rest(m *meter) error {
	var to io.Writer = nowhere{}
	if h.eml != nil {
		to = h.eml
	}
	_, err := io.CopyBuffer(to, m, h.buf)
	return err
}

// nowhere is io.Discard without a buffer of its own.
type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// unopened reports that nobody asks what is in the message: it is kept whole whatever that
// is, and need not be taken apart.
func (h *harvest) unopened(limits extract.Limits) bool {
	return limits.Text == 0 && !slices.ContainsFunc(h.rules, func(r Rule) bool {
		asks := !r.Take.AnyMessage || !r.Take.saves(EML) || slices.ContainsFunc([]Kind{Attachments, Text, HTML, List}, r.Take.saves)
		return asks && !r.Skip
	})
}

func (h *harvest) take(p extract.Part, body io.Reader) error {
	create := h.forWhom(p)
	if create == nil {
		return nil
	}
	if len(h.crops) >= maxFiles {
		return fault.New(fault.Permanent, "read message", "%w: more than %d files", extract.ErrTooMuch, maxFiles)
	}
	out, err := create()
	if err != nil {
		return err
	}
	h.crops = append(h.crops, crop{p, out})
	_, err = io.CopyBuffer(out, body, h.buf)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}

// forWhom says what becomes of a part: a file, when a rule may save it; nothing but its
// size, when the part only decides whether a rule fits; nil, when nobody wants it.
func (h *harvest) forWhom(p extract.Part) (create func() (output, error)) {
	kind, _ := kindOf(p)
	for _, r := range h.rules {
		switch {
		case r.Skip || !r.Take.wants(p):
		case r.Take.saves(kind):
			return h.create
		default:
			create = newMeasure
		}
	}
	return create
}

// choose returns the first rule that the message fits, and its files; false for none.
func (h *harvest) choose() (Rule, []File, bool) {
	for _, r := range h.rules {
		if !r.Match.fitsHeader(h.summary) || !r.Match.Body.Fit(h.summary.Text) {
			continue
		}
		if r.Skip {
			return r, nil, false
		}
		files, attachments := h.pick(r.Take)
		if attachments > 0 || r.Take.AnyMessage && len(files) > 0 {
			return r, files, true
		}
	}
	return Rule{}, nil, false
}

// pick lists the files that Take wants, and how many wanted attachments there are,
// whether or not they are saved themselves.
func (h *harvest) pick(t Take) (files []File, attachments int) {
	for _, c := range h.crops {
		f := c.out.file()
		if !t.wants(c.part) {
			continue
		}
		kind, _ := kindOf(c.part)
		f.Kind, f.Original, f.ContentType = kind, c.part.Name, c.part.Type()
		if kind == Attachments {
			if !t.wantsSize(f.Size) {
				continue
			}
			attachments++
		}
		if kind == Text || kind == HTML {
			f.Original = called(h.summary.Subject, map[Kind]string{Text: ".txt", HTML: ".html"}[kind])
		}
		if t.saves(kind) {
			files = append(files, f)
		}
	}
	if t.saves(EML) && h.eml != nil {
		f := h.eml.file()
		f.Kind, f.Original, f.ContentType = EML, called(h.summary.Subject, ".eml"), "message/rfc822"
		files = append(files, f)
	}
	for i := range files {
		if files[i].Kind == Attachments {
			files[i].Kind = ""
		}
	}
	return files, attachments
}

// called names a file after the message it is of.
func called(subject, ext string) string {
	const enough = 80
	subject = strings.NewReplacer("/", "_", `\`, "_").Replace(subject)
	if runes := []rune(subject); len(runes) > enough {
		subject = string(runes[:enough])
	}
	if strings.TrimSpace(subject) == "" {
		subject = "message"
	}
	return strings.TrimRight(subject, ". ") + ext
}

// surplus are the staged files that are not among those kept.
func (h *harvest) surplus(kept []File) []File {
	var out []File
	all := make([]output, 0, len(h.crops)+1)
	for _, c := range h.crops {
		all = append(all, c.out)
	}
	if h.eml != nil {
		all = append(all, h.eml)
	}
	for _, o := range all {
		f := o.file()
		if !slices.ContainsFunc(kept, func(k File) bool { return k.Staging == f.Staging }) {
			out = append(out, f)
		}
	}
	return out
}

// about is what the ledger keeps of the message.
func (h *harvest) about(a About) About {
	s := h.summary
	a.Subject, a.Size, a.Sent = s.Subject, s.Size, s.Date
	a.To, a.Cc, a.ReplyTo, a.Warnings = people(s.To), people(s.Cc), people(s.ReplyTo), s.Warnings
	if a.Unconverted = unconverted(s); a.Unconverted {
		a.Warnings = append([]string{notConverted}, s.Warnings...)
	}
	a.Senders = people(s.From)
	a.Body = s.Text[:min(len(s.Text), toldText)]
	a.Body = strings.ToValidUTF8(a.Body, "")
	for _, p := range s.From[:min(1, len(s.From))] {
		a.From, a.FromName, a.FromAddress = person(p), p.Name, p.Address
	}
	return a
}

// people lists bare addresses, or words where there are none.
func people(list []extract.Address) []string {
	const enough = 200
	var out []string
	for _, a := range list[:min(len(list), enough)] {
		if a.Address == "" {
			a.Address = a.Name
		}
		out = append(out, a.Address)
	}
	return out
}

// meter counts and bounds what is read of a message, and digests it if it has a hash.
type meter struct {
	r     io.Reader
	n     int64
	limit int64
	over  bool
	hash  hash.Hash
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	if m.hash != nil {
		_, _ = m.hash.Write(p[:n]) // never fails
	}
	if m.n > m.limit {
		m.over = true
		return n, fault.New(fault.Permanent, "read message", "%w: more than %d octets", extract.ErrTooMuch, m.limit)
	}
	return n, err
}

// measure is the output of a dry run: it counts and forgets.
type measure struct {
	hash hash.Hash
	size int64
}

func newMeasure() (output, error) { return &measure{hash: sha256.New()}, nil }

func (m *measure) Write(p []byte) (int, error) {
	m.size += int64(len(p))
	return m.hash.Write(p)
}

func (m *measure) Close() error { return nil }

func (m *measure) file() File {
	return File{Size: m.size, SHA256: hex.EncodeToString(m.hash.Sum(nil))}
}
