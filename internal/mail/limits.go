package mail

// Limits are how much one mailbox may send (Microsoft: reference section 5.1); 0 is
// no limit.
type Limits struct {
	Connections          int `json:"connections,omitempty" yaml:"connections,omitempty"`                       // messages in flight at once
	PerMinute            int `json:"per_minute,omitempty" yaml:"per_minute,omitempty"`                         // messages, in any minute
	RecipientsPerDay     int `json:"recipients_per_day,omitempty" yaml:"recipients_per_day,omitempty"`         // in any 24 hours
	RecipientsPerMessage int `json:"recipients_per_message,omitempty" yaml:"recipients_per_message,omitempty"` // more go in several messages
}

// MicrosoftLimits are those of a mailbox in Exchange Online.
func MicrosoftLimits() Limits {
	return Limits{Connections: 3, PerMinute: 30, RecipientsPerDay: 10_000, RecipientsPerMessage: 500}
}

// Bounded reports whether anything of what goes out must be counted.
func (l Limits) Bounded() bool { return l.PerMinute > 0 || l.RecipientsPerDay > 0 }
