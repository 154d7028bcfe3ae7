package handover_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"postern/internal/fault"
	"postern/internal/handover"
)

// worlds are all kinds of target that this build has.
func worlds() map[string]func(*testing.T) world {
	return map[string]func(*testing.T) world{
		"json":      func(t *testing.T) world { return newReceiver(t, handover.FormatJSON) },
		"multipart": func(t *testing.T) world { return newReceiver(t, handover.FormatMultipart) },
		"command":   func(t *testing.T) world { return program{dir: t.TempDir()} },
		"s3":        func(t *testing.T) world { return newGateway(t) },
	}
}

// Conformance: whoever gives deliveries to a target need not know which kind it is.
func TestTargets(t *testing.T) {
	t.Parallel()
	for name, make := range worlds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				name string
				run  func(*testing.T, world)
			}{
				{"files arrive whole", arriveWhole}, {"repeated after success", repeated}, {"repeated after a lost answer", lostAnswer},
				{"wrong credentials", wrongCredentials}, {"full", noRoom}, {"slow", timeOut}, {"cancelled", cancelled},
				{"damaged on the disk", damaged}, {"check", checks}, {"many at a time", many},
			} {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(t, make(t))
				})
			}
		})
	}
}

var two = map[string]string{"a.pdf": "the first", "../b \"ü\".pdf": strings.Repeat("the second\r\n--", 9000)} //nolint:gochecknoglobals // read only

func deliver(t *testing.T, target handover.Target, d handover.Delivery) string {
	t.Helper()
	receipt, err := target.Deliver(t.Context(), d)
	if err != nil {
		t.Fatalf("%v, next %q", err, fault.HintOf(err))
	}
	if receipt == "" || len(receipt) > 3000 {
		t.Errorf("the receipt is %q", receipt)
	}
	return receipt
}

// expect says what is there: so many of each content.
func expect(t *testing.T, w world, want ...string) {
	t.Helper()
	count := make(map[string]int)
	for _, c := range want {
		count[digest(c)]++
	}
	got := make(map[string]int)
	for _, d := range w.arrived() {
		got[d]++
	}
	for d, n := range count {
		if got[d] != n {
			t.Errorf("one file is there %d times, want %d; all: %v", got[d], n, w.arrived())
		}
	}
}

func arriveWhole(t *testing.T, w world) {
	deliver(t, w.target(t, rightKey, 0), staged(t, "one", two))
	expect(t, w, two["a.pdf"], two["../b \"ü\".pdf"])
}

func repeated(t *testing.T, w world) {
	d := staged(t, "one", two)
	first, second := w.target(t, rightKey, 0), w.target(t, rightKey, 0) // as after a restart
	deliver(t, first, d)
	deliver(t, first, d)
	deliver(t, second, d)
	expect(t, w, two["a.pdf"], two["../b \"ü\".pdf"])
}

func lostAnswer(t *testing.T, w world) {
	target, d := w.target(t, rightKey, 0), staged(t, "one", two)
	w.trouble(cut)
	if receipt, err := target.Deliver(t.Context(), d); err == nil {
		t.Fatalf("the answer was lost, and it says %q", receipt)
	} else if k := fault.KindOf(err); k != fault.Temporary {
		t.Errorf("%v is %v", err, k)
	}
	deliver(t, target, d)
	expect(t, w, two["a.pdf"], two["../b \"ü\".pdf"])
}

func wrongCredentials(t *testing.T, w world) {
	target := w.target(t, wrongKey, 0)
	_, err := target.Deliver(t.Context(), staged(t, "one", two))
	if !errors.Is(err, fault.NeedsAdmin) || fault.HintOf(err) == "" {
		t.Errorf("%v is %v, next %q", err, fault.KindOf(err), fault.HintOf(err))
	}
	for _, key := range []string{rightKey, wrongKey} {
		if err != nil && strings.Contains(err.Error()+fault.HintOf(err), key) {
			t.Errorf("a key stands in: %v", err)
		}
	}
	expect(t, w)
}

func noRoom(t *testing.T, w world) {
	w.trouble(full)
	target, d := w.target(t, rightKey, 0), staged(t, "one", two)
	_, err := target.Deliver(t.Context(), d)
	if !errors.Is(err, fault.Temporary) {
		t.Errorf("%v is %v", err, fault.KindOf(err))
	}
	w.trouble(fine)
	deliver(t, target, d)
	expect(t, w, two["a.pdf"], two["../b \"ü\".pdf"])
}

func timeOut(t *testing.T, w world) {
	w.trouble(slow)
	_, err := w.target(t, rightKey, 1).Deliver(t.Context(), staged(t, "one", two))
	if !errors.Is(err, fault.Temporary) || !errors.Is(err, context.DeadlineExceeded) || fault.HintOf(err) == "" {
		t.Errorf("%v is %v, next %q", err, fault.KindOf(err), fault.HintOf(err))
	}
}

func cancelled(t *testing.T, w world) {
	w.trouble(slow)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	target, d := w.target(t, rightKey, 0), staged(t, "one", two)
	go func() {
		_, err := target.Deliver(ctx, d)
		ended <- err
	}()
	<-w.reached()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || !errors.Is(err, fault.Temporary) {
		t.Errorf("%v is %v", err, fault.KindOf(err))
	}
}

func damaged(t *testing.T, w world) {
	target := w.target(t, rightKey, 0)
	for name, spoil := range map[string]func(*handover.File){
		"another content": func(f *handover.File) { f.SHA256 = digest("something else") },
		"another size":    func(f *handover.File) { f.Size++ },
		"gone":            func(f *handover.File) { f.Path += ".gone" },
	} {
		d := staged(t, name, map[string]string{"a.pdf": "spoilt"})
		spoil(&d.Files[0])
		if _, err := target.Deliver(t.Context(), d); !errors.Is(err, fault.Temporary) || fault.HintOf(err) == "" {
			t.Errorf("%s: %v is %v", name, err, fault.KindOf(err))
		}
	}
	if got := w.arrived(); len(got) != 0 {
		t.Errorf("it was handed over: %v", got)
	}
}

func checks(t *testing.T, w world) {
	if err := w.target(t, rightKey, 0).Check(t.Context()); err != nil {
		t.Errorf("%v, next %q", err, fault.HintOf(err))
	}
	if got := w.arrived(); len(got) != 0 {
		t.Errorf("the check left %v", got)
	}
}

func many(t *testing.T, w world) {
	target := w.target(t, rightKey, 0)
	const n = 6
	ended := make(chan error, n)
	for i := range n {
		d := staged(t, strings.Repeat("x", i+1), map[string]string{"same name.pdf": strings.Repeat("y", i+1)})
		go func() {
			_, err := target.Deliver(t.Context(), d)
			ended <- err
		}()
	}
	var want []string
	for i := range n {
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want = append(want, strings.Repeat("y", i+1))
	}
	expect(t, w, want...)
}
