package declare

import (
	"context"
	"errors"

	"go.yaml.in/yaml/v3"

	"postern/internal/fault"
)

// Key names a record.
type Key struct{ Kind, Name string }

// Records are the present state of what a document names, each as a document would
// declare it, without secrets. What is not there yet is left out.
func (a Applier) Records(ctx context.Context, doc Document) (map[Key]any, error) {
	all := map[Key]any{}
	for _, d := range doc.Apps {
		v, err := a.Vault.App(ctx, d.Name)
		if err := keep(all, Key{"app", d.Name}, AppOf(v), err); err != nil {
			return nil, err
		}
	}
	for _, d := range doc.Accounts {
		v, err := a.Vault.Account(ctx, d.Name)
		if err := keep(all, Key{"account", d.Name}, AccountOf(v), err); err != nil {
			return nil, err
		}
	}
	for _, d := range doc.Devices {
		v, err := a.Devices.Device(ctx, d.Name)
		if err := keep(all, Key{"device", d.Name}, DeviceOf(v), err); err != nil {
			return nil, err
		}
	}
	for _, d := range doc.Tasks {
		v, err := a.Tasks.Task(ctx, d.Name)
		if err := keep(all, Key{"task", d.Name}, exportTask(v), err); err != nil {
			return nil, err
		}
	}
	for _, d := range doc.Alerts {
		v, err := a.Alerts.AlertRoute(ctx, d.Name)
		if err := keep(all, Key{"alert", d.Name}, AlertOf(v), err); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// keep takes a record in the words of a document, whose names are those people know.
func keep(all map[Key]any, k Key, record any, lookup error) error {
	if errors.Is(lookup, fault.NotFound) {
		return nil
	}
	if lookup != nil {
		return lookup
	}
	b, err := yaml.Marshal(record)
	if err != nil {
		return err
	}
	var words map[string]any
	err = yaml.Unmarshal(b, &words)
	all[k] = words
	return err
}
