package main

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSendmailArguments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		want sendmailArgs
	}{
		{"-t -i", sendmailArgs{fromHeader: true, dots: true}},
		{"-ti", sendmailArgs{fromHeader: true, dots: true}},
		{"-oi -f a@b c@d", sendmailArgs{dots: true, from: "a@b", recipients: []string{"c@d"}}},
		{"-itfa@b -FName x", sendmailArgs{fromHeader: true, dots: true, from: "a@b", name: "Name", recipients: []string{"x"}}},
		{"-f <> -r <a@b>", sendmailArgs{from: "a@b"}},
		{"-bm -B 8BITMIME -oem -odb -N never -R hdrs -V id -O X=y -em x", sendmailArgs{recipients: []string{"x"}}},
		{"-FCronDaemon -i -B8BITMIME -oem root", sendmailArgs{name: "CronDaemon", dots: true, recipients: []string{"root"}}},
		{"-bp", sendmailArgs{mode: 'p'}},
		{"-Am -i -t", sendmailArgs{fromHeader: true, dots: true}},
		{"-bs -i", sendmailArgs{mode: 's', dots: true}},
		{"-bi -v", sendmailArgs{mode: 'i'}},
		{"-i -- -t", sendmailArgs{dots: true, recipients: []string{"-t"}}},
		{"--device=web -t", sendmailArgs{device: "web", fromHeader: true}},
		{"--device web --help", sendmailArgs{device: "web", help: true}},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			have, err := parsing().parseSendmail(strings.Fields(c.args))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, have, cmp.AllowUnexported(sendmailArgs{})); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
	for _, bad := range []string{"-f", "-bd", "-b", "-bpx", "-q", "-q1h", "-Z", "-B 9BIT", "-C /etc/x", "--device", "--nope x", "--log-level"} {
		if _, err := parsing().parseSendmail(strings.Fields(bad)); exitCode(err) != exSyntax {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func parsing() *cli {
	c := &cli{getenv: func(string) (string, bool) { return "", false }}
	newRoot(c)
	return c
}

func FuzzSendmailArguments(f *testing.F) {
	f.Add("-t -i -f a@b -- x")
	c := parsing()
	f.Fuzz(func(t *testing.T, line string) {
		if strings.Contains(line, "--") {
			return // settings, which belong to the whole process
		}
		if _, err := c.parseSendmail(strings.Split(line, " ")); err != nil && exitCode(err) != exSyntax {
			t.Error(err)
		}
	})
}

func TestALoneDotEnds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10_000)
	for in, want := range map[string]string{
		"a\n.\nb\n": "a\n", "a\r\n.\r\nb": "a\r\n", ".\n": "", "a\n..\n.b\n": "a\n..\n.b\n", "a\n.": "a\n", "": "", "a": "a",
		long + ".\n" + long + "\n.\nend": long + ".\n" + long + "\n",
	} {
		have, err := io.ReadAll(&dotEnded{r: bufio.NewReaderSize(strings.NewReader(in), 16)})
		if err != nil || string(have) != want {
			t.Errorf("%.40q became %.40q, %v", in, have, err)
		}
	}
	broken := errors.New("broken")
	if _, err := io.ReadAll(&dotEnded{r: bufio.NewReader(io.MultiReader(strings.NewReader("a"), failing{broken}))}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
