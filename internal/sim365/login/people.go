package login

// ofGrants: codes and refresh tokens.
func ofGrants() map[int]meaning {
	return map[int]meaning{
		501481: {"invalid_grant", 0, "", "The Code_Verifier does not match the code_challenge supplied in the authorization request."},
		54005:  {"invalid_grant", 0, "", "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."},
		700005: {"invalid_grant", 0, "", "Provided Authorization Code is intended to use against other tenant, thus rejected."},
		70000:  {"invalid_grant", 0, "bad_token", "Provided grant is invalid or malformed."},
		70008:  {"invalid_grant", 0, "token_expired", "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource."},
		700082: {"invalid_grant", 0, "token_expired", "The refresh token has expired due to inactivity. The token was issued on %s and was inactive for %s."},
		700084: {"invalid_grant", 0, "token_expired", "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of %s, which can't be extended. It is now expired and a new sign in request must be sent by the SPA to the sign in page."},
		70043:  {"invalid_grant", 0, "token_expired", "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access."},
		50173:  {"invalid_grant", 0, "bad_token", "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password. The grant was issued on '%s' and the TokensValidFrom date (before which tokens are not valid) for this user is '%s'."},
		50089:  {"invalid_grant", 0, "", "Authentication failed due to flow token expired."},
		50132:  {"invalid_grant", 0, "", "The session is not valid due to the following reasons: password expiration or recent password change, SSO Artifact is invalid or expired, session is not fresh enough for application."},
		50133:  {"invalid_grant", 0, "", "The session is not valid due to password expiration or recent password change."},
		50085:  {"invalid_grant", 0, "", "Refresh token needs social IDP login. Have user try signing-in again with username -password."},
		700020: {"interaction_required", 0, "", "Interaction is required. The user must sign in at the sign-in page."},
		16000:  {"interaction_required", 0, "", "User account '%s' from identity provider '%s' does not exist in the tenant and cannot access the application. The account needs to be added as an external user in the tenant first. Sign out and sign in again with a different Azure Active Directory user account."},
	}
}

// ofConsent: what nobody has agreed to.
func ofConsent() map[int]meaning {
	return map[int]meaning{
		65001: {"invalid_grant", 0, "consent_required", "The user or administrator has not consented to use the application with ID '%s' named '%s'. Send an interactive authorization request for this user and resource."},
		65004: {"access_denied", 0, "", "User declined to consent to access the app."},
		65005: {"invalid_client", 0, "", "The application '%s' asked for permissions to access a resource that is not in the application's required resource access list."},
		90094: {"access_denied", 0, "", "%s needs permission to access resources in your organization that only an admin can grant. Please ask an admin to grant permission to this app before you can use it."},
		90095: {"interaction_required", 0, "", "Admin consent is required for the permissions requested by this application. An admin consent request may be sent to the admin."},
		90008: {"unauthorized_client", 0, "", "The user or administrator has not consented to use the application with ID '%s'. This happened because the application is misconfigured: it must require access to Windows Azure Active Directory by specifying at least 'Sign in and read user profile' permission."},
	}
}

// ofUsers: who signs in, and with which password.
func ofUsers() map[int]meaning {
	return map[int]meaning{
		50020:  {"invalid_grant", 0, "", "User account '%s' from identity provider 'https://sts.windows.net/%s/' does not exist in tenant '%s' and cannot access the application '%s'(%s) in that tenant. The account needs to be added as an external user in the tenant first. Sign out and sign in again with a different Azure Active Directory user account."},
		50034:  {"invalid_grant", 0, "", "The user account {EUII Hidden} does not exist in the %s directory. To sign into this application, the account must be added to the directory."},
		51004:  {"invalid_grant", 0, "", "The user account {EUII Hidden} does not exist in the %s directory. To sign into this application, the account must be added to the directory."},
		50014:  {"invalid_grant", 0, "", "The guest account exists, and the invitation has not been redeemed yet."},
		50053:  {"invalid_grant", 0, "", "The account is locked, you've tried to sign in too many times with an incorrect user ID or password."},
		50055:  {"invalid_grant", 0, "user_password_expired", "The password is expired."},
		50144:  {"invalid_grant", 0, "user_password_expired", "The user's Active Directory password has expired. Generate a new password for the user or have the end user use the self-service reset tool."},
		50056:  {"invalid_grant", 0, "", "Invalid or null password: password does not exist in the directory for this user. The user should be asked to enter their password again."},
		50057:  {"invalid_grant", 0, "", "The user account is disabled."},
		50126:  {"invalid_grant", 0, "", "Error validating credentials due to invalid username or password."},
		50064:  {"invalid_grant", 0, "", "Credential validation has failed on username or password."},
		50105:  {"invalid_grant", 0, "", "Your administrator has configured the application %s ('%s') to block users unless they are specifically granted ('assigned') access to the application. The signed in user is blocked because they are not a direct member of a group with access, nor had access directly assigned by an administrator. Please contact your administrator to assign access to this application."},
		500208: {"invalid_grant", 0, "", "The domain is not a valid login domain for the account type."},
		90072:  {"invalid_grant", 0, "", "User account '%s' from identity provider '%s' does not exist in tenant '%s' and cannot access the application '%s'(%s) in that tenant. The account needs to be added as an external user in the tenant first."},
	}
}

