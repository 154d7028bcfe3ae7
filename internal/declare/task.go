package declare

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"

	"postern/internal/fault"
	"postern/internal/fetch"
)

// Task is a fetch task: what [fetch.Spec] says, and short words for the plain case of
// one folder, one rule and one directory.
type Task struct {
	Name       string `yaml:"name"`
	Account    string `yaml:"account"`
	Disabled   bool   `yaml:"disabled,omitempty"`
	fetch.Spec `yaml:",inline"`
	Key        *SecretRef `yaml:"key,omitempty"` // of the object store, or signs a webhook; absent: keep the stored one

	Folder    string         `yaml:"folder,omitempty"`    // source.folders
	Directory string         `yaml:"directory,omitempty"` // handover.directory
	Every     fetch.Duration `yaml:"every,omitempty"`     // schedule.every
	Start     fetch.Start    `yaml:"start,omitempty"`     // source.start
	Unread    bool           `yaml:"unread,omitempty"`    // source.which: unread
	Inline    bool           `yaml:"inline,omitempty"`    // rules[0].take.inline
	MoveTo    string         `yaml:"move_to,omitempty"`   // after: move FOLDER
}

// whole puts the short words where they belong.
func (d Task) whole() (fetch.Task, error) {
	s := d.Spec
	for _, word := range []struct {
		given, clash bool
		short, long  string
		set          func()
	}{
		{d.Folder != "", len(s.Source.Folders) > 0, "folder", "source.folders", func() { s.Source.Folders = []string{d.Folder} }},
		{d.Directory != "", s.Handover.Directory != "", "directory", "handover.directory", func() { s.Handover.Directory = d.Directory }},
		{d.Every > 0, s.Schedule.Every > 0, "every", "schedule.every", func() { s.Schedule.Every = d.Every }},
		{d.Start != "", s.Source.Start != "", "start", "source.start", func() { s.Source.Start = d.Start }},
		{d.Unread, s.Source.Which != "", "unread", "source.which", func() { s.Source.Which = fetch.Unread }},
		{d.Inline, len(s.Rules) > 0, "inline", "rules", func() { s.Rules = []fetch.Rule{{Take: fetch.Take{Inline: true}}} }},
		{d.MoveTo != "", s.After.To != "", "move_to", "after: move FOLDER", func() { s.After.To = d.MoveTo }},
	} {
		if word.given && word.clash {
			return fetch.Task{}, errors.New(word.short + ": it is short for " + word.long + ", which is given too")
		}
		if word.given {
			word.set()
		}
	}
	if d.MoveTo != "" && s.After.Do != fetch.Move {
		return fetch.Task{}, errors.New("move_to: is only used with after: move")
	}
	if dir := s.Handover.Directory; dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return fetch.Task{}, err
		}
		s.Handover.Directory = abs
	}
	return fetch.Task{Name: d.Name, Account: d.Account, Disabled: d.Disabled, Spec: s}, nil
}

func (a Applier) task(d Task) (step, error) {
	want, err := d.whole()
	if err == nil {
		err = want.Check()
	}
	if err != nil {
		return nil, err
	}
	if d.Key != nil && want.Handover.Kind() == "" {
		return nil, errors.New("key: it is only used with handover.object and handover.webhook")
	}
	return func(ctx context.Context) (Change, error) {
		c := Change{Kind: "task", Name: d.Name}
		have, err := a.Tasks.Task(ctx, d.Name)
		key, keyErr := a.key(ctx, d)
		if keyErr != nil {
			return c, keyErr
		}
		return c.put(err, func() bool { return key == nil && sameTask(have, want) }, func() error {
			if err := a.makeDirectory(have, want); err != nil {
				return err
			}
			if err := a.Tasks.PutTask(ctx, want); err != nil || key == nil {
				return err
			}
			return key(ctx)
		})
	}, nil
}

// key returns what keeps a key that is given and not kept yet; nil when there is
// nothing to do.
func (a Applier) key(ctx context.Context, d Task) (func(context.Context) error, error) {
	if d.Key == nil {
		return nil, nil //nolint:nilnil // nothing to do
	}
	given, err := d.Key.trimmed(a.Getenv)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "key", err)
	}
	name := fetch.KeyName(d.Name)
	have, err := a.Secrets.KeptSecret(ctx, name)
	if err != nil || have.Reveal() == given.Reveal() {
		return nil, err
	}
	return func(ctx context.Context) error { return a.Secrets.KeepSecret(ctx, name, given) }, nil
}

func sameTask(a, b fetch.Task) bool {
	one, err1 := json.Marshal(a.Spec)
	two, err2 := json.Marshal(b.Spec)
	return cmp.Or(err1, err2) == nil && string(one) == string(two) && a.Account == b.Account && a.Disabled == b.Disabled
}

// makeDirectory makes a new task's directory.
func (a Applier) makeDirectory(have, want fetch.Task) error {
	dir := want.Handover.Directory
	if dir == "" || have.Handover.Directory == dir {
		return nil
	}
	if err := a.MakeDirectory(dir); err != nil {
		return fault.New(fault.Invalid, "make the directory", "%w", err).WithHint("create %s, writable for Postern, and apply again", dir)
	}
	return nil
}
