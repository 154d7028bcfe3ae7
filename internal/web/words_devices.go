package web

import (
	"fmt"

	"postern/internal/door"
)

// wordsOfDoor is what the setup card says of a door.
func wordsOfDoor(key string) doorWords {
	switch key {
	case "smtp_listen":
		return doorWords{door.DoorSMTP, "SMTP (sending)", "STARTTLS, also called TLS or “explicit”", "Most machines and programs"}
	case "smtps_listen":
		return doorWords{door.DoorSMTP, "SMTP (sending)", "SSL/TLS from the start, also called “implicit”", "Machines that offer SSL only"}
	case "listed_listen":
		return doorWords{door.DoorSMTP, "SMTP (sending)", "None, or STARTTLS", "Machines that cannot log in, from their own addresses"}
	case "legacy_listen":
		return doorWords{door.DoorSMTP, "SMTP (sending)", "STARTTLS with old TLS 1.0 or 1.1", "Old machines that fail at the others"}
	case "imap_listen":
		return doorWords{door.DoorIMAP, "IMAP (reading)", "STARTTLS", "Mail programs"}
	case "imaps_listen":
		return doorWords{door.DoorIMAP, "IMAP (reading)", "SSL/TLS from the start", "Mail programs"}
	case "pop3_listen":
		return doorWords{door.DoorPOP3, "POP3 (fetching)", "STARTTLS (STLS)", "Programs that fetch mail"}
	case "pop3s_listen":
		return doorWords{door.DoorPOP3, "POP3 (fetching)", "SSL/TLS from the start", "Programs that fetch mail"}
	}
	return doorWords{Opens: key, Protocol: key}
}

// sizeWords is a number of octets as forms take it: 10MB.
func sizeWords(n int64) string {
	for _, u := range []struct {
		name string
		by   int
	}{{"GB", 30}, {"MB", 20}, {"KB", 10}} {
		if n > 0 && n%(1<<u.by) == 0 {
			return fmt.Sprintf("%d%s", n>>u.by, u.name)
		}
	}
	return fmt.Sprint(n)
}