// ofPolicies: second factors, Conditional Access, devices. Entra gives the same number
// now as invalid_grant and now as interaction_required.
func ofPolicies() map[int]meaning {
	return map[int]meaning{
		50058:  {"login_required", 0, "", "A silent sign-in request was sent but no user is signed in."},
		50072:  {"invalid_grant", 0, "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access '%s'."},
		50079:  {"interaction_required", 0, "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access '%s'."},
		50074:  {"invalid_grant", 0, "basic_action", "Strong Authentication is required."},
		50076:  {"invalid_grant", 0, "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '%s'."},
		50078:  {"interaction_required", 0, "basic_action", "Presented multi-factor authentication has expired due to policies configured by your administrator, you must refresh your multi-factor authentication to access '%s'."},
		50125:  {"interaction_required", 0, "basic_action", "Sign-in was interrupted due to a password reset or password registration entry."},
		50135:  {"invalid_grant", 0, "basic_action", "Password change is required due to account risk."},
		50131:  {"invalid_grant", 0, "message_only", "Device is not in required device state, or the request was blocked due to suspicious activity, access policy, or security policy decisions."},
		50158:  {"interaction_required", 0, "additional_action", "External security challenge was not satisfied. User will be redirected to another page or authentication provider to satisfy additional authentication challenges."},
		50097:  {"interaction_required", 0, "device_authentication_failed", "Device authentication is required."},
		50155:  {"invalid_grant", 0, "device_authentication_failed", "Device authentication failed for this user."},
		50187:  {"invalid_grant", 0, "device_authentication_failed", "Failed to perform device authentication."},
		53000:  {"invalid_grant", 0, "message_only", "Device is not in required device state: compliant. Conditional Access policy requires a compliant device, and the device is not compliant."},
		53001:  {"invalid_grant", 0, "message_only", "Device is not in required device state: domain_joined. Conditional Access policy requires a domain joined device, and the device is not domain joined."},
		53002:  {"invalid_grant", 0, "message_only", "Application used is not an approved application for Conditional Access."},
		53003:  {"invalid_grant", 0, "message_only", "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."},
		53004:  {"invalid_grant", 0, "message_only", "User needs to complete multi-factor authentication registration process before accessing this content. The registration was blocked due to risk."},
		53010:  {"interaction_required", 0, "message_only", "Cannot configure multi-factor authentication methods because the organization requires this information to be set from specific locations or devices."},
		53011:  {"invalid_grant", 0, "message_only", "User blocked due to risk on home tenant."},
		530032: {"invalid_grant", 0, "message_only", "Blocked by security policy. The tenant admin has configured a security policy that blocks this request."},
		530034: {"invalid_grant", 0, "message_only", "Delegated administrator was blocked from accessing the tenant due to account risk in their home tenant."},
		530035: {"invalid_grant", 0, "message_only", "Access has been blocked by security defaults. The request is deemed unsafe by security defaults policies."},
		50002:  {"access_denied", 0, "", "Sign-in failed because of a restricted proxy access on the tenant."},
		500021: {"invalid_grant", 0, "", "Access to '%s' tenant is denied."},
		500022: {"invalid_grant", 0, "", "Access to '%s' tenant is denied by the tenant restrictions policy of '%s'."},
		500212: {"invalid_grant", 0, "", "The user's administrator has set an outbound access policy that does not allow access to the resource tenant."},
		500213: {"invalid_grant", 0, "", "The resource tenant's cross-tenant access policy does not allow this user to access this tenant."},
	}
}

// ofDevices: the device code flow.
func ofDevices() map[int]meaning {
	return map[int]meaning{
		70016: {"authorization_pending", 0, "", "OAuth 2.0 device flow error. Authorization is pending. Continue polling."},
		70017: {"authorization_declined", 0, "", "OAuth 2.0 device flow error. The end user denied the authorization request."},
		70018: {"bad_verification_code", 0, "", "The device code provided is not valid."},
		90119: {"invalid_request", 0, "", "The user code is null or empty."},
		70019: {"expired_token", 0, "", "Verification code expired. Please start a new device code flow."},
		90120: {"invalid_grant", 0, "", "Invalid device code: the request was already authorized or declined."},
		50199: {"interaction_required", 0, "", "For security reasons, user confirmation is required for this request. Please repeat the request allowing user interaction."},
	}
}
