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
	var line []byte
	var err error
	if f, ok := c.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		_, _ = fmt.Fprintf(c.stderr, "%s (not shown): ", what)
		line, err = hidden(ctx, int(f.Fd()))
		_, _ = fmt.Fprintln(c.stderr)
	} else {
		line, err = bufio.NewReader(io.LimitReader(c.stdin, longestLine)).ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("read the %s: %w", what, err)
	}
	s := secret.New(strings.TrimSpace(string(line)))
	if s.Empty() {
		return s, fault.New(fault.Invalid, "read the "+what, "nothing was given").WithHint("type it when asked, or give it on standard input: … < FILE")
	}
	return s, nil
}

// hidden reads without echo. Ctrl-C ends it and brings the echo back; the reader
// itself stays blocked until the process ends, which is now.
func hidden(ctx context.Context, fd int) ([]byte, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	type answer struct {
		line []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		return a.line, a.err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}
