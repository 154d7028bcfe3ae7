package webhook_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/webhook"
)

func TestMetadataServicesAreRefused(t *testing.T) {
	t.Parallel()
	for _, host := range []string{
		"169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "169.254.170.2", "100.100.100.200", "168.63.129.16",
		"[fd00:ec2::254]", "0.0.0.0", "[::]", "224.0.0.1",
	} {
		if err := webhook.CheckHost(host); !errors.Is(err, fault.NeedsAdmin) || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", host, err)
		}
		by := &http.Transport{}
		webhook.Guard(by)
		if c, err := by.DialContext(t.Context(), "tcp", host+":80"); !errors.Is(err, fault.NeedsAdmin) {
			t.Errorf("connecting to %s: %v, %v", host, c, err)
		}
		_, err := webhook.Post(t.Context(), nil, webhook.Call{Address: "http://" + host + "/latest/meta-data", At: time.Now()})
		if !errors.Is(err, fault.NeedsAdmin) {
			t.Errorf("posting to %s: %v", host, err)
		}
	}
	for _, host := range []string{"10.0.0.1", "127.0.0.1", "[::1]", "receiver.example"} {
		if err := webhook.CheckHost(host); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}
