package mailbox

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTraceWithoutCredentials writes dialogues down, in whatever pieces they come.
func TestTraceWithoutCredentials(t *testing.T) {
	t.Parallel()
	const token = "dXNlcj1zY2FuQGNvbnRvc28uY29tAWF1dGg9QmVhcmVyIFRPS0VOAQE="
	for name, c := range map[string]struct{ said, want []string }{
		"imap in one line": {
			[]string{"C: T1 CAPABILITY", "S: * CAPABILITY IMAP4rev1", "S: T1 OK done", "C: T2 AUTHENTICATE XOAUTH2 " + token, "S: T2 BAD no such thing: XOAUTH2 " + token, "C: T3 LIST \"\" *"},
			[]string{"C: T1 CAPABILITY", "S: * CAPABILITY IMAP4rev1", "S: T1 OK done", "C: T2 AUTHENTICATE XOAUTH2 [redacted]", "S: T2 BAD no such thing: XOAUTH2 [redacted]", "C: T3 LIST \"\" *"},
		},
		"imap login": {
			[]string{"C: T1 LOGIN scan@contoso.com pa55word-of-scan", "S: T1 NO LOGIN failed."},
			[]string{"C: T1 LOGIN [redacted]", "S: T1 NO LOGIN failed."},
		},
		"pop3 in two": {
			[]string{"C: AUTH XOAUTH2", "S: + ", "C: " + token, "S: +OK signed in", "C: STAT", "S: +OK 3 4096"},
			[]string{"C: AUTH XOAUTH2", "S: + ", "C: [redacted]", "S: +OK signed in", "C: STAT", "S: +OK 3 4096"},
		},
		"pop3 with a challenge": {
			[]string{"C: AUTH XOAUTH2", "S: +", "C: " + token, "S: + eyJzdGF0dXMiOiI0MDAifQ==", "C: ", "S: -ERR no", "C: USER scan", "C: PASS pa55word-of-scan"},
			[]string{"C: AUTH XOAUTH2", "S: +", "C: [redacted]", "S: + eyJzdGF0dXMiOiI0MDAifQ==", "C: [redacted]", "S: -ERR no", "C: USER scan", "C: PASS [redacted]"},
		},
	} {
		for _, piece := range []int{1, 7, 4096} {
			var got []string
			tr := &tracer{say: func(line string) { got = append(got, line) }}
			for _, line := range c.said {
				who, text, _ := strings.Cut(line, ": ")
				take := map[string]func([]byte){"C": tr.sent, "S": tr.heard}[who]
				for p := []byte(text + "\r\n"); len(p) > 0; {
					n := min(piece, len(p))
					take(p[:n])
					p = p[n:]
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s, in pieces of %d:\n%s", name, piece, d)
			}
		}
	}
}

func TestTraceKeepsOfALongLineItsStart(t *testing.T) {
	t.Parallel()
	var got []string
	tr := &tracer{say: func(line string) { got = append(got, line) }}
	tr.heard([]byte(strings.Repeat("x", 1<<20) + "\r\nshort\r\n"))
	if len(got) != 2 || len(got[0]) > shownOf+20 || got[1] != "S: short" {
		t.Errorf("%.80q", got)
	}
}
