//go:build unix

package handover_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/internal/fault"
)

func TestAProgramThatHangsIsEndedWithAllItStarted(t *testing.T) {
	t.Parallel()
	child := filepath.Join(t.TempDir(), "child")
	_, err := commandOf(t, 2, nil, "hang", child).Deliver(t.Context(), staged(t, "one", two))
	if !errors.Is(err, fault.Temporary) || !strings.Contains(fault.HintOf(err), "timeout_seconds") || !fault.As(err).Ambiguous {
		t.Errorf("%v, next %q", err, fault.HintOf(err))
	}
	b, err := os.ReadFile(child)
	if err != nil {
		t.Fatal("it never got as far as its child: ", err)
	}
	pid, _ := strconv.Atoi(string(b))
	for deadline := time.Now().Add(10 * time.Second); alive(pid); {
		if time.Now().After(deadline) {
			t.Fatalf("its child %d lives on", pid)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// alive reports whether a process runs; one that nobody waited for yet does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}
