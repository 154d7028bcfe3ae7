// Package entra speaks OAuth 2.0 and OpenID Connect to Microsoft Entra: which
// URL to send a browser to, how a code or a refresh token becomes an access
// token, and what kind of failure an error answer is.
//
// It keeps nothing: tokens go back to the caller, who must commit a rotated
// refresh token before it uses the access token that came with it.
package entra
