package fetch

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"postern/internal/fault"
	"postern/internal/mailbox"
)

func TestWhichFolders(t *testing.T) {
	t.Parallel()
	all := []mailbox.Folder{{Name: "INBOX"}, {Name: "Suppliers", Closed: true}, {Name: "Suppliers/A"}, {Name: "Suppliers/Old"}, {Name: "Suppliers/Done"}, {Name: "Größe"}}
	for _, tt := range []struct {
		name             string
		folders, exclude []string
		want             []string
	}{
		{"none", nil, nil, []string{"INBOX"}},
		{"names are not asked for", []string{"Anything", "Else"}, []string{"Else"}, []string{"Anything"}},
		{"pattern", []string{"inbox", "Suppliers/*"}, []string{"*/Old"}, []string{"INBOX", "Suppliers/A"}},
		{"everything but where mail goes", []string{"*"}, nil, []string{"INBOX", "Suppliers/A", "Suppliers/Old", "Größe"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPost()
			p.folders = all
			b := newBench(t, p, func(task *Task) {
				task.Source.Folders, task.Source.Exclude, task.After = tt.folders, tt.exclude, Action{Move, "Suppliers/Done"}
			})
			b.run(t)
			if !slices.Equal(p.searched, tt.want) {
				t.Errorf("looked into %q, want %q", p.searched, tt.want)
			}
		})
	}
}

func TestFolderThatVanishedStopsNoOther(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "x"))
	b := newBench(t, p, func(task *Task) { task.Source.Folders = []string{"Vanished", "INBOX"} })
	r, err := b.RunTask(t.Context(), b.task.Name, Options{})
	if !errors.Is(err, fault.NotFound) || r.Saved != 1 || r.Error == "" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestFoldersThatAreMade(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "x"))
	b := newBench(t, p, func(task *Task) { task.After, task.MakeFolders = Action{Move, "Nowhere"}, true })
	if _, err := b.RunTask(t.Context(), b.task.Name, Options{DryRun: true}); err != nil || len(p.made) != 0 {
		t.Errorf("a dry run made %q, %v", p.made, err)
	}
	if r := b.run(t); r.Saved != 1 || !slices.Equal(p.made, []string{"Nowhere"}) {
		t.Errorf("%+v, made %q", r, p.made)
	}
}

// A mailbox full of messages that were dealt with costs one search.
func TestManySeenMessagesAreCheap(t *testing.T) {
	t.Parallel()
	p := newPost()
	b := newBench(t, p, nil)
	for i := range 38_000 {
		id := p.deliver(plain(fmt.Sprint(i), "a@x", "old", "text"), epoch)
		k := Key{b.task.Name, Place(p.address, "INBOX"), p.validity, id}
		b.ledger.entries[k] = Entry{Key: k, State: NoMatch}
	}
	if r := b.run(t); r.Looked != 0 || p.bodies != 0 || p.described != 0 || len(p.searched) != 1 {
		t.Errorf("%+v, %d downloads, %d descriptions, %d searches", r, p.bodies, p.described, len(p.searched))
	}
}
