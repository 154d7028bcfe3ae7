package catalogue

import (
	"strings"
	"testing"
	"time"
)

// TestRetirementsAreAsTheReferenceStates holds the data to section 6 of the reference.
func TestRetirementsAreAsTheReferenceStates(t *testing.T) {
	t.Parallel()
	all, err := Retirements()
	if err != nil {
		t.Fatal(err)
	}
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct {
		name, protocol, server, now string
		ends                        string // the first day on which it holds; "" for no statement
		certainty                   Certainty
		says                        string
	}{
		{"smtp before", SMTP, "SMTP.office365.com", "2026-10-01", "2027-01-01", Stated, "by default"},
		{"smtp on the last day", SMTP, "smtp.office365.com", "2026-12-31", "2027-01-01", Stated, "switch them on again"},
		{"smtp just after", SMTP, "smtp.office365.com", "2027-01-30", "2027-01-01", Stated, "by default"},
		{"smtp later", SMTP, "smtp.office365.com", "2027-02-05", "2028-01-01", Expected, "will say in the second half of 2027"},
		{"smtp long after", SMTP, "smtp.office365.com", "2035-01-01", "2028-01-01", Expected, "will say"},
		{"another cloud", SMTP, "smtp.partner.outlook.cn", "2026-10-01", "2027-01-01", Stated, "by default"},
		{"imap", IMAP, "outlook.office365.com", "2026-10-01", "2023-02-01", Stated, "nobody can change"},
		{"pop3", POP3, "outlook.office365.com", "2026-10-01", "2023-02-01", Stated, "nobody can change"},
		{"hve", SMTP, "smtp-hve.office365.com", "2026-10-01", "2028-10-01", Reported, "September 2028"},
		{"not Microsoft's", SMTP, "smtp.example.com", "2026-10-01", "", "", ""},
		{"no server", IMAP, "", "2026-10-01", "", "", ""},
		{"another protocol", IMAP, "smtp.office365.com", "2026-10-01", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, ok := NextRetirement(all, c.protocol, c.server, day(c.now))
			if !ok {
				if c.ends != "" {
					t.Fatal("nothing is known")
				}
				return
			}
			if c.ends == "" || !r.Ends.Equal(day(c.ends)) || r.Certainty != c.certainty || !strings.Contains(r.Says, c.says) {
				t.Errorf("got %+v", r)
			}
			if r.Source == "" || r.Dated == "" {
				t.Errorf("%s has no source or no date", r.Name)
			}
		})
	}
}

const soundRetirement = `[a]
protocol: smtp
servers: smtp.x.example
ends: 2026-12-31
certainty: stated
says: It ends.
source: https://x.example/
dated: 2026-01
`

func TestParseRetirementsRefusesMistakes(t *testing.T) {
	t.Parallel()
	if all, err := parseRetirements("# a remark\n\n" + soundRetirement); err != nil || len(all) != 1 {
		t.Fatalf("the sound statement: %+v, %v", all, err)
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown key", "says: It ends.", "says: It ends.\ncolour: red", "unknown"},
		{"key twice", "dated: 2026-01", "dated: 2026-01\ndated: 2026-02", "there twice"},
		{"day twice", "ends: 2026-12-31", "ends: 2026-12-31\nends: 2026-12-31", "there twice"},
		{"servers twice", "ends:", "servers: b\nends:", "there twice"},
		{"no colon", "says: It ends.", "says It ends.", "key: value"},
		{"empty value", "says: It ends.", "says:", "key: value"},
		{"no sentence", "says: It ends.\n", "", "required"},
		{"no servers", "servers: smtp.x.example\n", "", "required"},
		{"no end", "ends: 2026-12-31\n", "", "required"},
		{"bad end", "2026-12-31", "the end of 2026", "ends"},
		{"upper case server", "smtp.x", "SMTP.x", "lower case"},
		{"protocol", "smtp\n", "graph\n", "protocol"},
		{"certainty", "stated", "perhaps", "certainty"},
		{"plain source", "https:", "http:", "not https"},
		{"no date", "dated: 2026-01\n", "", "dated"},
		{"bad date", "2026-01\n", "lately\n", "dated"},
		{"no name", "[a]", "[]", "empty"},
		{"before the first", "[a]\n", "", "before the first"},
		{"name twice", "dated: 2026-01\n", "dated: 2026-01\n" + soundRetirement, "there twice"},
		{"out of order", "dated: 2026-01\n", "dated: 2026-01\n" + strings.Replace(soundRetirement, "[a]", "[b]", 1), "come after"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseRetirements(strings.Replace(soundRetirement, c.old, c.new, 1))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func FuzzParseRetirements(f *testing.F) {
	f.Add(soundRetirement)
	f.Add("[a]\n[b]\nends: 2026-12-31\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseRetirements(text)
		if err != nil {
			return
		}
		for _, r := range all {
			if err := r.complete(); err != nil {
				t.Errorf("%s came through: %v", r.Name, err)
			}
		}
	})
}
