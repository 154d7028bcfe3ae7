package login

import (
	"maps"
	"net/http"
)

// meanings is what the simulator can say of AADSTS numbers: all that the catalogue
// knows, so that a fault can be armed for each, and a few more. Texts are Microsoft's,
// with %s where theirs names the app, tenant or user. The OAuth values are those seen
// in the wild, which do not always fit: passing trouble and the app's own faults come
// as invalid_grant too.
func meanings() map[int]meaning {
	all := map[int]meaning{}
	for _, part := range parts() {
		maps.Copy(all, part)
	}
	return all
}

func parts() []map[int]meaning {
	return []map[int]meaning{
		ofCredentials(), ofApps(), ofRequests(), ofGrants(), ofConsent(), ofUsers(), ofPolicies(), ofDevices(), ofPassing(),
	}
}

// ofCredentials: what is wrong with the app's secret or certificate.
func ofCredentials() map[int]meaning {
	return map[int]meaning{
		7000215: {"invalid_client", http.StatusUnauthorized, "", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'."},
		7000216: {"invalid_client", http.StatusUnauthorized, "", "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type."},
		7000218: {"invalid_client", http.StatusUnauthorized, "", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."},
		7000222: {"invalid_client", http.StatusUnauthorized, "", "The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds."},
		70002:   {"invalid_client", http.StatusUnauthorized, "", "Error validating credentials. The specified client_secret does not match the expected value for this client."},
		700021:  {"invalid_client", http.StatusUnauthorized, "", "Client assertion application identifier doesn't match 'client_id' parameter. Review the documentation at https://docs.microsoft.com/en-us/azure/active-directory/develop/active-directory-certificate-credentials."},
		700024:  {"invalid_client", http.StatusUnauthorized, "", "Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s."},
		700025:  {"invalid_client", http.StatusUnauthorized, "", "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."},
		700027:  {"invalid_client", http.StatusUnauthorized, "", "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - %s]"},
		700030:  {"invalid_client", http.StatusUnauthorized, "", "Invalid certificate. The subject name '%s' in the certificate isn't authorized. The trusted issuer or subject name must match."},
		50012:   {"invalid_client", http.StatusUnauthorized, "", "Client assertion audience claim does not match Realm issuer."},
		50013:   {"invalid_grant", 0, "", "Assertion failed signature validation. [Reason - %s]"},
		500133:  {"invalid_grant", 0, "", "Assertion is not within its valid time range. Ensure that the access token is not expired before using it for user assertion, or request a new token."},
		50048:   {"invalid_client", http.StatusUnauthorized, "", "Subject must match Issuer claim in the client assertion."},
		50003:   {"invalid_client", http.StatusUnauthorized, "", "No signing key is configured for the application."},
		50146:   {"invalid_client", http.StatusUnauthorized, "", "This application is required to be configured with an application-specific signing key. It is either not configured with one, or the key has expired or is not yet valid."},
	}
}

// ofApps: which app, in which tenant, for which service.
func ofApps() map[int]meaning {
	return map[int]meaning{
		700016:  {"unauthorized_client", 0, "", "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."},
		700011:  {"unauthorized_client", 0, "", "Application with identifier '%s' was not found in the directory. Please verify your application registration."},
		70001:   {"unauthorized_client", 0, "", "The application named %s is disabled."},
		7000112: {"unauthorized_client", 0, "", "Application '%s'(%s) is disabled."},
		7000229: {"unauthorized_client", 0, "", "The client application %s is missing service principal in the tenant %s. See instructions here: https://go.microsoft.com/fwlink/?linkid=2225119"},
		90002:   {"invalid_request", 0, "", "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."},
		90038:   {"invalid_request", 0, "", "Tenant '%s' request is being redirected to the National Cloud '%s'."},
		900382:  {"invalid_request", 0, "", "Confidential Client is not supported in Cross Cloud request."},
		50059:   {"invalid_request", 0, "", "No tenant-identifying information found in either the request or implied by any provided credentials."},
		90019:   {"invalid_request", 0, "", "No tenant-identifying information found in either the request or implied by any provided credentials. Check that the tenant is part of the address."},
		50128:   {"invalid_grant", 0, "", "Invalid domain name. No tenant-identifying information found in either the request or implied by any provided credentials."},
		50194:   {"unauthorized_client", 0, "", "Application '%s'(%s) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps created after '10/15/2018'. Use a tenant-specific endpoint or configure the application to be multi-tenant."},
		9001023: {"invalid_request", 0, "", "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint."},
		90130:   {"invalid_request", 0, "", "Application '%s' (%s) is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint."},
		90124:   {"invalid_request", 0, "", "Resource '%s' (%s) is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint."},
		9002332: {"invalid_request", 0, "", "Application '%s'(%s) is configured for use by Azure Active Directory users only. Please do not use the /consumers endpoint to serve this request."},
		500011:  {"invalid_resource", 0, "", "The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant."},
		50001:   {"invalid_resource", 0, "", "The resource principal named %s is disabled or does not exist. Check your app's code to ensure that you have specified the exact resource URL for the resource you are trying to access."},
		650052:  {"invalid_client", 0, "", "The app is trying to access a service '%s' that your organization '%s' lacks a service principal for. Contact your IT Admin to review the configuration of your service subscriptions or consent to the application in order to create the required service principal."},
		650056:  {"invalid_client", 0, "", "Misconfigured application. This could be due to one of the following: the client has not listed any permissions for '%s' in the requested permissions in the client's application registration, or the admin has not consented in the tenant. Please contact your admin to fix the configuration or consent on behalf of the tenant."},
		650057:  {"invalid_resource", 0, "", "Invalid resource. The client has requested access to a resource which is not listed in the requested permissions in the client's application registration. Client app ID: %s. Resource value from request: '%s'."},
		65002:   {"invalid_grant", 0, "", "Consent between first party application '%s' and first party resource '%s' must be configured via preauthorization - applications owned and operated by Microsoft must get approval from the API owner before requesting tokens for that API."},
	}
}

// ofRequests: how it was asked.
func ofRequests() map[int]meaning {
	return map[int]meaning{
		50011:   {"invalid_request", 0, "", "The redirect URI '%s' specified in the request does not match the redirect URIs configured for the application '%s'. Make sure the redirect URI sent in the request matches one added to your application in the Azure portal. Navigate to https://aka.ms/redirectUriMismatchError to learn more about how to fix this."},
		500112:  {"invalid_client", http.StatusUnauthorized, "", "The reply address '%s' does not match the reply address '%s' provided when requesting Authorization code."},
		500113:  {"invalid_request", 0, "", "No reply address is registered for the application."},
		900971:  {"invalid_request", 0, "", "No reply address provided."},
		70004:   {"invalid_request", 0, "", "The application requested an invalid redirect URI '%s'."},
		90014:   {"invalid_request", 0, "", "The required field '%s' is missing from the credential. Ensure that you have all the necessary parameters for the login request."},
		900144:  {"invalid_request", 0, "", "The request body must contain the following parameter: '%s'."},
		9002313: {"invalid_grant", 0, "bad_token", "Invalid request. Request is malformed or invalid."},
		90023:   {"invalid_request", 0, "", "The value of the parameter '%s' is not valid."},
		90100:   {"invalid_request", 0, "", "The parameter '%s' is empty or not valid."},
		90004:   {"invalid_request", 0, "", "The request is not properly formatted."},
		900561:  {"invalid_request", http.StatusMethodNotAllowed, "", "The endpoint only accepts POST requests. Received a %s request."},
		70003:   {"unsupported_grant_type", 0, "", "The app requested an unsupported grant type '%s'."},
		70005:   {"unsupported_response_type", 0, "", "The app requested an unsupported response type '%s'."},
		70007:   {"invalid_request", 0, "", "'%s' is not a supported value of 'response_mode' when requesting a token."},
		70011:   {"invalid_scope", 0, "", "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope %s is not valid."},
		28002:   {"invalid_scope", 0, "", "Provided value for the input parameter scope '%s' isn't valid when requesting an access token. Please specify a valid scope."},
		28003:   {"invalid_scope", 0, "", "Provided value for the input parameter scope can't be empty when requesting an access token using the provided authorization code. Please specify a valid scope."},
		700022:  {"invalid_scope", 0, "", "The provided value for the input parameter 'scope' is not valid because it contains more than one resource. Scope %s is not valid."},
		700023:  {"invalid_scope", 0, "", "The provided value for the input parameter 'scope' is not valid because it contains a scope without a resource. Scope %s is not valid."},
		1002012: {"invalid_scope", 0, "", "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."},
		901002:  {"invalid_request", 0, "", "The 'resource' request parameter is not supported."},
		700054:  {"unsupported_response_type", 0, "", "response_type 'id_token' is not enabled for the application."},
		50147:   {"invalid_request", 0, "", "The size of the code challenge parameter is not valid."},
		501491:  {"invalid_request", 0, "", "Invalid size of Code_Challenge parameter."},
		9002327: {"invalid_request", 0, "", "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests."},
	}
}

// ofPassing: trouble that nobody need mend. Much of it comes with a status and a value
// that say something else.
func ofPassing() map[int]meaning {
	return map[int]meaning{
		50033: {"invalid_grant", 0, "", "A transient error has occurred. Please try again."},
		50087: {"invalid_grant", 0, "", "A transient error has occurred during strong authentication. Please try again."},
		90006: {"temporarily_unavailable", http.StatusServiceUnavailable, "", "The service is temporarily unavailable. Please retry later."},
		90012: {"invalid_request", 0, "", "The request to the service timed out."},
		90024: {"temporarily_unavailable", http.StatusServiceUnavailable, "", "The service request budget was exceeded. A transient error has occurred. Please try again."},
		90033: {"temporarily_unavailable", http.StatusServiceUnavailable, "", "A transient error has occurred. Please try again."},
		90090: {"server_error", http.StatusInternalServerError, "", "The service is temporarily unavailable. Please retry the request."},
		70012: {"server_error", http.StatusGatewayTimeout, "", "A server error occurred while authenticating an MSA (consumer) user. Try again."},
		40010: {"temporarily_unavailable", 0, "", "The identity provider did not answer in time. Please try again."},
		50088: {"invalid_grant", 0, "", "Limit on telecom MFA calls reached. Please try again in a few minutes."},
		90055: {"temporarily_unavailable", http.StatusTooManyRequests, "", "The tenant is throttled because there are too many incoming requests."},
		50196: {"invalid_grant", 0, "", "The server terminated an operation because it encountered a client request loop. Please contact your app vendor."},
		80001: {"invalid_grant", 0, "", "Authentication Agent unable to connect to Active Directory. Make sure the authentication agent is installed on a domain-joined machine that has line of sight to a DC that can serve the user's login request."},
		80002: {"invalid_grant", 0, "", "Authentication Agent's password validation request timed out. Check if Active Directory is available and responding to requests from the agents."},
		80005: {"server_error", http.StatusBadGateway, "", "Authentication Agent encountered an unknown error while processing the response."},
		80014: {"invalid_grant", 0, "", "Validation request responded after maximum elapsed time exceeded. Try again."},
		80012: {"invalid_grant", 0, "", "The users attempted to log on outside of the allowed hours (this is specified in AD)."},
		80013: {"invalid_grant", 0, "", "The authentication attempt could not be completed due to time skew between the machine running the authentication agent and AD. Fix time sync issues."},
		50000: {"invalid_request", 0, "", "There was an error issuing a token. Contact support with the trace id of this request."},
		90036: {"invalid_request", 0, "", "An unexpected, non-retryable error stemming from the directory service has occurred."},
		50086: {"invalid_grant", 0, "", "A non-retryable error has occurred."},
	}
}
