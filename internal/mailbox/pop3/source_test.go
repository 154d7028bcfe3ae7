package pop3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/secret"
)

// source opens a mailbox whose sessions go by these dialogs, one after the other.
func source(t *testing.T, dialogs ...string) *Source {
	t.Helper()
	s, err := Open(t.Context(), user, func(ctx context.Context) (*Client, error) {
		if len(dialogs) == 0 {
			return nil, errors.New("one session too many")
		}
		dialog := dialogs[0]
		dialogs = dialogs[1:]
		c, err := Dial(ctx, scripted(t, mail.Implicit, dialog))
		if err != nil {
			return nil, err
		}
		return c, c.SignIn(ctx, mailbox.Login{User: user, Token: secret.New(token)})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func session(offers string) string {
	capa := "C: CAPA\nS: +OK\nS: UIDL\n" + offers + "S: .\n"
	dialog := "S: +OK ready\n" + capa + "C: AUTH XOAUTH2\nS: + \nC: " + credentials + "\nS: +OK welcome\n"
	if offers == "" {
		dialog += capa
	}
	return dialog
}

const three = "C: UIDL\nS: +OK\nS: 1 one\nS: 2 two\nS: 3 three\nS: .\nC: LIST\nS: +OK\nS: 1 5\nS: 2 5\nS: 3 7\nS: .\n"

func TestServerWithoutUIDL(t *testing.T) {
	t.Parallel()
	_, _, err := source(t, session("")+"C: UIDL\nS: -ERR what?").Search(t.Context(), mailbox.Query{})
	if !errors.Is(err, fault.NeedsAdmin) || fault.HintOf(err) == "" {
		t.Errorf("%v (%s)", err, fault.KindOf(err))
	}
}

// A deletion is true when the server has answered to the end of the session, and not before.
func TestDeleteWaitsForTheEnd(t *testing.T) {
	t.Parallel()
	for quit, ok := range map[string]bool{"S: +OK bye": true, "S: -ERR some messages were not deleted": false, "": false} {
		s := source(t, session("")+three+"C: DELE 2\nS: +OK\nC: QUIT\n"+quit, session("")+"C: UIDL\nS: +OK\nS: 1 one\nS: .\nC: LIST\nS: +OK\nS: 1 5\nS: .\n")
		err := s.Delete(t.Context(), 0, []string{"two", "gone long ago"})
		if ok != (err == nil) || err != nil && !errors.Is(err, fault.Temporary) {
			t.Errorf("%q: %v (%s)", quit, err, fault.KindOf(err))
		}
		if _, ids, err := s.Search(t.Context(), mailbox.Query{}); err != nil || !slices.Equal(slices.Collect(ids.All()), []string{"one"}) {
			t.Errorf("the next session has %v, %v", ids, err)
		}
	}
}

// What the server will not delete is not taken for gone, and keeps no other from it: what
// it still lists is there.
func TestDeleteThatIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dialog string
		want   fault.Kind // 0: none
	}{
		"still listed":     {"C: DELE 1\nS: -ERR no\nC: LIST 1\nS: +OK 1 5\nC: DELE 2\nS: +OK\nC: QUIT\nS: +OK", fault.Permanent},
		"not listed":       {"C: DELE 1\nS: -ERR no\nC: LIST 1\nS: -ERR no such message\nC: DELE 2\nS: +OK\nC: QUIT\nS: +OK", 0},
		"for the moment":   {"C: DELE 1\nS: -ERR [SYS/TEMP] busy", fault.Temporary},
		"nobody can say":   {"C: DELE 1\nS: -ERR no\nC: LIST 1\nS: -ERR [SYS/TEMP] busy", fault.Temporary},
		"no answer at all": {"C: DELE 1\nS: -ERR no\nC: LIST 1", fault.Temporary},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := source(t, session("")+three+c.dialog)
			err := s.Delete(t.Context(), 0, []string{"one", "two"})
			if got := fault.KindOf(err); (err != nil || c.want != 0) && got != c.want {
				t.Errorf("%v (%s), want %s", err, got, c.want)
			}
			if r := fault.ReplyOf(err); err != nil && name != "no answer at all" && (r == nil || r.Code != "-ERR") {
				t.Errorf("the server's words are lost: %v", err)
			}
		})
	}
}

