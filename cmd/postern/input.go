package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"postern/internal/fault"
	"postern/internal/secret"
)

// longestLine bounds what is read of standard input where one line is wanted.
const longestLine = 64 << 10

// secretLine reads one line: from a terminal without echo, else from standard
// input. Secrets are never arguments: every user of the machine can read those.
func (c *cli) secretLine(ctx context.Context, what string) (secret.Text, error) {
	var line string
	var err error
	if f, ok := c.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		line, err = c.hidden(ctx, f, what+" (not shown): ")
	} else if line, err = bufio.NewReader(io.LimitReader(c.stdin, longestLine)).ReadString('\n'); errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("read the %s: %w", what, err)
	}
	s := secret.New(strings.TrimSpace(line))
	if s.Empty() {
		return s, fault.New(fault.Invalid, "read the "+what, "nothing was given").WithHint("type it when asked, or give it on standard input: … < FILE")
	}
	return s, nil
}

// hidden asks without echo, which is off before the question is seen. What ends ctx
// ends it too and brings the echo back; the reader stays blocked until the process
// ends, which is now.
func (c *cli) hidden(ctx context.Context, terminal *os.File, question string) (line string, err error) {
	before, err := term.MakeRaw(int(terminal.Fd()))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, term.Restore(int(terminal.Fd()), before)) }()
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{terminal, c.stderr}, "").ReadPassword(question)
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		if errors.Is(a.err, io.EOF) { // Ctrl-C and Ctrl-D come as keys here, not as signals
			_, _ = io.WriteString(c.stderr, "\r\n")
			return "", context.Canceled
		}
		return a.line, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
