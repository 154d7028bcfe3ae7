package fetch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/handover"
	"postern/internal/mailbox"
	"postern/internal/outbound"
	"postern/internal/secret"
)

// TestAWebhookThatAnswers500ForADay tries it by the hour, with the real webhook and the
// real ledger: each message is downloaded once, keeps its key, and arrives the next day.
func TestAWebhookThatAnswers500ForADay(t *testing.T) {
	t.Parallel()
	const messages = 20
	down, got, tried := true, map[string]string{}, map[string]int{}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var notice struct{ Files []struct{ Content []byte } }
		key := req.Header.Get("Idempotency-Key")
		tried[key]++ // one request at a time: this is the task's only run
		if err := json.NewDecoder(req.Body).Decode(&notice); err != nil || down {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		got[key] += string(notice.Files[0].Content)
	}))
	t.Cleanup(hook.Close)
	s := newSite(t, func(task *fetch.Task) {
		task.Handover = fetch.Handover{Spec: handover.Spec{Webhook: &handover.Webhook{URL: hook.URL}}}
		task.After = fetch.Action{Do: fetch.Delete}
	})
	for i := range messages {
		s.deliver(t, letter(i, fmt.Sprint("content ", i)))
	}
	now, spool := time.Now(), t.TempDir()
	f := fetch.New(fetch.Config{
		Ledger: s.ledger, Sources: s.exchange, Holder: "node", Pause: time.Millisecond, Spool: spool, Now: func() time.Time { return now },
		Targets: func(_ context.Context, task fetch.Task) (handover.Target, error) {
			return handover.New(task.Handover.Spec, handover.With{Key: secret.New("a-key-that-signs"), Network: outbound.Network{}, Name: extract.SafeName})
		},
	})
	var read int64
	for range 24 {
		r, err := f.RunTask(t.Context(), s.task.Name, fetch.Options{})
		if !errors.Is(err, fault.Temporary) {
			t.Fatalf("%v (%s)", err, fault.KindOf(err))
		}
		read += r.Bytes
		now = now.Add(time.Hour)
	}
	if len(got) > 0 || len(s.Exchange.Folder(invoices, "INBOX")) != messages {
		t.Fatalf("%v arrived, %d are left", got, len(s.Exchange.Folder(invoices, "INBOX")))
	}
	down = false
	for range 2 {
		r, err := f.RunTask(t.Context(), s.task.Name, fetch.Options{})
		if err != nil {
			t.Fatal(err)
		}
		read += r.Bytes
	}
	arrived, size := map[string]bool{}, int64(0)
	for i, content := range got {
		if arrived[content] {
			t.Errorf("%s came under another key too: %s", content, i)
		}
		arrived[content] = true
	}
	for i := range messages {
		size += int64(len(letter(i, fmt.Sprint("content ", i))))
		if !arrived[fmt.Sprint("content ", i)] {
			t.Errorf("content %d did not arrive", i)
		}
	}
	if len(tried) != messages || len(s.Exchange.Folder(invoices, "INBOX")) != 0 || read != size {
		t.Errorf("%d keys for %d messages, %d left, %d octets read of %d", len(tried), messages, len(s.Exchange.Folder(invoices, "INBOX")), read, size)
	}
	if left, _ := filepath.Glob(filepath.Join(spool, "*", "*.part")); len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
}

// expunging deletes a message, as another client would, once the server has been searched.
type expunging struct {
	fetch.Source
	gone func()
}

func (e expunging) Describe(ctx context.Context, v uint32, ids []string, headers bool, each func(mailbox.Brief)) error {
	err := e.Source.Describe(ctx, v, ids, headers, each)
	e.gone()
	return err
}

// TestAMessageThatGoesBetweenSearchAndFetch takes no other along.
func TestAMessageThatGoesBetweenSearchAndFetch(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.deliver(t, letter(1, "alpha"), letter(2, "beta"), letter(3, "gamma"))
	f := fetch.New(fetch.Config{Ledger: s.ledger, Holder: "node", Pause: time.Millisecond, Sources: opening(func(ctx context.Context, account string, p fetch.Protocol) (fetch.Source, error) {
		src, err := s.exchange.Open(ctx, account, p)
		return expunging{src, func() { s.Exchange.Expunge(invoices, "INBOX", 2) }}, err
	})})
	if r, err := f.RunTask(t.Context(), s.task.Name, fetch.Options{}); err != nil || r.Saved != 2 || r.Failed != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if contents, _ := handedOver(t, s.task.Handover.Directory); fmt.Sprint(contents) != "[alpha gamma]" {
		t.Errorf("%q", contents)
	}
	if entries, _ := os.ReadDir(s.task.Handover.Directory); len(entries) != 5 { // two files, two manifests, the anchor
		t.Errorf("in the directory: %v", entries)
	}
}

type opening func(ctx context.Context, account string, p fetch.Protocol) (fetch.Source, error)

func (o opening) Open(ctx context.Context, account string, p fetch.Protocol) (fetch.Source, error) {
	return o(ctx, account, p)
}
