package handover_test

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"postern/internal/fault"
	"postern/internal/handover"
)

func TestObjectsOfTheSameName(t *testing.T) {
	t.Parallel()
	same := map[string]string{"a.pdf": "one"}
	other := map[string]string{"a.pdf": "another"}
	for _, c := range []struct {
		name    string
		clash   handover.Clash
		second  map[string]string
		want    []string // the contents that are there afterwards
		receipt string
		kind    fault.Kind
	}{
		{"rename", handover.ClashRename, other, []string{"another", "one"}, "a (", 0},
		{"rename is the default", "", other, []string{"another", "one"}, "a (", 0},
		{"another message with the same file", handover.ClashRename, same, []string{"one", "one"}, "a (", 0},
		{"overwrite", handover.ClashOverwrite, other, []string{"another"}, "/a.pdf", 0},
		{"skip", handover.ClashSkip, other, []string{"one"}, "skipped", 0},
		{"fail", handover.ClashFail, other, []string{"one"}, "", fault.Conflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t)
			spec := g.spec()
			spec.Clash = c.clash
			target := open(t, handover.Spec{Object: &spec}, rightKey)
			first, second := staged(t, "first", same), staged(t, "second", c.second)
			first.Manifest, second.Manifest = nil, nil
			deliver(t, target, first)
			for range 2 { // the second try finds what the first left
				receipt, err := target.Deliver(t.Context(), second)
				if fault.KindOf(err) != c.kind || !strings.Contains(receipt, c.receipt) {
					t.Errorf("%q, %v", receipt, err)
				}
			}
			var got []string
			for _, d := range g.arrived() {
				got = append(got, d)
			}
			var want []string
			for _, w := range c.want {
				want = append(want, digest(w))
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%v are there, want %v", g.arrived(), c.want)
			}
		})
	}
}

func TestTwoFilesOfOneNameInOneDelivery(t *testing.T) {
	t.Parallel()
	for _, clash := range []handover.Clash{handover.ClashRename, handover.ClashOverwrite, handover.ClashSkip, handover.ClashFail} {
		t.Run(string(clash), func(t *testing.T) {
			t.Parallel()
			g := newGateway(t)
			spec := g.spec()
			spec.Clash, spec.Name = clash, "{yyyy}/scan.pdf"
			target := open(t, handover.Spec{Object: &spec}, rightKey)
			d := staged(t, "one", map[string]string{"a": "page one", "b": "page two"})
			deliver(t, target, d)
			deliver(t, target, d)
			expect(t, g, "page one", "page two")
			if n := len(g.arrived()); n != 3 {
				t.Errorf("%d objects, want two files and their manifest: %v", n, g.arrived())
			}
		})
	}
}

// A store says that a name is taken when another is about to put it, too, or to remove
// it. Whether that one was an earlier try of ours nobody knows yet: another name now
// might put the file twice.
func TestANameThatIsTakenByNothingYet(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	target, d := g.target(t, rightKey, 0), staged(t, "one", two)
	g.trouble(busy)
	if receipt, err := target.Deliver(t.Context(), d); !errors.Is(err, fault.Temporary) || fault.HintOf(err) == "" {
		t.Errorf("%q, %v, next %q", receipt, err, fault.HintOf(err))
	}
	deliver(t, target, d)
	expect(t, g, two["a.pdf"], two["../b \"ü\".pdf"])
	if n := len(g.arrived()); n != 3 {
		t.Errorf("%d objects, want two files and their manifest: %v", n, g.arrived())
	}
}

func TestARepeatedDeliverySendsNothingAgain(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	target, d := g.target(t, rightKey, 0), staged(t, "one", two)
	receipt := deliver(t, target, d)
	if !strings.Contains(receipt, "s3://mail/in/2026/01/") || strings.Count(receipt, "\n") != 2 {
		t.Errorf("the receipt does not say where all is: %q", receipt)
	}
	g.mu.Lock()
	puts := g.puts
	g.mu.Unlock()
	deliver(t, target, d)
	if g.puts != puts || puts != 3 {
		t.Errorf("%d requests to put, then %d more", puts, g.puts-puts)
	}
}

func TestStoresThatAreNone(t *testing.T) {
	t.Parallel()
	for _, spec := range []handover.Object{
		{URL: ""}, {URL: "mail"}, {URL: "s3://"}, {URL: "s3://mail?x=1"}, {URL: "ftp://mail"},
		{URL: "s3://mail", Endpoint: "s3.example.com"}, {URL: "s3://mail", Endpoint: "https://s3.example.com/path"},
		{URL: "s3://mail", Clash: "maybe"}, {URL: "s3://mail", Name: "../{filename}"}, {URL: "s3://mail", CA: "no PEM"},
	} {
		_, err := handover.New(handover.Spec{Object: &spec}, handover.With{})
		if fault.HintOf(err) == "" || !errors.Is(err, fault.Invalid) && spec.CA == "" {
			t.Errorf("%+v: %v, next %q", spec, err, fault.HintOf(err))
		}
	}
	g := newGateway(t)
	spec := g.spec()
	spec.URL = "s3://nowhere"
	target := open(t, handover.Spec{Object: &spec}, rightKey)
	if err := target.Check(t.Context()); !errors.Is(err, fault.NeedsAdmin) || !strings.Contains(fault.HintOf(err), "nowhere") {
		t.Errorf("no such bucket: %v, next %q", err, fault.HintOf(err))
	}
	if err := g.target(t, wrongKey, 0).Check(t.Context()); !errors.Is(err, fault.NeedsAdmin) || !strings.Contains(fault.HintOf(err), "s3:PutObject") {
		t.Errorf("a wrong key: %v, next %q", err, fault.HintOf(err))
	}
}

// large stages a file of 150 MB that costs no memory here.
func large(t *testing.T) handover.Delivery {
	t.Helper()
	d := staged(t, "large", map[string]string{"large.bin": ""})
	const size = 150 << 20
	if err := os.Truncate(d.Files[0].Path, size); err != nil {
		t.Fatal(err)
	}
	d.Files[0].Size = size
	d.Files[0].SHA256 = zeros(size)
	return d
}

// allocated is what f allocates in this process, whether or not it is freed again.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestALargeFileIsNeverInMemory(t *testing.T) { // alone: it counts this process's memory
	g := newGateway(t)
	d := large(t)
	target := g.target(t, rightKey, 0)
	if used := allocated(func() { deliver(t, target, d) }); used > 40<<20 {
		t.Errorf("%d MB for 150", used>>20)
	}
	for _, format := range []handover.Format{handover.FormatJSON, handover.FormatMultipart} {
		sink := newSink(t)
		target := open(t, handover.Spec{Webhook: &handover.Webhook{URL: sink.URL, Format: format, LimitMB: 200}}, rightKey)
		if used := allocated(func() { deliver(t, target, d) }); used > 40<<20 {
			t.Errorf("%s: %d MB for 150", format, used>>20)
		}
		if got := sink.size.Load(); got < 150<<20 {
			t.Errorf("%s: %d octets arrived", format, got)
		}
	}
}