// Messages that the server does not tell apart are all read, and none of them is deleted:
// after a broken session nobody could say which of them is left.
func TestMessagesOfOneName(t *testing.T) {
	t.Parallel()
	const listing = "C: UIDL\nS: +OK\nS: 1 one\nS: 2 two\nS: 3 one\nS: 4 one\nS: .\nC: LIST\nS: +OK\nS: 1 3\nS: 2 3\nS: 3 3\nS: 4 3\nS: .\n"
	s := source(t, session("S: PIPELINING\n")+listing+`C: RETR 1
		C: RETR 3
		C: RETR 4
		S: +OK
		S: a
		S: .
		S: +OK
		S: b
		S: .
		S: +OK
		S: c
		S: .
		C: DELE 2
		S: +OK
		C: QUIT
		S: +OK`, session("S: PIPELINING\n")+listing)
	_, ids, err := s.Search(t.Context(), mailbox.Query{})
	if want := []string{"one", "two", "one 2", "one 3"}; err != nil || !slices.Equal(slices.Collect(ids.All()), want) {
		t.Fatalf("found %v, %v", ids, err)
	}
	got, err := bodiesOf(t, s, "one", "one 2", "one 3")
	if want := fmt.Sprint(map[string]string{"one": "a\r\n", "one 2": "b\r\n", "one 3": "c\r\n"}); err != nil || got != want {
		t.Errorf("told %s (%v), want %s", got, err, want)
	}
	if err := s.Delete(t.Context(), 0, []string{"one", "two", "one 3"}); !errors.Is(err, fault.Permanent) || fault.HintOf(err) == "" {
		t.Errorf("%v (%s)", err, fault.KindOf(err))
	}
	if err := s.Delete(t.Context(), 0, []string{"one 2"}); !errors.Is(err, fault.Permanent) {
		t.Errorf("in the next session: %v", err)
	}
}

func bodiesOf(t *testing.T, s *Source, ids ...string) (string, error) {
	t.Helper()
	got := make(map[string]string)
	err := s.Bodies(t.Context(), 0, ids, func(id string, body io.Reader, err error) error {
		if err != nil {
			got[id] = fault.KindOf(err).String()
			return nil
		}
		b, err := io.ReadAll(body)
		got[id] = string(b)
		return err
	})
	return fmt.Sprint(got), err
}

// Where the server reads ahead all is asked for at once.
func TestPipelining(t *testing.T) {
	t.Parallel()
	s := source(t, session("S: PIPELINING\n")+three+`C: RETR 1
		C: RETR 2
		C: RETR 3
		S: +OK
		S: 1
		S: .
		S: -ERR [SYS/TEMP] not this one
		S: +OK
		S: ..3
		S: .`)
	got, err := bodiesOf(t, s, "one", "two", "three", "four")
	want := fmt.Sprint(map[string]string{"one": "1\r\n", "two": "temporary", "three": ".3\r\n", "four": "not_found"})
	if err != nil || got != want {
		t.Errorf("told %s (%v), want %s", got, err, want)
	}
}

func TestAServerThatGivesNothing(t *testing.T) {
	t.Parallel()
	s := source(t, session("")+three+"C: RETR 1\nS: -ERR Server Unavailable. 21\nC: RETR 2\nS: -ERR Server Unavailable. 21")
	if got, err := bodiesOf(t, s, "one", "two"); got != "map[]" || !errors.Is(err, fault.Temporary) {
		t.Errorf("told %s, %v", got, err)
	}
}

func TestHeadersWithoutTOP(t *testing.T) {
	t.Parallel()
	s := source(t, session("")+three+"C: TOP 2 0\nS: -ERR unknown\nC: RETR 2\nS: +OK\nS: Subject: two\nS: \nS: body\nS: .")
	var got []mailbox.Brief
	err := s.Describe(t.Context(), 0, []string{"two"}, true, func(b mailbox.Brief) { got = append(got, b) })
	if err != nil || len(got) != 1 || string(got[0].Header) != "Subject: two\r\n\r\n" || got[0].Size != 5 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestUserAndPass(t *testing.T) {
	t.Parallel()
	const password = "long-password-that-must-not-leak"
	for answer, kind := range map[string]fault.Kind{
		"-ERR Logon failure: unknown user name or bad password.": fault.NeedsSignIn, "-ERR [IN-USE] locked": fault.Temporary, "-ERR " + password: fault.NeedsSignIn,
	} {
		c, err := Dial(t.Context(), scripted(t, mail.Implicit, "S: +OK ready\nC: CAPA\nS: -ERR what?\nC: USER "+user+"\nS: +OK\nC: PASS "+password+"\nS: "+answer))
		if err != nil {
			t.Fatal(err)
		}
		err = c.SignIn(t.Context(), mailbox.Login{User: user, Password: secret.New(password)})
		if fault.KindOf(err) != kind {
			t.Errorf("%s: %v (%s)", answer, err, fault.KindOf(err))
		}
		if strings.Contains(fmt.Sprintf("%+v", err), password) {
			t.Error("the password is in the error")
		}
	}
}
