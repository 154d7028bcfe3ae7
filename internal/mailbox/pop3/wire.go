package pop3

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"postern/internal/fault"
)

const (
	maxLine  = 8 << 10 // of answers; RFC 2449 §4 says 512, servers' words are longer
	maxLines = 1 << 20 // of one listing
)

// command sends a line and returns the words behind +OK.
func (c *Client) command(ctx context.Context, line string) (string, error) {
	stage, _, _ := strings.Cut(line, " ")
	if err := c.send(ctx, stage, line); err != nil {
		return "", err
	}
	return c.answer(ctx, stage)
}

func (c *Client) send(ctx context.Context, stage, line string) error {
	if _, err := c.conn.Write([]byte(line + "\r\n")); err != nil {
		return broken(ctx, stage, err)
	}
	return nil
}

func (c *Client) answer(ctx context.Context, stage string) (string, error) {
	line, err := readLine(c.r)
	if err != nil {
		return "", broken(ctx, stage, err)
	}
	return verdict(stage, line)
}

// lines reads the lines of a multi-line answer up to the lone dot.
func (c *Client) lines(ctx context.Context, stage string) ([]string, error) {
	all := []string{}
	for range maxLines {
		line, err := readLine(c.r)
		if err != nil {
			return nil, broken(ctx, stage, err)
		}
		if line == "." {
			return all, nil
		}
		all = append(all, strings.TrimPrefix(line, "."))
	}
	return nil, fault.New(fault.Permanent, protocol+" "+stage, "more than %d lines", maxLines)
}

// readLine reads one bounded line and cuts its end off.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return "", fmt.Errorf("answer of more than %d octets in one line", maxLine)
		}
		if err == nil {
			return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", noEOF(err)
		}
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// broken classifies a connection that failed us.
func broken(ctx context.Context, stage string, err error) error {
	if ctx.Err() != nil { // the error is only the echo of our closing the connection
		err = context.Cause(ctx)
	}
	return fault.Wrap(fault.Temporary, protocol+" "+stage, err)
}

// verdict reads a status line: the words behind +OK, or the refusal classified by
// its response code (RFC 2449 §8, RFC 3206) and by what was asked.
func verdict(stage, line string) (string, error) {
	status, text, _ := strings.Cut(line, " ")
	if status == "+OK" {
		return text, nil
	}
	if status != "-ERR" {
		return "", garbled(stage, line)
	}
	code := ""
	if inner, ok := strings.CutPrefix(text, "["); ok {
		if c, rest, closed := strings.Cut(inner, "]"); closed {
			code, text = strings.ToUpper(c), strings.TrimSpace(rest)
		}
	}
	return "", &fault.Error{
		Kind:  kind(stage, code),
		Op:    protocol + " " + stage,
		Reply: &fault.Reply{Protocol: protocol, Stage: stage, Code: status, Enhanced: code, Text: text},
	}
}

func kind(stage, code string) fault.Kind {
	switch code {
	case "IN-USE", "SYS/TEMP", "LOGIN-DELAY":
		return fault.Temporary
	case "SYS/PERM":
		return fault.NeedsAdmin
	case "AUTH":
		return fault.NeedsSignIn
	}
	switch stage {
	case "AUTH", "USER", "PASS":
		return fault.NeedsSignIn
	case "STLS":
		return fault.NeedsAdmin
	case "CAPA", "UIDL", "TOP":
		return fault.Permanent
	}
	return fault.Temporary
}

// dotReader reads a message up to the lone dot (RFC 1939 §3) and takes the
// stuffed dots out. Unlike net/textproto's it leaves line ends alone, and only
// CRLF ends a line, so that a bare LF in a message cannot end the message.
type dotReader struct {
	r    *bufio.Reader
	last dotState
	err  error
}

type dotState uint8

const (
	lineStart dotState = iota
	inLine
	afterCR
)

// Read implements io.Reader; a message cut off is io.ErrUnexpectedEOF.
func (d *dotReader) Read(p []byte) (int, error) {
	n := 0
	for d.err == nil && n < len(p) {
		if n > 0 && d.r.Buffered() == 0 {
			break // what there is, is better than waiting for more
		}
		n += d.some(p[n:])
	}
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, d.err
}

// some copies what is at hand of one line.
func (d *dotReader) some(p []byte) int {
	first, err := d.r.Peek(1)
	if err != nil {
		d.err = noEOF(err)
		return 0
	}
	if d.last == lineStart && first[0] == '.' { // a stuffed dot, or the end
		_, _ = d.r.Discard(1) // it was just peeked
		d.last = inLine
		d.err = d.end()
		return 0
	}
	line, _ := d.r.Peek(min(d.r.Buffered(), len(p)))
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i+1]
	}
	n := copy(p, line)
	if n > 1 {
		d.last = d.last.after(p[n-2])
	}
	d.last = d.last.after(p[n-1])
	_, _ = d.r.Discard(n) // as above
	return n
}

// end is io.EOF when the dot just read stands alone on its line.
func (d *dotReader) end() error {
	next, err := d.r.Peek(2)
	if err != nil {
		return noEOF(err)
	}
	if string(next) != "\r\n" {
		return nil
	}
	_, _ = d.r.Discard(2) // it was just peeked
	return io.EOF
}

func (s dotState) after(b byte) dotState {
	switch {
	case b == '\n' && s == afterCR:
		return lineStart
	case b == '\r':
		return afterCR
	}
	return inLine
}
