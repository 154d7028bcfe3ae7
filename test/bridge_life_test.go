package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bridgeLife is how long tokens live, what is copied and how long is idled meanwhile:
// little, or with POSTERN_TEST_BRIDGE_LIFE=full as much as it takes to be sure.
func bridgeLife() (life time.Duration, messages int, idle time.Duration) {
	if os.Getenv("POSTERN_TEST_BRIDGE_LIFE") == "full" {
		return 20 * time.Second, 10_000, 2 * time.Minute
	}
	return 6 * time.Second, 500, 15 * time.Second
}

// TestClientsOutliveTokens has mbsync copy a mailbox and imapflow idle in it, with tokens
// that end meanwhile. Neither of them sees it.
func TestClientsOutliveTokens(t *testing.T) {
	t.Parallel()
	need(t, "mbsync")
	modules(t, "imapflow")
	life, messages, idle := bridgeLife()
	b := newBridged(t)
	b.sim.World.SetLives(life, 90*24*time.Hour)
	b.setUp(readers)
	for n := range messages {
		raw := mailWith(fmt.Sprint("mail ", n), fmt.Sprintf("<life-%d@x.example>", n), map[string]string{"a.txt": strings.Repeat("x", 5000)})
		b.sim.Exchange.Append("scan@contoso.com", "INBOX", raw, time.Now())
	}
	waited := make(chan error, 1)
	go func() { waited <- b.idleWith("imapflow/client.mjs", idle, messages) }()
	if err := b.copyWith(messages, time.Now().Add(idle)); err != nil {
		t.Error(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
	b.stop()
	log, err := os.ReadFile(b.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(log, []byte(`"signed in again"`)); n < 2 {
		t.Errorf("signed in again %d times: nothing was proved", n)
	}
}

// copyWith copies all messages with mbsync, again and again until a time.
func (b *bridged) copyWith(messages int, until time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	for round := 0; round == 0 || time.Now().Before(until); round++ {
		dir := filepath.Join(b.dir, fmt.Sprint("copy", round))
		if err := os.MkdirAll(filepath.Join(dir, "mail"), 0o700); err != nil {
			return err
		}
		rc := fmt.Sprintf("IMAPAccount a\nHost localhost\nPort %s\nUser reader\nPass %q\nSSLType IMAPS\nCertificateFile %s\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nPath %[4]s/mail/\nInbox %[4]s/mail/INBOX\n\nChannel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\nSync Pull\n",
			port(b.imaps), devicePassword, filepath.Join(b.dataDir(), "tls.crt"), dir)
		if err := os.WriteFile(filepath.Join(dir, "rc"), []byte(rc), 0o600); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "mbsync", "-q", "-c", filepath.Join(dir, "rc"), "c")
		cmd.Env = append(os.Environ(), "HOME="+dir)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			return fmt.Errorf("mbsync, round %d: %w: %s", round, err, out)
		}
		got, err := filepath.Glob(filepath.Join(dir, "mail/INBOX/*/*"))
		if err != nil || len(got) != messages {
			return fmt.Errorf("mbsync copied %d messages in round %d: %w", len(got), round, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// idleWith reads and then idles with imapflow.
func (b *bridged) idleWith(client string, idle time.Duration, messages int) error {
	ctx, cancel := context.WithTimeout(context.Background(), idle+5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", client, port(b.imaps), filepath.Join(b.dataDir(), "tls.crt"), "reader", fmt.Sprint(idle.Seconds()))
	cmd.Env = append(os.Environ(), "MAIL_PASSWORD="+devicePassword)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("imapflow: %w: %.2000s", err, out)
	}
	_, last, _ := strings.Cut(string(out), "idle\n")
	var got struct {
		IDs, Errors []string
		Status      int
	}
	if err := json.Unmarshal([]byte(last), &got); err != nil {
		return fmt.Errorf("imapflow: %w: %.2000s", err, out)
	}
	if len(got.Errors) > 0 || len(got.IDs) != messages || got.Status != messages {
		return fmt.Errorf("imapflow saw %d messages, then %d, and errors %q", len(got.IDs), got.Status, got.Errors)
	}
	return nil
}
