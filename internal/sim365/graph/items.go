package graph

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"postern/internal/sim365/world"
)

// recipient is an address in Graph's JSON.
type recipient struct {
	EmailAddress struct {
		Name    string `json:"name,omitempty"`
		Address string `json:"address"`
	} `json:"emailAddress"`
}

// item is a message in Graph's JSON, as far as the simulator keeps it.
type item struct {
	ID           string      `json:"id"`
	IsDraft      bool        `json:"isDraft"`
	Subject      string      `json:"subject"`
	MessageID    string      `json:"internetMessageId"`
	From         *recipient  `json:"from,omitempty"`
	ReplyTo      []recipient `json:"replyTo,omitempty"`
	To           []recipient `json:"toRecipients"`
	Cc           []recipient `json:"ccRecipients"`
	Bcc          []recipient `json:"bccRecipients"`
	Importance   string      `json:"importance,omitempty"`
	Headers      []nameValue `json:"internetMessageHeaders,omitempty"`
	Properties   []property  `json:"singleValueExtendedProperties,omitempty"`
	Body         *itemBody   `json:"body,omitempty"`
	HasAttached  bool        `json:"hasAttachments"`
	SentDateTime *time.Time  `json:"sentDateTime,omitempty"`

	files []attachment
}

type nameValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type property struct {
	ID    string `json:"id"`
	Value string `json:"value"`
}

type itemBody struct {
	ContentType string `json:"contentType"`
	Content     string `json:"content"`
}

// attachment is a file of a draft.
type attachment struct {
	Type      string `json:"@odata.type"`
	Name      string `json:"name"`
	Kind      string `json:"contentType"`
	Inline    bool   `json:"isInline"`
	ContentID string `json:"contentId"`
	Bytes     []byte `json:"contentBytes"` // base64 in JSON
}

// check holds a draft to what Graph takes.
func (i item) check() *problem {
	const most = 5
	if len(i.Headers) > most {
		return new(badRequest("InvalidInternetMessageHeaderCollection", "Maximum number of headers in one message should be less than or equal to 5."))
	}
	for _, h := range i.Headers {
		if !strings.HasPrefix(strings.ToLower(h.Name), "x-") {
			return new(badRequest("InvalidInternetMessageHeader", "The internet message header name '"+h.Name+"' should start with 'x-' or 'X-'."))
		}
	}
	return nil
}

// addDraft is POST /messages.
func (s *server) addDraft(w http.ResponseWriter, r *http.Request, mailbox string) *problem {
	var i item
	if refused := readJSON(w, r, &i); refused != nil {
		return refused
	}
	if refused := i.check(); refused != nil {
		return refused
	}
	i.ID, i.IsDraft = "AAMk"+world.Random(40)+"=", true
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drafts[mailbox] == nil {
		s.drafts[mailbox] = map[string]*item{}
	}
	s.drafts[mailbox][i.ID] = &i
	s.world.Bump("graph_draft")
	return answer(w, http.StatusCreated, i)
}

// patchDraft is PATCH /messages/{id}; what is not named stays.
func (s *server) patchDraft(w http.ResponseWriter, r *http.Request, mailbox string) *problem {
	b, refused := readAll(w, r)
	if refused != nil {
		return refused
	}
	return s.withDraft(r, mailbox, func(i *item) *problem {
		if err := json.Unmarshal(b, i); err != nil {
			return new(badRequest("BadRequest", "Unable to read JSON request payload."))
		}
		return answer(w, http.StatusOK, i)
	})
}

func (s *server) deleteDraft(w http.ResponseWriter, r *http.Request, mailbox string) *problem {
	return s.withDraft(r, mailbox, func(i *item) *problem {
		delete(s.drafts[mailbox], i.ID)
		s.world.Bump("graph_draft_gone")
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// addFile is POST /messages/{id}/attachments.
func (s *server) addFile(w http.ResponseWriter, r *http.Request, mailbox string) *problem {
	var a attachment
	if refused := readJSON(w, r, &a); refused != nil {
		return refused
	}
	const direct = 3 << 20
	if len(a.Bytes) > direct {
		return new(tooLarge())
	}
	if a.Type != "#microsoft.graph.fileAttachment" {
		return new(badRequest("BadRequest", "The attachment has no @odata.type that the simulator knows."))
	}
	return s.withDraft(r, mailbox, func(i *item) *problem {
		i.files, i.HasAttached = append(i.files, a), true
		return answer(w, http.StatusCreated, map[string]string{"id": "AAMk" + world.Random(20)})
	})
}

// sendDraft is POST /messages/{id}/send. The draft leaves Drafts for Sent Items, so
// that it can be sent once.
func (s *server) sendDraft(w http.ResponseWriter, r *http.Request, mailbox string) *problem {
	var raw []byte
	refused := s.withDraft(r, mailbox, func(i *item) *problem {
		raw = i.message(mailbox, s.world.Now())
		delete(s.drafts[mailbox], i.ID)
		s.world.Bump("graph_draft_gone")
		return nil
	})
	if refused == nil {
		refused = s.submit(mailbox, mailbox, raw)
	}
	if refused == nil {
		w.WriteHeader(http.StatusAccepted)
	}
	return refused
}

// withDraft does something to a draft.
func (s *server) withDraft(r *http.Request, mailbox string, f func(*item) *problem) *problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.drafts[mailbox][r.PathValue("id")]
	if !ok {
		return new(noItem())
	}
	return f(i)
}

// byMessageID is the one filter that the simulator knows.
var byMessageID = regexp.MustCompile(`^internetMessageId eq '((?:[^']|'')*)'$`)

// list is GET /mailFolders/{folder}/messages with a $filter.
func (s *server) list(w http.ResponseWriter, r *http.Request, mailbox string) *problem {
	m := byMessageID.FindStringSubmatch(r.URL.Query().Get("$filter"))
	if m == nil {
		return new(badRequest("ErrorInvalidUrlQueryFilter", "The query filter contains one or more invalid nodes."))
	}
	id := strings.ReplaceAll(m[1], "''", "'")
	found := []item{}
	switch strings.ToLower(r.PathValue("folder")) {
	case "drafts":
		s.mu.Lock()
		for _, key := range slices.Sorted(maps.Keys(s.drafts[mailbox])) {
			if i := s.drafts[mailbox][key]; i.MessageID == id {
				found = append(found, *i)
			}
		}
		s.mu.Unlock()
	case "sentitems":
		for _, sent := range s.world.Messages(mailbox, "Sent Items") {
			if i, ok := itemOf(sent); ok && i.MessageID == id {
				found = append(found, i)
			}
		}
	default:
		return new(noItem())
	}
	s.world.Bump("graph_lookup")
	return answer(w, http.StatusOK, map[string]any{"@odata.context": "messages", "value": found})
}

func answer(w http.ResponseWriter, status int, v any) *problem {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the peer is gone: nobody to tell
	return nil
}

func readAll(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if tooMuch(err) {
		return nil, new(tooLarge())
	}
	if err != nil {
		return nil, new(badRequest("BadRequest", "Unable to read the request."))
	}
	return b, nil
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) *problem {
	b, refused := readAll(w, r)
	if refused != nil {
		return refused
	}
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(kind, "application/json") {
		return new(unknownType())
	}
	if json.Unmarshal(b, into) != nil {
		return new(badRequest("BadRequest", "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format."))
	}
	return nil
}
