package graph

import "net/http"

// problem is an error as Graph words it.
type problem struct {
	status  int
	code    string
	message string
}

func noToken() problem {
	return problem{http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token is empty."}
}

func badToken() problem {
	return problem{http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience."}
}

func oldToken() problem {
	return problem{http.StatusUnauthorized, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."}
}

func accessDenied() problem {
	return problem{http.StatusForbidden, "ErrorAccessDenied", "Access is denied. Check credentials and try again."}
}

func noUser(name string) problem {
	return problem{http.StatusNotFound, "ErrorInvalidUser", "The requested user '" + name + "' is invalid."}
}

func noMailbox() problem {
	return problem{http.StatusNotFound, "MailboxNotEnabledForRESTAPI", "The mailbox is either inactive, soft-deleted, or is hosted on-premise."}
}

func unknownType() problem {
	return problem{http.StatusUnsupportedMediaType, "UnsupportedMediaType", "The Content-Type is neither text/plain nor application/json."}
}

func badRequest(code, message string) problem { return problem{http.StatusBadRequest, code, message} }

func noItem() problem {
	return problem{http.StatusNotFound, "ErrorItemNotFound", "The specified object was not found in the store."}
}

func badMIME() problem {
	return problem{http.StatusBadRequest, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content."}
}

func noRecipients() problem {
	return problem{http.StatusBadRequest, "ErrorInvalidRecipients", "At least one recipient is not valid., At least one recipient is not valid."}
}

func sendAsDenied() problem {
	return problem{http.StatusForbidden, "ErrorSendAsDenied", "The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account., Cannot submit message."}
}

func tooLarge() problem {
	return problem{http.StatusRequestEntityTooLarge, "ErrorMessageSizeExceeded", "The maximum request length supported is 4MB."}
}

func full() problem {
	return problem{http.StatusInsufficientStorage, "ErrorQuotaExceeded", "The mailbox has exceeded its storage limit."}
}

func throttled() problem {
	return problem{http.StatusTooManyRequests, "ApplicationThrottled", "Application is over its MailboxConcurrency limit."}
}
