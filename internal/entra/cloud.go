package entra

import (
	"fmt"
	"strings"

	"postern/internal/mail"
)

// Cloud is one Microsoft cloud, or a stand-in for one: where to sign in, which
// resources name the scopes, and where the mail servers are. Tokens are never
// exchangeable between clouds.
type Cloud struct {
	Name string `json:"name"` // global, usgov, dod, china, custom

	// Authority is the sign-in host, "https://login.microsoftonline.com".
	// Metadata is read from {authority}/{tenant}/v2.0/.well-known/openid-configuration,
	// or from Authority itself when it already ends in openid-configuration.
	Authority string `json:"authority"`
	Portal    string `json:"portal,omitempty"` // https://portal.azure.com, for links only

	Outlook string `json:"outlook"`  // resource of the delegated mail scopes: https://outlook.office.com
	AppOnly string `json:"app_only"` // resource of client credentials for mail: https://outlook.office365.com
	Graph   string `json:"graph"`    // https://graph.microsoft.com; also the base of its requests

	SMTP mail.Server `json:"smtp"`
	HVE  mail.Server `json:"hve"`
	IMAP mail.Server `json:"imap"`
	POP3 mail.Server `json:"pop3"`

	// HVEScope is the delegated scope of High Volume Email on Outlook, which Microsoft
	// does not document (reference section 10); "" is SMTP.Send.
	HVEScope string `json:"hve_scope,omitempty"`

	// CA is a PEM bundle trusted beside the system's, for every host above.
	CA string `json:"ca,omitempty"`
}

// Custom is the name of a cloud whose hosts the operator gives.
const Custom = "custom"

// CloudNames lists what [CloudByName] knows, the default first.
func CloudNames() []string { return []string{"global", "usgov", "dod", "china"} }

// CloudByName returns a preset of reference section 2.8. The DoD and China mail
// hosts are known from third parties only; an operator may override any of them
// with a custom cloud.
func CloudByName(name string) (Cloud, error) {
	starttls := func(host string) mail.Server { return mail.Server{Host: host, Port: 587, TLS: mail.STARTTLS} }
	imap := func(host string) mail.Server { return mail.Server{Host: host, Port: 993, TLS: mail.Implicit} }
	pop := func(host string) mail.Server { return mail.Server{Host: host, Port: 995, TLS: mail.Implicit} }
	switch name {
	case "", "global":
		return Cloud{
			Name: "global", Authority: "https://login.microsoftonline.com", Portal: "https://portal.azure.com",
			Outlook: "https://outlook.office.com", AppOnly: "https://outlook.office365.com", Graph: "https://graph.microsoft.com",
			SMTP: starttls("smtp.office365.com"), HVE: starttls("smtp-hve.office365.com"),
			IMAP: imap("outlook.office365.com"), POP3: pop("outlook.office365.com"),
		}, nil
	case "usgov":
		return Cloud{
			Name: "usgov", Authority: "https://login.microsoftonline.us", Portal: "https://portal.azure.us",
			Outlook: "https://outlook.office365.us", AppOnly: "https://outlook.office365.us", Graph: "https://graph.microsoft.us",
			SMTP: starttls("outlook.office365.us"), IMAP: imap("outlook.office365.us"), POP3: pop("outlook.office365.us"),
		}, nil
	case "dod":
		return Cloud{
			Name: "dod", Authority: "https://login.microsoftonline.us", Portal: "https://portal.azure.us",
			Outlook: "https://outlook-dod.office365.us", AppOnly: "https://outlook-dod.office365.us", Graph: "https://dod-graph.microsoft.us",
			SMTP: starttls("outlook-dod.office365.us"), IMAP: imap("outlook-dod.office365.us"), POP3: pop("outlook-dod.office365.us"),
		}, nil
	case "china":
		return Cloud{
			Name: "china", Authority: "https://login.partner.microsoftonline.cn", Portal: "https://portal.azure.cn",
			Outlook: "https://partner.outlook.cn", AppOnly: "https://partner.outlook.cn", Graph: "https://microsoftgraph.chinacloudapi.cn",
			SMTP: starttls("smtp.partner.outlook.cn"), IMAP: imap("partner.outlook.cn"), POP3: pop("partner.outlook.cn"),
		}, nil
	}
	return Cloud{}, fmt.Errorf("%q is not a cloud; allowed: %s, %s", name, strings.Join(CloudNames(), ", "), Custom)
}
