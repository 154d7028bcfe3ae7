package vault

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/catalogue"
	"postern/internal/fault"
)

// Expiry is something that will end (product A13).
type Expiry struct {
	Kind    string // client_secret, certificate, grant, app_password
	Subject string // the app's or the account's name
	At      time.Time
	Stage   Stage
	Text    string // one sentence
	Next    string // what to do about it
	Source  string // of a date that is Microsoft's: where it was published, and when; "" else

	part string // of a subject that ends in several ways: which
}

// ID names the end among all there are, whatever its date.
func (e Expiry) ID() string { return strings.Join([]string{e.Kind, e.part, e.Subject}, ".") }

// Stage is how near an end is.
type Stage string

// The stages; each is alerted once.
const (
	Far  Stage = "far"
	In30 Stage = "30_days"
	In14 Stage = "14_days"
	In3  Stage = "3_days"
	Over Stage = "over"
)

const day = 24 * time.Hour

// stageAt is the stage of an end, seen from now.
func stageAt(end, now time.Time) Stage {
	switch left := end.Sub(now); {
	case left <= 0:
		return Over
	case left <= 3*day:
		return In3
	case left <= 14*day:
		return In14
	case left <= 30*day:
		return In30
	}
	return Far
}

// later reports whether a stage comes after another.
func (s Stage) later(than Stage) bool {
	order := []Stage{Far, In30, In14, In3, Over}
	return slices.Index(order, s) > slices.Index(order, than)
}

// Radar lists what will end, the nearest first.
func (v *Vault) Radar(ctx context.Context) ([]Expiry, error) {
	now := v.now()
	apps, err := v.store.Apps(ctx)
	if err != nil {
		return nil, err
	}
	retirements, err := catalogue.Retirements()
	if err != nil {
		return nil, fault.Wrap(fault.Unknown, "look for what expires", err)
	}
	accounts, err := v.store.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	rotated, err := v.store.LastRotated(ctx)
	if err != nil {
		return nil, err
	}
	var all []Expiry
	clouds := map[string]App{}
	for _, a := range apps {
		clouds[a.Name] = a
		all = append(all, credentialEnds(a, now)...)
	}
	for _, acct := range accounts {
		switch acct.Method {
		case AppPassword:
			all = append(all, passwordEnds(acct, clouds[acct.App], retirements, now)...)
		case Delegated:
			if at, ok := rotated[acct.Name]; ok {
				all = append(all, grantEnds(acct, at.Add(grantLife), now)...)
			}
		}
	}
	for i := range all {
		all[i].Stage = stageAt(all[i].At, now)
	}
	slices.SortFunc(all, func(a, b Expiry) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.part, b.part))
	})
	return all, nil
}

// credentialEnds is when the credential an app uses ends. With a certificate its
// secret is not used, and may end unnoticed.
func credentialEnds(a App, now time.Time) []Expiry {
	if len(a.Certificate) > 0 {
		leaf, err := x509.ParseCertificate(a.Certificate)
		if err != nil {
			return nil // one that cannot be read is told by whoever uses it
		}
		return []Expiry{{
			Kind: "certificate", Subject: a.Name, At: leaf.NotAfter,
			Text: fmt.Sprintf("the certificate of app %s %s", a.Name, ends(leaf.NotAfter, now)),
			Next: fmt.Sprintf("make a new one and upload it: postern apps certificate %s new; then: postern apps certificate %s use", a.Name, a.Name),
		}}
	}
	if len(a.Secret) == 0 || a.SecretExpires.IsZero() {
		return nil
	}
	return []Expiry{{
		Kind: "client_secret", Subject: a.Name, At: a.SecretExpires,
		Text: fmt.Sprintf("the client secret of app %s %s", a.Name, ends(a.SecretExpires, now)),
		Next: fmt.Sprintf("make a new one under Certificates & secrets of the app registration and enter its Value: postern apps secret %s --expires YYYY-MM-DD", a.Name),
	}}
}

// ends says that something ends, or has.
func ends(at, now time.Time) string {
	word := "ends"
	if !now.Before(at) {
		word = "ended"
	}
	return word + " on " + at.UTC().Format(time.DateOnly)
}

