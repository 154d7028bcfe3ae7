package extract

import "strings"

func (w *walker) summary() Summary {
	h := &w.head
	s := Summary{
		MessageID: h.text("Message-Id"),
		Subject:   h.text("Subject"),
		From:      h.addresses("From"),
		To:        h.addresses("To"),
		Cc:        h.addresses("Cc"),
		ReplyTo:   h.addresses("Reply-To"),
		Date:      h.date(),
		Text:      w.bodies.text(w.limits.Text),
		Size:      w.size,
		Expanded:  w.expanded,
		Parts:     w.leaves,
	}
	s.Bounce = h.bounce(s.From)
	s.AutoReply = !s.Bounce && h.autoReply()
	s.Warnings = w.warnings // last: what stands above may add to it
	return s
}

// report is the report-type of a multipart/report (RFC 6522).
func (h *header) report() string {
	const name = "multipart/report"
	raw := h.get("Content-Type")
	if len(raw) < len(name) || !strings.EqualFold(raw[:len(name)], name) {
		return ""
	}
	_, params := parseParams(raw, h.warn)
	return strings.ToLower(params["report-type"])
}

func (h *header) returnsNowhere() bool {
	return strings.ReplaceAll(h.get("Return-Path"), " ", "") == "<>"
}

// bounce tells delivery reports, those of servers from before RFC 3464 too.
func (h *header) bounce(from []Address) bool {
	if h.report() == "delivery-status" || h.has("X-Failed-Recipients") {
		return true
	}
	if !h.returnsNowhere() || len(from) == 0 {
		return false
	}
	local, _, _ := strings.Cut(strings.ToLower(from[0].Address), "@")
	return local == "mailer-daemon" || local == "postmaster" || strings.HasPrefix(local, "microsoftexchange")
}

// autoReply tells what a machine answered (RFC 3834 §5). That a machine wrote a
// message is not enough: invoices and scans are written by machines. So
// auto-generated, a bulk precedence or a wish for silence only count in an answer.
func (h *header) autoReply() bool {
	auto := h.word("Auto-Submitted")
	answers := h.has("In-Reply-To")
	precedence := h.word("Precedence")
	switch {
	case auto == "auto-replied", h.report() == "disposition-notification",
		precedence == "auto_reply", h.word("X-Precedence") == "auto_reply",
		h.has("X-Autoreply") && h.word("X-Autoreply") != "no", h.has("X-Autorespond"), h.has("X-Autoreply-From"):
		return true
	case auto == "no":
		return false
	case h.returnsNowhere():
		return true
	}
	suppress := h.word("X-Auto-Response-Suppress")
	silent := suppress != "" && suppress != "none"
	bulk := precedence == "bulk" || precedence == "junk"
	return answers && (auto == "auto-generated" || silent || bulk)
}

// word is the first word of a field, in lower case.
func (h *header) word(name string) string {
	value := strings.ToLower(h.get(name))
	if i := strings.IndexAny(value, " \t;,("); i >= 0 {
		value = value[:i]
	}
	return value
}
