package app

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

func TestDeadHolder(t *testing.T) {
	t.Parallel()
	self := newHolder()
	host, _, _ := strings.Cut(self, "/")

	gone := exec.CommandContext(t.Context(), "true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		holder string
		want   bool
	}{
		"ourselves":               {self, false},
		"our pid, earlier life":   {host + "/" + strconv.Itoa(os.Getpid()) + "/EARLIER1", true},
		"a living process":        {host + "/" + strconv.Itoa(os.Getppid()) + "/PARENT01", false},
		"a process that ended":    {host + "/" + strconv.Itoa(gone.Process.Pid) + "/GONE0001", true},
		"a run of one that ended": {host + "/" + strconv.Itoa(gone.Process.Pid) + "/GONE0001/run", true},
		"our own run":             {self + "/run", false},
		"another host":            {"elsewhere/" + strconv.Itoa(gone.Process.Pid) + "/GONE0001", false},
		"garbage":                 {"garbage", false},
		"empty":                   {"", false},
	} {
		if got := deadHolder(self, c.holder); got != c.want {
			t.Errorf("%s: deadHolder(%q) = %v", name, c.holder, got)
		}
	}
}