// grantEnds is when a sign-in lapses for want of use. The keeper uses each in time, so
// that only what it cannot, or could not, keep alive is told.
func grantEnds(acct Account, at, now time.Time) []Expiry {
	if !acct.paused() && stageAt(at, now) == Far {
		return nil
	}
	e := Expiry{Kind: "grant", Subject: acct.Name, At: at, Next: acct.next(NeedsSignIn, "")}
	who := fmt.Sprintf("the sign-in of account %s (%s)", acct.Name, acct.Mailbox)
	switch on := at.UTC().Format(time.DateOnly); {
	case !now.Before(at):
		e.Text = who + " was not used for 90 days and lapsed on " + on
	case acct.paused():
		e.Text = who + " is paused and lapses on " + on + " when nobody mends it before"
		e.Next = acct.next(acct.State, "")
	default:
		e.Text = who + " has not been refreshed for long and lapses on " + on
		e.Next = "see that Postern runs and reaches Microsoft: postern check " + acct.Name
	}
	return []Expiry{e}
}

// passwordEnds is what Microsoft has said of the servers that an account shows its app
// password to. A server that is not Microsoft's has no end.
func passwordEnds(acct Account, app App, retirements []catalogue.Retirement, now time.Time) []Expiry {
	var all []Expiry
	for _, to := range []struct {
		purpose        Purpose
		protocol, host string
	}{
		{Send, catalogue.SMTP, app.Cloud.SMTP.Host}, {IMAP, catalogue.IMAP, app.Cloud.IMAP.Host}, {POP3, catalogue.POP3, app.Cloud.POP3.Host},
	} {
		r, ok := catalogue.NextRetirement(retirements, to.protocol, to.host, now)
		if !ok || !acct.May(to.purpose) {
			continue
		}
		all = append(all, Expiry{
			Kind: "app_password", Subject: acct.Name, At: r.Ends, part: to.protocol,
			Text:   fmt.Sprintf("account %s (%s) signs in by app password: %s", acct.Name, acct.Mailbox, r.Says),
			Next:   fmt.Sprintf("let it sign in with Microsoft: sign_in: delegated, then: postern signin %s", acct.Name),
			Source: fmt.Sprintf("%s (%s, %s)", r.Source, r.Dated, r.Certainty),
		})
	}
	return all
}

// Alert is something a person must hear of once.
type Alert struct {
	Kind    string // account_paused, account_works, expiring
	Subject string // the account or app
	Text    string // what happened, the peer's words included
	Next    string // what to do
	At      time.Time
}

// radarEvery is how often the radar turns. Its shortest stage has days.
const radarEvery = time.Hour

// watch raises the radar's alerts, now and every hour, until ctx ends.
func (v *Vault) watch(ctx context.Context) {
	for ctx.Err() == nil {
		v.radarPass(ctx)
		_ = pauseFor(ctx, radarEvery) // the loop asks
	}
}

// radarPass alerts of every end that has come a stage nearer. What cannot be written
// down is not alerted now but by the next pass.
func (v *Vault) radarPass(ctx context.Context) {
	if v.alert == nil {
		return
	}
	all, err := v.Radar(ctx)
	if err != nil {
		if ctx.Err() == nil {
			v.log.WarnContext(ctx, "no look at what expires", "error", err)
		}
		return
	}
	for _, e := range all {
		first, err := v.heard(ctx, e)
		switch {
		case err != nil && ctx.Err() == nil:
			v.log.WarnContext(ctx, "an expiry was not noted", "expiry", e.Kind, "subject", e.Subject, "error", err)
		case first:
			v.tell(ctx, Alert{Kind: "expiring", Subject: e.Subject, Text: e.Text, Next: e.Next})
		}
	}
}

// heard notes the stage of an end, and reports whether it is news: to this process, and
// to no other that shares the store. Each end has one note, which says what was last
// told of it, so that notes do not pile up; another date begins anew. Noted before it is
// told: who dies in between leaves a stage untold, and the next one is told again.
func (v *Vault) heard(ctx context.Context, e Expiry) (first bool, err error) {
	if e.Stage == Far {
		return false, nil
	}
	key := "radar." + e.ID()
	kept, err := v.store.PutSettingOnce(ctx, key, nil) // a blank note is nobody's: the swap decides
	if err != nil {
		return false, err
	}
	date := e.At.UTC().Format(time.RFC3339)
	if was, stage, _ := strings.Cut(string(kept), " "); was == date && !e.Stage.later(Stage(stage)) {
		return false, nil
	}
	err = v.store.SwapSetting(ctx, key, kept, []byte(date+" "+string(e.Stage)))
	if errors.Is(err, fault.Conflict) { // another node was first
		return false, nil
	}
	return err == nil, err
}
