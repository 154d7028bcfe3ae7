package imap_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"postern/internal/fault"
	"postern/internal/mailbox"
	"postern/internal/mailbox/imap"
)

// told is what became of each message: its text, or the kind of the refusal.
func told(t *testing.T, s *imap.Source, ids ...string) (map[string]string, error) {
	t.Helper()
	v, _, err := s.Search(t.Context(), mailbox.Query{})
	must(t, err)
	got := make(map[string]string)
	return got, s.Bodies(t.Context(), v, ids, func(id string, body io.Reader, err error) error {
		if err != nil {
			got[id] = fault.KindOf(err).String()
			return nil
		}
		b, err := io.ReadAll(body)
		got[id] = string(b)
		return err
	})
}

const found = opened + `C: UID SEARCH
	S: * SEARCH 1 2 3
	S: TAG OK SEARCH completed.
	`

// A server that stumbles over one message says NO to the command that asks for many,
// having sent some of them, or none.
func TestOneMessageTheServerCannotGive(t *testing.T) {
	t.Parallel()
	for name, dialog := range map[string]string{
		"in the middle": `C: UID FETCH 1:3 (UID BODY.PEEK[])
			S: * 1 FETCH (UID 1 BODY[] {3}
			S- one)
			S: 
			S: TAG NO Server Unavailable. 15
			C: UID FETCH 2:3 (UID BODY.PEEK[])
			S: TAG NO Server Unavailable. 15
			C: UID FETCH 2 (UID BODY.PEEK[])
			S: TAG NO Server Unavailable. 15
			C: UID FETCH 3 (UID BODY.PEEK[])
			S: * 3 FETCH (UID 3 BODY[] {5}
			S- three)
			S: 
			S: TAG OK FETCH completed.`,
		"without text": `C: UID FETCH 1:3 (UID BODY.PEEK[])
			S: * 1 FETCH (UID 1 BODY[] {3}
			S- one)
			S: 
			S: * 2 FETCH (UID 2 BODY[] NIL)
			S: * 3 FETCH (UID 3 BODY[] {5}
			S- three)
			S: 
			S: * 2 FETCH (UID 2 FLAGS (\Seen))
			S: TAG OK FETCH completed.
			C: UID FETCH 2 (UID BODY.PEEK[])
			S: * 2 FETCH (UID 2 BODY[] NIL)
			S: TAG OK FETCH completed.`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := told(t, signIn(t, scripted(t, found+dialog)).Source(user), "1", "2", "3")
			if want := fmt.Sprint(map[string]string{"1": "one", "2": "temporary", "3": "three"}); err != nil || fmt.Sprint(got) != want {
				t.Errorf("told %v (%v), want %s", got, err, want)
			}
		})
	}
}

// A server that gives nothing at all is at fault itself: no message may be blamed.
func TestAServerThatGivesNothing(t *testing.T) {
	t.Parallel()
	got, err := told(t, signIn(t, scripted(t, found+`C: UID FETCH 1:2
		S: TAG NO Server Unavailable. 15
		C: UID FETCH 1
		S: TAG NO Server Unavailable. 15
		C: UID FETCH 2
		S: TAG NO Server Unavailable. 15`)).Source(user), "1", "2")
	if len(got) != 0 || !errors.Is(err, fault.Temporary) {
		t.Errorf("told %v, %v", got, err)
	}
}

func TestThrottledInTheMiddle(t *testing.T) {
	t.Parallel()
	got, err := told(t, signIn(t, scripted(t, found+`C: UID FETCH 1:2
		S: TAG BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds`)).Source(user), "1", "2")
	if len(got) != 0 || !errors.Is(err, fault.Throttled) || fault.As(err).RetryAfter == 0 {
		t.Errorf("told %v, %v", got, err)
	}
}

func TestNotConnected(t *testing.T) {
	t.Parallel()
	_, _, err := signIn(t, scripted(t, greeting+`C: EXAMINE INBOX
		S: TAG BAD User is authenticated but not connected.
		S: * BYE Connection closed. 14`)).Source(user).Search(t.Context(), mailbox.Query{})
	if !errors.Is(err, imap.ErrNotConnected) || !errors.Is(err, fault.NeedsAdmin) || fault.HintOf(err) == "" {
		t.Errorf("%v (%s)", err, fault.KindOf(err))
	}
}

// Without UIDPLUS a server expunges whatever anybody has marked.
func TestExpungeSparesWhatOthersMarked(t *testing.T) {
	t.Parallel()
	const marked = `C: SELECT INBOX
		S: * 3 EXISTS
		S: * OK [UIDVALIDITY 14] UIDVALIDITY value
		S: TAG OK [READ-WRITE] SELECT completed.
		C: UID FETCH 1 (UID)
		S: * 1 FETCH (UID 1)
		S: TAG OK FETCH completed.
		C: UID STORE 1 +FLAGS.SILENT (\Deleted)
		S: TAG OK STORE completed.
		C: UID SEARCH DELETED
		`
	for name, dialog := range map[string]string{
		"ours alone":      "S: * SEARCH 1\nS: TAG OK SEARCH completed.\nC: EXPUNGE\nS: * 1 EXPUNGE\nS: TAG OK EXPUNGE completed.",
		"others' as well": "S: * SEARCH 1 3\nS: TAG OK SEARCH completed.",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			must(t, signIn(t, scripted(t, greeting+marked+dialog)).Source(user).Delete(t.Context(), 14, []string{"1"}))
		})
	}
}
