package login

import "net/http"

// meanings is the table of the AADSTS numbers that the simulator can cause by
// itself, and those that tests like to inject. Texts are Microsoft's, with %s
// where theirs names the app, tenant or user.
func meanings() map[int]meaning {
	return map[int]meaning{
		// The app's credential.
		7000215: {"invalid_client", http.StatusUnauthorized, "", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'."},
		7000216: {"invalid_client", http.StatusUnauthorized, "", "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type."},
		7000218: {"invalid_client", http.StatusUnauthorized, "", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."},
		7000222: {"invalid_client", http.StatusUnauthorized, "", "The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds."},
		700025:  {"invalid_client", http.StatusUnauthorized, "", "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."},
		700021:  {"invalid_client", http.StatusUnauthorized, "", "Client assertion application identifier doesn't match 'client_id' parameter. Review the documentation at https://docs.microsoft.com/en-us/azure/active-directory/develop/active-directory-certificate-credentials."},
		700024:  {"invalid_client", http.StatusUnauthorized, "", "Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s."},
		700027:  {"invalid_client", http.StatusUnauthorized, "", "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - %s]"},
		50012:   {"invalid_client", http.StatusUnauthorized, "", "Client assertion audience claim does not match Realm issuer."},
		50048:   {"invalid_client", http.StatusUnauthorized, "", "Subject must match Issuer claim in the client assertion."},

		// The app and the tenant.
		700016:  {"unauthorized_client", 0, "", "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."},
		7000112: {"unauthorized_client", 0, "", "Application '%s'(%s) is disabled."},
		7000229: {"unauthorized_client", 0, "", "The client application %s is missing service principal in the tenant %s. See instructions here: https://go.microsoft.com/fwlink/?linkid=2225119"},
		90002:   {"invalid_request", 0, "", "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."},
		50059:   {"invalid_request", 0, "", "No tenant-identifying information found in either the request or implied by any provided credentials."},
		50194:   {"unauthorized_client", 0, "", "Application '%s'(%s) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps created after '10/15/2018'. Use a tenant-specific endpoint or configure the application to be multi-tenant."},
		9001023: {"invalid_request", 0, "", "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint."},
		500011:  {"invalid_resource", 0, "", "The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant."},
		650056:  {"invalid_client", 0, "", "Misconfigured application. This could be due to one of the following: the client has not listed any permissions for '%s' in the requested permissions in the client's application registration, or the admin has not consented in the tenant. Please contact your admin to fix the configuration or consent on behalf of the tenant."},

		// The request.
		50011:   {"invalid_request", 0, "", "The redirect URI '%s' specified in the request does not match the redirect URIs configured for the application '%s'. Make sure the redirect URI sent in the request matches one added to your application in the Azure portal. Navigate to https://aka.ms/redirectUriMismatchError to learn more about how to fix this."},
		500112:  {"invalid_client", http.StatusUnauthorized, "", "The reply address '%s' does not match the reply address '%s' provided when requesting Authorization code."},
		500113:  {"invalid_request", 0, "", "No reply address is registered for the application."},
		900144:  {"invalid_request", 0, "", "The request body must contain the following parameter: '%s'."},
		900561:  {"invalid_request", http.StatusMethodNotAllowed, "", "The endpoint only accepts POST requests. Received a %s request."},
		90023:   {"invalid_request", 0, "", "The value of the parameter '%s' is not valid."},
		70003:   {"unsupported_grant_type", 0, "", "The app requested an unsupported grant type '%s'."},
		70005:   {"unsupported_response_type", 0, "", "The app requested an unsupported response type '%s'."},
		70007:   {"invalid_request", 0, "", "'%s' is not a supported value of 'response_mode' when requesting a token."},
		70011:   {"invalid_scope", 0, "", "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope %s is not valid."},
		700022:  {"invalid_scope", 0, "", "The provided value for the input parameter 'scope' is not valid because it contains more than one resource. Scope %s is not valid."},
		1002012: {"invalid_scope", 0, "", "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."},
		501491:  {"invalid_request", 0, "", "Invalid size of Code_Challenge parameter."},
		9002313: {"invalid_grant", 0, "bad_token", "Invalid request. Request is malformed or invalid."},

		// Codes and refresh tokens.
		501481: {"invalid_grant", 0, "", "The Code_Verifier does not match the code_challenge supplied in the authorization request."},
		54005:  {"invalid_grant", 0, "", "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."},
		700005: {"invalid_grant", 0, "", "Provided Authorization Code is intended to use against other tenant, thus rejected."},
		70000:  {"invalid_grant", 0, "bad_token", "Provided grant is invalid or malformed."},
		70008:  {"invalid_grant", 0, "token_expired", "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource."},
		700082: {"invalid_grant", 0, "token_expired", "The refresh token has expired due to inactivity. The token was issued on %s and was inactive for %s."},
		50173:  {"invalid_grant", 0, "bad_token", "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password. The grant was issued on '%s' and the TokensValidFrom date (before which tokens are not valid) for this user is '%s'."},
		50089:  {"invalid_grant", 0, "", "Authentication failed due to flow token expired."},
		70043:  {"invalid_grant", 0, "token_expired", "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access."},

		// Consent.
		65001: {"invalid_grant", 0, "consent_required", "The user or administrator has not consented to use the application with ID '%s' named '%s'. Send an interactive authorization request for this user and resource."},
		65004: {"access_denied", 0, "", "User declined to consent to access the app."},
		90094: {"access_denied", 0, "", "%s needs permission to access resources in your organization that only an admin can grant. Please ask an admin to grant permission to this app before you can use it."},

		// The user.
		50020:  {"invalid_grant", 0, "", "User account '%s' from identity provider 'https://sts.windows.net/%s/' does not exist in tenant '%s' and cannot access the application '%s'(%s) in that tenant. The account needs to be added as an external user in the tenant first. Sign out and sign in again with a different Azure Active Directory user account."},
		50034:  {"invalid_grant", 0, "", "The user account {EUII Hidden} does not exist in the %s directory. To sign into this application, the account must be added to the directory."},
		50053:  {"invalid_grant", 0, "", "The account is locked, you've tried to sign in too many times with an incorrect user ID or password."},
		50057:  {"invalid_grant", 0, "", "The user account is disabled."},
		50058:  {"login_required", 0, "", "A silent sign-in request was sent but no user is signed in."},
		50126:  {"invalid_grant", 0, "", "Error validating credentials due to invalid username or password."},
		500208: {"invalid_grant", 0, "", "The domain is not a valid login domain for the account type."},

		// MFA and Conditional Access.
		50076:  {"invalid_grant", 0, "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '%s'."},
		53003:  {"invalid_grant", 0, "message_only", "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."},
		530035: {"invalid_grant", 0, "message_only", "Access has been blocked by security defaults. The request is deemed unsafe by security defaults policies."},

		// Device code.
		70016: {"authorization_pending", 0, "", "OAuth 2.0 device flow error. Authorization is pending. Continue polling."},
		70017: {"authorization_declined", 0, "", "OAuth 2.0 device flow error. The end user denied the authorization request."},
		70018: {"bad_verification_code", 0, "", "The device code provided is not valid."},
		70019: {"expired_token", 0, "", "Verification code expired. Please start a new device code flow."},

		// Transient.
		50196: {"invalid_grant", 0, "", "The server terminated an operation because it encountered a client request loop. Please contact your app vendor."},
		90033: {"temporarily_unavailable", http.StatusServiceUnavailable, "", "A transient error has occurred. Please try again."},
		90055: {"temporarily_unavailable", http.StatusTooManyRequests, "", "The tenant is throttled because there are too many incoming requests."},
	}
}
