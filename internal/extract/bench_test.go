package extract

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"

	"github.com/emersion/go-message"
)

// sample builds a message with one attachment of n octets.
func sample(n int, encoding string) []byte {
	content := make([]byte, n)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	var b bytes.Buffer
	b.WriteString("From: a@x.example\r\nTo: b@x.example\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n--=_b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nPlease see attached.\r\n" +
		"--=_b\r\nContent-Type: application/octet-stream; name=\"a.bin\"\r\nContent-Disposition: attachment; filename=\"a.bin\"\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n")
	switch encoding {
	case "base64":
		text := base64.StdEncoding.EncodeToString(content)
		for ; len(text) > 76; text = text[76:] {
			b.WriteString(text[:76] + "\r\n")
		}
		b.WriteString(text)
	case "quoted-printable":
		w := quotedprintable.NewWriter(&b)
		_, _ = w.Write([]byte(strings.Repeat("Sehr geehrte Damen und Herren, schöne Grüße, a = b.\r\n", n/55)))
		_ = w.Close()
	}
	b.WriteString("\r\n--=_b--\r\n")
	return b.Bytes()
}

func withExtract(r io.Reader) error { return withKept(new(Extractor), r) }

func withKept(x *Extractor, r io.Reader) error {
	_, err := x.Walk(r, Limits{}, func(_ Part, body io.Reader) error {
		_, err := io.Copy(io.Discard, body)
		return err
	})
	return err
}

func withGoMessage(r io.Reader) error {
	e, err := message.Read(r)
	if err != nil {
		return err
	}
	return e.Walk(func(_ []int, e *message.Entity, err error) error {
		if err != nil || e.MultipartReader() != nil {
			return err
		}
		_, err = io.Copy(io.Discard, e.Body)
		return err
	})
}

func withStandard(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := parts.NextPart() // decodes quoted-printable by itself
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var body io.Reader = p
		if p.Header.Get("Content-Transfer-Encoding") == "base64" {
			body = base64.NewDecoder(base64.StdEncoding, p)
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return err
		}
	}
}

// justBase64 is the pace that there is: the decoder alone, lines and all.
func justBase64(r io.Reader) error {
	_, err := io.Copy(io.Discard, base64.NewDecoder(base64.StdEncoding, r))
	return err
}

func BenchmarkWalk(b *testing.B) {
	again := new(Extractor)
	for _, size := range []int{10 << 10, 16 << 20} {
		for _, encoding := range []string{"base64", "quoted-printable"} {
			raw := sample(size, encoding)
			ways := []struct {
				name string
				walk func(io.Reader) error
				raw  []byte
			}{{"extract", withExtract, raw}, {"extract again", func(r io.Reader) error { return withKept(again, r) }, raw}, {"go-message", withGoMessage, raw}, {"standard", withStandard, raw}}
			if encoding == "base64" {
				body := raw[bytes.LastIndex(raw, []byte("\r\n\r\n"))+4 : bytes.LastIndex(raw, []byte("\r\n--=_b--"))]
				ways = append(ways, struct {
					name string
					walk func(io.Reader) error
					raw  []byte
				}{"decoder alone", justBase64, body})
			}
			for _, way := range ways {
				b.Run(fmt.Sprintf("%s/%dKiB/%s", encoding, size>>10, way.name), func(b *testing.B) {
					b.SetBytes(int64(len(way.raw)))
					b.ReportAllocs()
					for b.Loop() {
						if err := way.walk(bytes.NewReader(way.raw)); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
