package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/fetch"
)

// TestFetchInWords has a message with unusual words in it found by them, saved below the
// run's own name, and not forgotten by a search for what is no word of it.
func TestFetchInWords(t *testing.T) {
	t.Parallel()
	g := newErrands(t)
	g.errand("  - {name: invoices, account: invoices, start: all, handover: {directory: " + g.inbox() + ", path: \"{run_id}/{filename}\"}}\n")
	noError(t, g.sim.Deliver("invoices@contoso.com", mailWith(`R&D "Überweisung" <7>`, "<words@x.example>", map[string]string{"Ärger.pdf": "alpha"})))
	g.postern("fetch", "run", "invoices")
	var runs []fetch.Run
	noError(t, json.Unmarshal([]byte(g.postern("fetch", "runs", "invoices", "--json")), &runs))
	if b, err := os.ReadFile(filepath.Join(g.inbox(), runs[0].ID, "Ärger.pdf")); err != nil || string(b) != "alpha" {
		t.Errorf("in the run's folder: %q, %v", b, err)
	}
	for text, want := range map[string]int{"R&D": 1, "überweisung": 1, `"`: 1, "<7>": 1, "ÄRGER": 1, "WORDS@": 1, "supplier@": 1, "subject": 0, "content_type": 0, "invoices@contoso.com": 0} {
		if n := len(g.ledger("--text", text)); n != want {
			t.Errorf("%q is found %d times, want %d", text, n, want)
		}
	}
	if out := g.postern("fetch", "ledger", "reset", "invoices", "--text", "sha256"); !strings.HasPrefix(out, "0 messages") {
		t.Errorf("forgotten by a word that is none of its own: %s", out)
	}
	if n := len(g.ledger("--folder", "invoices@contoso.com/INBOX")); n != 1 {
		t.Errorf("%d messages in the folder as the ledger names it", n)
	}
}
