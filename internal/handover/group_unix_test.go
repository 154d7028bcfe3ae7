//go:build unix

package handover_test

import (
	"context"
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
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	target, d := commandOf(t, 0, nil, "hang", child), staged(t, "one", two)
	ended := make(chan error, 1)
	go func() {
		_, err := target.Deliver(ctx, d)
		ended <- err
	}()
	var b []byte
	for deadline := time.Now().Add(20 * time.Second); len(b) == 0; b, _ = os.ReadFile(child) {
		if time.Now().After(deadline) {
			t.Fatal("it never got as far as its child")
		}
		<-time.After(10 * time.Millisecond)
	}
	cancel()
	if err := <-ended; !errors.Is(err, fault.Temporary) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v is %v", err, fault.KindOf(err))
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
