package extract

import (
	"strings"
)

// leaf is a part, and what of its header decides what it is.
type leaf struct {
	Part
	disposition string // lower case; "" when absent
	encoding    string // lower case
	charset     string
	location    bool
	undeclared  bool   // no Content-Type
	parent      string // the multipart it stands in; "" for the message itself
	group       int    // the innermost multipart/alternative around it; 0: none
	within      bool   // part of an opened message
}

// describe reads the header of a part.
func (w *walker) describe(h header) (l leaf, boundary string) {
	for _, up := range w.stack {
		l.parent = up.contentType
		switch {
		case up.boundary == "":
			l.within, l.parent, l.group = true, "", 0
		case up.contentType == "multipart/alternative":
			l.group = up.id
		}
	}
	value, params := parseParams(h.get("Content-Type"), w.warn)
	l.ContentType = mediaType(value, l.parent)
	l.undeclared = value == "" && l.ContentType == "text/plain"
	l.charset = params["charset"]
	disposition, dparams := parseParams(h.get("Content-Disposition"), w.warn)
	l.disposition = strings.ToLower(disposition)
	if l.Name = dparams["filename"]; l.Name == "" {
		l.Name = params["name"]
	}
	l.ContentID = contentID(h.get("Content-Id"))
	l.location = h.get("Content-Location") != ""
	encoding, _ := parseParams(h.get("Content-Transfer-Encoding"), w.warn)
	l.encoding = strings.ToLower(encoding)
	boundary = strings.TrimRight(params["boundary"], " \t")
	if len(boundary) > maxDelimiter-10 {
		boundary = ""
	}
	return l, boundary
}

// mediaType falls back to the defaults of RFC 2045 §5.2 and RFC 2046 §5.1.5.
func mediaType(value, parent string) string {
	t := strings.ToLower(value)
	major, minor, ok := strings.Cut(t, "/")
	switch {
	case ok && isToken(major) && isToken(minor):
		return t
	case t == "" && parent == "multipart/digest":
		return "message/rfc822"
	case t == "", t == "text":
		return "text/plain"
	}
	return octets
}

// isToken keeps what is no media type out of the ledger and the manifest.
func isToken(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?=`, r)
	})
}

func isMessage(contentType string) bool {
	return contentType == "message/rfc822" || contentType == "message/global" || contentType == "message/news"
}

func isReport(contentType string) bool {
	switch contentType {
	case "message/delivery-status", "message/disposition-notification", "message/feedback-report",
		"message/global-delivery-status", "message/global-disposition-notification",
		"message/global-headers", "text/rfc822-headers", "application/pgp-encrypted":
		return true
	}
	return false
}

// contentID strips the angle brackets.
func contentID(s string) string {
	return plainText(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(bounded(s)), "<"), ">"))
}

// judge says what a leaf is for.
func (w *walker) judge(l *leaf) {
	attached := l.disposition == "attachment"
	switch {
	case isMessage(l.ContentType):
		l.Kind = Nested
	case isReport(l.ContentType) && !attached:
		l.Kind = Report
	case w.bodies.accepts(*l):
		l.Kind = BodyText
		if l.ContentType == "text/html" {
			l.Kind = BodyHTML
		}
	default:
		if l.Inline = w.inline(*l); l.undeclared && !l.Inline {
			l.ContentType = octets // text/plain is the default for words, not for files
		}
	}
}

// inline tells what belongs to the body from what was sent along. The sender's word
// counts only as far as a mail client could follow it: a named PDF is a file even
// where Apple Mail calls it inline, and an "attachment" that the HTML shows is not
// one, if it is a picture.
func (w *walker) inline(l leaf) bool {
	major, _, _ := strings.Cut(l.ContentType, "/")
	shown := major == "image" || major == "audio" || major == "video"
	referenced := l.ContentID != "" && w.bodies.refersTo(l.ContentID)
	switch {
	case l.disposition == "attachment":
		return referenced && major == "image"
	case l.disposition != "" && l.disposition != "inline": // RFC 2183 §2.8
		return false
	case referenced:
		return true
	case l.parent == "multipart/related" && (l.ContentID != "" || l.location):
		return shown || !w.bodies.html.begun
	case l.disposition == "inline":
		return shown || l.Name == ""
	}
	return l.Name == "" && major == "text" && (l.parent != "" || isBodyType(l.ContentType))
}

func isBodyType(contentType string) bool {
	return contentType == "text/plain" || contentType == "text/html"
}
