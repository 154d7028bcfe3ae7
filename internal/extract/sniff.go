package extract

import (
	"bytes"
	"strings"

	"github.com/gabriel-vasile/mimetype"
)

// detect names the type by the first octets; "" for none. Archives are looked at as
// far as these octets reach, which tells a .docx from a .zip; nothing is unpacked.
func detect(head []byte) string {
	if len(head) == 0 {
		return ""
	}
	t, _, _ := strings.Cut(mimetype.Detect(head).String(), ";")
	return t
}

const tnef = "application/ms-tnef"

// isTNEF knows Outlook's winmail.dat, whatever it is declared to be.
func isTNEF(head []byte) bool { return bytes.HasPrefix(head, []byte{0x78, 0x9f, 0x3e, 0x22}) }

// extension is the usual one of a media type. The system's own table is not asked:
// the same mail must give the same names everywhere.
func extension(contentType string) string {
	switch contentType {
	case "message/rfc822", "message/global", "message/news":
		return ".eml"
	case "message/partial":
		return ".partial"
	case "text/plain":
		return ".txt"
	case tnef, "application/vnd.ms-tnef":
		return ".tnef"
	case "application/pkcs7-signature", "application/x-pkcs7-signature":
		return ".p7s"
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		return ".p7m"
	case "application/pgp-signature", "application/pgp-encrypted", "application/pgp-keys":
		return ".asc"
	case octets:
		return ".bin"
	}
	if t := mimetype.Lookup(contentType); t != nil && t.Extension() != "" {
		return t.Extension()
	}
	if strings.HasPrefix(contentType, "text/") || strings.HasPrefix(contentType, "message/") {
		return ".txt"
	}
	return ".bin"
}
