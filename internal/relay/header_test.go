package relay

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"postern/internal/smtp"
)

func FuzzScanHeader(f *testing.F) {
	for _, seed := range []string{
		"", "Subject: s\r\n\r\nbody", "hello", "A: b\n c\n\nd", "From x\nSubject: =?utf-8?Q?=00?=\n",
		"Message-ID: <\x00>\r\n: x\r\n", "Subject: =?x-none?B?AAA=?=\n\n", " folded first\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		canonical, err := io.ReadAll(smtp.Canonical(bytes.NewReader(in)))
		if err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReaderSize(bytes.NewReader(canonical), 64)
		h, err := scanHeader(br)
		if err != nil {
			return // too large
		}
		if !utf8.ValidString(h.subject) || utf8.RuneCountInString(h.subject) > maxSubject || strings.ContainsAny(h.subject+h.messageID, "\r\n\x00") {
			t.Fatalf("subject %q, id %q", h.subject, h.messageID)
		}
		if len(h.fields) > 0 && (!bytes.HasSuffix(h.fields, []byte("\r\n")) || bytes.Contains(h.fields, []byte("\r\n\r\n"))) {
			t.Fatalf("fields %q", h.fields)
		}
		rest, err := io.ReadAll(br)
		if err != nil {
			t.Fatal(err)
		}
		again := string(h.fields) + "\r\n" + string(h.body) + string(rest)
		h2, err := scanHeader(bufio.NewReader(strings.NewReader(again)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(h.fields, h2.fields) || h.subject != h2.subject || h.messageID != h2.messageID {
			t.Fatalf("%q is read another way the second time:\n%q\n%q", in, h.fields, h2.fields)
		}
	})
}
