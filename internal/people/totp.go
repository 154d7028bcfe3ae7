package people

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"image/png"
	"slices"
	"strings"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"postern/internal/fault"
	"postern/internal/secret"
)

// The one-time codes that every authenticator app makes (RFC 6238): SHA-1, six
// digits, thirty seconds. One interval before and after the present is taken.
const (
	interval      = 30
	skew          = 1
	recoveryCodes = 10
	issuer        = "Postern"
	pictureSide   = 240
)

// Offer is a secret that an authenticator app may take, in three forms.
type Offer struct {
	Secret  secret.Text // to type
	Address secret.Text // otpauth://…, to open
	Picture string      // data: address of its QR code, a PNG; as secret as the others
}

// OfferTOTP makes a secret for a user, which is the user's once [Registry.ConfirmTOTP] took it.
func (r *Registry) OfferTOTP(u User) (Offer, error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: u.Name})
	if err != nil {
		return Offer{}, fault.Wrap(fault.Permanent, "make a one-time code's secret", err)
	}
	return offer(key)
}

// SameOffer is the offer of a secret that was made before, for a form that comes back.
func (r *Registry) SameOffer(u User, clear secret.Text) (Offer, error) {
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(clear.Reveal())
	if err != nil || len(raw) < 16 || len(raw) > 64 {
		return Offer{}, fault.New(fault.Invalid, "read the one-time code's secret", "it is none of ours").WithHint("begin again")
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: u.Name, Secret: raw})
	if err != nil {
		return Offer{}, fault.Wrap(fault.Invalid, "read the one-time code's secret", err)
	}
	return offer(key)
}

func offer(key *otp.Key) (Offer, error) {
	img, err := key.Image(pictureSide, pictureSide)
	if err != nil {
		return Offer{}, fault.Wrap(fault.Permanent, "draw a QR code", err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return Offer{}, fault.Wrap(fault.Permanent, "draw a QR code", err)
	}
	return Offer{
		Secret: secret.New(key.Secret()), Address: secret.New(key.URL()),
		Picture: "data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes()),
	}, nil
}

// matches finds the interval around now whose code this is.
func (r *Registry) matches(clear secret.Text, code string) (step int64, ok bool) {
	now := r.Now().Unix() / interval
	for _, step := range []int64{now, now - skew, now + skew} {
		want, err := hotp.GenerateCode(clear.Reveal(), uint64(step)) //nolint:gosec // no clock stands before 1970
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return step, true
		}
	}
	return 0, false
}

func kept(u User) string { return "totp." + u.ID }

// ConfirmTOTP turns one-time codes on for somebody whose app shows the right code, and
// returns the recovery codes, which are shown this once.
func (r *Registry) ConfirmTOTP(ctx context.Context, who string, u User, clear secret.Text, code string) ([]secret.Text, error) {
	if u.Hash == "" {
		return nil, fault.New(fault.Invalid, "turn one-time codes on", "%s logs in elsewhere, where codes are asked for too", u.Name)
	}
	if _, err := r.SameOffer(u, clear); err != nil {
		return nil, err
	}
	step, ok := r.matches(clear, digits(code))
	if !ok {
		return nil, mistake(fault.Denied, "code", "this is not the code of this moment; is the clock of your device right?")
	}
	if u.TOTP {
		return nil, fault.New(fault.Conflict, "turn one-time codes on", "they are on already").WithHint("turn them off first")
	}
	if err := r.Secrets.KeepSecret(ctx, kept(u), clear); err != nil {
		return nil, err
	}
	codes, hashes := newRecovery()
	return codes, r.changed(ctx, who, "turn one-time codes on", u.ID, func(u *User, _ []User) error {
		u.TOTP, u.Step, u.Recovery = true, step, hashes
		return nil
	})
}

// EndTOTP turns one-time codes off. Whoever does it proved to be allowed to.
func (r *Registry) EndTOTP(ctx context.Context, who string, u User) error {
	err := r.changed(ctx, who, "turn one-time codes off", u.ID, func(u *User, _ []User) error {
		u.TOTP, u.Step, u.Recovery = false, 0, nil
		return nil
	})
	if err != nil {
		return err
	}
	return r.Secrets.KeepSecret(ctx, kept(u), secret.Text{})
}

// NewRecovery makes ten recovery codes in place of the ones before.
func (r *Registry) NewRecovery(ctx context.Context, who string, u User) ([]secret.Text, error) {
	codes, hashes := newRecovery()
	return codes, r.changed(ctx, who, "make new recovery codes", u.ID, func(u *User, _ []User) error {
		if !u.TOTP {
			return fault.New(fault.Conflict, "make recovery codes", "one-time codes are off")
		}
		u.Recovery = hashes
		return nil
	})
}

// useCode takes a one-time code or a recovery code, each of them once and on all nodes.
func (r *Registry) useCode(ctx context.Context, u User, code string) error {
	wrong := mistake(fault.Denied, "code", "the code is wrong, or was used already")
	if typed := digits(code); len(typed) == 6 {
		clear, err := r.Secrets.KeptSecret(ctx, kept(u))
		if err != nil {
			return err
		}
		step, ok := r.matches(clear, typed)
		if clear.Empty() || !ok {
			return wrong
		}
		_, _, err = r.Store.ChangeUser(ctx, u.ID, func(u *User, _ []User) error {
			if !u.TOTP || step <= u.Step {
				return wrong
			}
			u.Step = step
			return nil
		})
		return err
	}
	given := recoveryHash(code)
	_, after, err := r.Store.ChangeUser(ctx, u.ID, func(u *User, _ []User) error {
		i := slices.Index(u.Recovery, given)
		if !u.TOTP || i < 0 {
			return wrong
		}
		u.Recovery = slices.Delete(slices.Clone(u.Recovery), i, i+1)
		return nil
	})
	if err != nil {
		return err
	}
	r.Log.WarnContext(ctx, "a recovery code was used", "user", u.Name, "left", len(after.Recovery))
	return r.Audit(ctx, Deed{Who: u.Who(), What: "use a recovery code", Subject: u.Name})
}

// digits is a code without the blanks that apps show in it.
func digits(code string) string { return strings.Join(strings.Fields(code), "") }

var recoveryAlphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newRecovery makes codes of 80 random bits, in groups of four letters.
func newRecovery() (codes []secret.Text, hashes []string) {
	for range recoveryCodes {
		var b [10]byte
		_, _ = rand.Read(b[:]) // never fails since Go 1.24
		t := recoveryAlphabet.EncodeToString(b[:])
		code := t[:4] + "-" + t[4:8] + "-" + t[8:12] + "-" + t[12:]
		codes, hashes = append(codes, secret.New(code)), append(hashes, recoveryHash(code))
	}
	return codes, hashes
}

func recoveryHash(code string) string {
	return hash(secret.New(strings.ReplaceAll(strings.ToLower(digits(code)), "-", "")))
}
