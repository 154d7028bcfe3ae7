package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"mime/multipart"
	"net"
	"net/smtp"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"postern/internal/secret"
)

// legacySend is what an old program does: connect, STARTTLS, log in with a name
// and a password, send. It is Go's plain net/smtp and knows nothing of Postern.
func legacySend(ctx context.Context, addr, trust, user string, password secret.Text, from, to string, raw []byte) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	defer c.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(trust))
	if err := c.StartTLS(&tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	if err := c.Auth(smtp.PlainAuth("", user, password.Reveal(), "localhost")); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	if err := c.Mail(from); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(raw); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// composeMail makes a message as such programs make them: a text and attachments,
// no Date, no Message-ID.
func composeMail(from, to, subject string, attachments map[string][]byte) []byte {
	var b bytes.Buffer
	mw := multipart.NewWriter(&b)
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: %s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=%q\r\n\r\n", from, to, subject, mw.Boundary())
	text, _ := mw.CreatePart(textproto.MIMEHeader{"Content-Type": {"text/plain; charset=utf-8"}}) // a buffer never fails
	fmt.Fprintf(text, "%s, attached.\r\n", subject)
	for _, name := range slices.Sorted(maps.Keys(attachments)) {
		part, _ := mw.CreatePart(textproto.MIMEHeader{
			"Content-Type":              {"application/pdf"},
			"Content-Transfer-Encoding": {"base64"},
			"Content-Disposition":       {fmt.Sprintf("attachment; filename=%q", name)},
		})
		for chunk := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(attachments[name])), 76) {
			_, _ = part.Write(append(chunk[:len(chunk):len(chunk)], "\r\n"...))
		}
	}
	_ = mw.Close()
	return b.Bytes()
}

// fakePDF is enough of a PDF to be recognised as one.
func fakePDF(name string, size int) []byte {
	line := "% " + name + " " + strings.Repeat("0123456789", 6) + "\n"
	return []byte("%PDF-1.4\n" + strings.Repeat(line, size/len(line)) + "%%EOF\n")
}
