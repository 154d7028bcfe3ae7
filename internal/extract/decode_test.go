package extract

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
)

// pieces gives octets in stretches of n.
type pieces struct {
	octets []byte
	n      int
}

func (p *pieces) next() ([]byte, error) {
	if len(p.octets) == 0 {
		return nil, io.EOF
	}
	piece := p.octets[:min(p.n, len(p.octets))]
	p.octets = p.octets[len(piece):]
	return bytes.Clone(piece), nil
}

// decodeAll decodes raw in stretches of n.
func decodeAll(t *testing.T, encoding string, raw []byte, n int) (out []byte, bad bool) {
	t.Helper()
	src := &pieces{raw, n}
	var err error
	switch encoding {
	case "base64":
		r := new(base64Reader)
		r.reset(src)
		out, err = io.ReadAll(r)
		bad = r.bad
	case "quoted-printable":
		r := &quotedReader{lines: lines{src: src}}
		out, err = io.ReadAll(r)
		bad = r.bad
	default:
		r := &uuReader{lines: lines{src: src}}
		out, err = io.ReadAll(r)
		bad = r.bad
	}
	if err != nil {
		t.Fatal(err)
	}
	return out, bad
}

// encode writes content as an honest sender does.
func encode(encoding string, content []byte) []byte {
	var b bytes.Buffer
	switch encoding {
	case "base64":
		text := base64.StdEncoding.EncodeToString(content)
		for ; len(text) > 76; text = text[76:] {
			b.WriteString(text[:76] + "\r\n")
		}
		b.WriteString(text + "\r\n")
	case "quoted-printable":
		w := quotedprintable.NewWriter(&b)
		w.Binary = true
		_, _ = w.Write(content)
		_ = w.Close()
	default:
		b.WriteString("begin 644 name\r\n")
		for len(content) > 0 {
			line := content[:min(45, len(content))]
			content = content[len(line):]
			b.WriteByte(' ' + byte(len(line)))
			padded := append(bytes.Clone(line), 0, 0)
			for i := 0; i < len(line); i += 3 {
				x := uint(padded[i])<<16 | uint(padded[i+1])<<8 | uint(padded[i+2])
				for shift := 18; shift >= 0; shift -= 6 {
					b.WriteByte(' ' + byte(x>>shift&0x3f))
				}
			}
			b.WriteString("\r\n")
		}
		b.WriteString("`\r\nend\r\n")
	}
	return b.Bytes()
}

// FuzzDecode: what was encoded comes back, and whatever comes, it does not matter in
// which pieces, and not more comes out than went in.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("hello world"), 7)
	f.Add([]byte("aGVsbG8=\n____\nfooter"), 1)
	f.Add([]byte("a=\r\n=C3=A4 \t\r\n=="), 3)
	f.Add([]byte("begin 644 a\n%:&5L;&\\ \n`\nend\n"), 2)
	f.Add([]byte(strings.Repeat("QUJD", 5000)+"=="), 78)
	f.Fuzz(func(t *testing.T, raw []byte, n int) {
		n = 1 + (n&0x7fffffff)%100
		for _, encoding := range []string{"base64", "quoted-printable", "uuencode"} {
			got, bad := decodeAll(t, encoding, encode(encoding, raw), n)
			if !bytes.Equal(got, raw) || bad {
				t.Errorf("%s: %q came back as %q, bad %t", encoding, raw, got, bad)
			}
			whole, badWhole := decodeAll(t, encoding, raw, len(raw)+1)
			inPieces, badPieces := decodeAll(t, encoding, raw, n)
			if !bytes.Equal(whole, inPieces) || badWhole != badPieces {
				t.Errorf("%s: %q at once, %q in pieces of %d; bad %t and %t", encoding, whole, inPieces, n, badWhole, badPieces)
			}
			if encoding != "uuencode" && len(whole) > len(raw) || len(whole) > 45*(len(raw)+1) {
				t.Errorf("%s: %d octets of %d", encoding, len(whole), len(raw))
			}
		}
	})
}
