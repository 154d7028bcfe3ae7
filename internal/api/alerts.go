package api

import (
	"context"
	"strings"

	"postern/internal/alert"
	"postern/internal/check"
	"postern/internal/mail"
	"postern/internal/secret"
)

type testAlertInput struct {
	Body struct {
		Route    string   `json:"route,omitempty" doc:"A saved route; what stands beside it is tried in place of its own."`
		Account  string   `json:"account,omitempty" doc:"Whose mailbox sends it."`
		To       []string `json:"to,omitempty" doc:"Who gets it."`
		FromName string   `json:"from_name,omitempty"`
		ReplyTo  string   `json:"reply_to,omitempty"`
		Subject  string   `json:"subject,omitempty" doc:"Template; variables: .Event .Account .What .Why .NextStep .Until .Link .Time .Host .ID .Route"`
		Text     string   `json:"text,omitempty"`
		HTML     string   `json:"html,omitempty"`
		Webhook  string   `json:"webhook,omitempty" doc:"Instead of account and to."`
		Secret   string   `json:"secret,omitempty" doc:"Signs the webhook. Left out: the one that is kept for the route."`
	}
}

type testAlertOutput struct{ Body check.Report }

// testAlert really sends one. That it failed is no problem of the request: the report
// says so.
func (s *server) testAlert(ctx context.Context, in *testAlertInput) (*testAlertOutput, error) {
	b := in.Body
	r := alert.Route{Account: b.Account, FromName: b.FromName, ReplyTo: b.ReplyTo, Subject: b.Subject, Text: b.Text, HTML: b.HTML, Webhook: b.Webhook}
	for _, text := range b.To {
		to, err := mail.ParseAddress(strings.TrimSpace(text))
		if err != nil {
			return nil, s.problem(ctx, invalid("to", "%w", err))
		}
		r.To = append(r.To, to)
	}
	report, err := s.TestAlert(ctx, b.Route, r, secret.New(b.Secret))
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &testAlertOutput{report}, nil
}
