package fetch

import (
	"bytes"
	"encoding/base64"
	"io"
)

// decode puts the transfer decoding (RFC 2045 §6) in front of w. Closing it closes
// w. Both decoders take what senders really produce: what cannot be decoded is
// skipped (base64) or kept (quoted-printable), never an error.
func decode(encoding string, w io.WriteCloser) (decoder io.WriteCloser, known bool) {
	switch encoding {
	case "base64":
		return &base64Decoder{w: w}, true
	case "quoted-printable":
		return &quotedDecoder{w: w}, true
	case "", "7bit", "8bit", "binary":
		return w, true
	}
	return w, false
}

const block = 4 << 10 // a multiple of 4

// base64Decoder skips whatever is not of the alphabet and goes on after padding,
// for some senders encode line by line.
type base64Decoder struct {
	w   io.WriteCloser
	in  [block]byte
	n   int
	out [block / 4 * 3]byte
}

func (d *base64Decoder) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case b >= 'A' && b <= 'Z', b >= 'a' && b <= 'z', b >= '0' && b <= '9', b == '+', b == '/':
			d.in[d.n] = b
			if d.n++; d.n == block {
				if err := d.flush(); err != nil {
					return 0, err
				}
			}
		case b == '=':
			if err := d.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

// flush decodes what was collected; a lone character at the end carries no octet.
func (d *base64Decoder) flush() error {
	in := d.in[:d.n]
	d.n = 0
	if len(in)%4 == 1 {
		in = in[:len(in)-1]
	}
	n, _ := base64.RawStdEncoding.Decode(d.out[:], in) // stray bits at the end are all that can be wrong
	_, err := d.w.Write(d.out[:n])
	return err
}

func (d *base64Decoder) Close() error {
	if err := d.flush(); err != nil {
		_ = d.w.Close()
		return err
	}
	return d.w.Close()
}

// quotedDecoder decodes line by line (RFC 2045 §6.7).
type quotedDecoder struct {
	w    io.WriteCloser
	line []byte
}

func (d *quotedDecoder) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			d.line = append(d.line, p...)
			return total, d.trim()
		}
		d.line = append(d.line, p[:i+1]...)
		p = p[i+1:]
		if err := d.end(); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// trim decodes the front of an over-long line, without cutting an escape in two.
func (d *quotedDecoder) trim() error {
	if len(d.line) < block {
		return nil
	}
	cut := len(d.line) - 2
	for cut > 1 && (d.line[cut-1] == '=' || d.line[cut-2] == '=') {
		cut--
	}
	_, err := d.w.Write(unhexPairs(d.line[:cut], '='))
	d.line = append(d.line[:0], d.line[cut:]...)
	return err
}

// end decodes a whole line. Blanks at its end were added on the way; an = there
// joins it with the next.
func (d *quotedDecoder) end() error {
	text := bytes.TrimRight(d.line, "\n")
	text = bytes.TrimRight(text, "\r")
	lineEnd := d.line[len(text):]
	text = bytes.TrimRight(text, " \t")
	if soft, ok := bytes.CutSuffix(text, []byte("=")); ok {
		text, lineEnd = soft, nil
	}
	out := append(unhexPairs(text, '='), lineEnd...)
	d.line = d.line[:0]
	_, err := d.w.Write(out)
	return err
}

func (d *quotedDecoder) Close() error {
	if err := d.end(); err != nil {
		_ = d.w.Close()
		return err
	}
	return d.w.Close()
}

func unhex(b byte) (byte, bool) {
	switch {
	case b >= '0' && b <= '9':
		return b - '0', true
	case b >= 'A' && b <= 'F':
		return b - 'A' + 10, true
	case b >= 'a' && b <= 'f':
		return b - 'a' + 10, true
	}
	return 0, false
}
