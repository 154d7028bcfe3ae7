package mail_test

import (
	"encoding/json"
	"testing"

	"postern/internal/mail"
)

func TestServerRoundTrip(t *testing.T) {
	t.Parallel()
	for _, s := range []mail.Server{{}, {Host: "h", Port: 587, TLS: mail.STARTTLS}, {Host: "::1", Port: 1, TLS: mail.Plain}} {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back mail.Server
		if err := json.Unmarshal(b, &back); err != nil || back != s {
			t.Errorf("%s came back as %+v, %v", b, back, err)
		}
	}
	var m mail.TLSMode
	if m.UnmarshalText([]byte("ssl")) == nil {
		t.Error("ssl is no mode")
	}
	if got := (mail.Server{Host: "::1", Port: 993}).Address(); got != "[::1]:993" {
		t.Errorf("got %s", got)
	}
}
