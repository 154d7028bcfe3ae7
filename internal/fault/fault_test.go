package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"postern/internal/fault"
)

func TestKindIsFoundThroughWrapping(t *testing.T) {
	t.Parallel()
	inner := &fault.Error{Kind: fault.Throttled, Op: "send", Err: io.EOF, RetryAfter: time.Minute}
	err := fmt.Errorf("deliver m1: %w", inner)
	if !errors.Is(err, fault.Throttled) || errors.Is(err, fault.Permanent) {
		t.Errorf("errors.Is does not see the kind of %v", err)
	}
	if !errors.Is(err, io.EOF) {
		t.Error("the cause is lost")
	}
	if got := fault.KindOf(err); got != fault.Throttled {
		t.Errorf("KindOf = %v", got)
	}
	if got := fault.KindOf(io.EOF); got != fault.Unknown {
		t.Errorf("KindOf(unclassified) = %v", got)
	}
	if fault.As(err).RetryAfter != time.Minute {
		t.Error("retry-after is lost")
	}
}

func TestOutermostKindWins(t *testing.T) {
	t.Parallel()
	err := fault.Wrap(fault.NeedsAdmin, "sign in", fault.New(fault.Temporary, "dial", "refused"))
	if got := fault.KindOf(err); got != fault.NeedsAdmin {
		t.Errorf("KindOf = %v", got)
	}
}

func TestHintAndReplyAreFoundDeep(t *testing.T) {
	t.Parallel()
	inner := fault.New(fault.Denied, "auth", "no").WithHint("run %s", "postern signin a")
	inner.Reply = &fault.Reply{Protocol: "smtp", Code: "535", Enhanced: "5.7.3", Text: "Authentication unsuccessful"}
	err := fault.Wrap(fault.NeedsSignIn, "deliver", fmt.Errorf("x: %w", inner))
	if got := fault.HintOf(err); got != "run postern signin a" {
		t.Errorf("HintOf = %q", got)
	}
	if got := fault.ReplyOf(err).String(); got != "535 5.7.3 Authentication unsuccessful" {
		t.Errorf("ReplyOf = %q", got)
	}
}

func TestReplyNamesANumberOnce(t *testing.T) {
	t.Parallel()
	r := fault.Reply{Protocol: "oauth", Code: "access_denied", Enhanced: "65004", Text: "AADSTS65004: User declined to consent."}
	if got := r.String(); got != "access_denied AADSTS65004: User declined to consent." {
		t.Errorf("got %q", got)
	}
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  *fault.Error
		want string
	}{
		{&fault.Error{Kind: fault.NeedsSignIn}, "needs sign in"},
		{&fault.Error{Kind: fault.Invalid, Op: "parse tenant"}, "parse tenant: invalid"},
		{fault.New(fault.Invalid, "parse tenant", "%q has a slash", "a/b"), `parse tenant: "a/b" has a slash`},
		{&fault.Error{Op: "auth", Reply: &fault.Reply{Code: "NO", Text: "AUTHENTICATE failed."}}, "auth: NO AUTHENTICATE failed."},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestWrapNilStaysNil(t *testing.T) {
	t.Parallel()
	if fault.Wrap(fault.Temporary, "x", nil) != nil {
		t.Error("an error out of nothing")
	}
}
