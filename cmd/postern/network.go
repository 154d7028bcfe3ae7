package main

import (
	"context"
	"errors"
	"fmt"

	"postern/internal/app"
	"postern/internal/check"
	"postern/internal/fault"
)

// checkNetwork is `postern check --network`.
func checkNetwork(ctx context.Context, c *cli, cloud string, names []string, asJSON bool) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	var targets []check.NetworkTarget
	if cloud == "" {
		name := ""
		if len(names) > 0 {
			name = names[0]
		}
		log := newLogger(c.stderr, cfg.LogFormat, max(cfg.LogLevel.Level, quiet))
		targets, err = app.NetworkTargets(ctx, cfg, log, name)
		switch {
		case err != nil && (name != "" || errors.Is(err, context.Canceled)):
			return err
		case err != nil: // the network is worth a check all the same
			_, _ = fmt.Fprintf(c.stderr, "note: the stored apps cannot be read: %v\n", err)
			if hint := fault.HintOf(err); hint != "" {
				_, _ = fmt.Fprintln(c.stderr, "next:", hint)
			}
		}
	}
	if len(targets) == 0 {
		t, err := app.NetworkTarget(cloud)
		if err != nil {
			return err
		}
		targets = []check.NetworkTarget{t}
	}
	return tryNetworks(targets, asJSON, c, func(t check.NetworkTarget, live func(check.HostReport)) (check.NetworkReport, error) {
		return app.CheckNetwork(ctx, cfg, t, live)
	})
}

func tryNetworks(targets []check.NetworkTarget, asJSON bool, c *cli, try func(check.NetworkTarget, func(check.HostReport)) (check.NetworkReport, error)) error {
	reports := make([]check.NetworkReport, 0, len(targets))
	good := true
	for _, t := range targets {
		var live func(check.HostReport)
		if !asJSON {
			_, _ = fmt.Fprintf(c.stdout, "Hosts of the cloud %s:\n", t.Name)
			live = func(h check.HostReport) { _, _ = fmt.Fprint(c.stdout, h.Text()) }
		}
		r, err := try(t, live)
		if err != nil {
			return err
		}
		good = good && r.OK
		reports = append(reports, r)
		if !asJSON {
			_, _ = fmt.Fprintf(c.stdout, "%s\n", r.Text())
		}
	}
	if asJSON {
		if err := writeJSON(c.stdout, reports); err != nil {
			return err
		}
	}
	if !good {
		return errCheckFailed
	}
	return nil
}
