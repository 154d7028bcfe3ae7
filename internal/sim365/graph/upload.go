package graph

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"postern/internal/sim365/world"
)

// Limits of uploads.
const (
	maxPiece    = 4 << 20
	maxFile     = 150 << 20
	minUpload   = 3 << 20
	sessionLife = 2 * time.Hour
)

// upload is a session: who knows its address may go on with it.
type upload struct {
	mailbox string
	draft   string
	file    attachment
	size    int64
	until   time.Time
}

// startUpload is POST /messages/{id}/attachments/createUploadSession.
func (s *server) startUpload(w http.ResponseWriter, r *http.Request, mailbox string) *problem {
	var ask struct {
		AttachmentItem struct {
			AttachmentType string
			Name           string
			ContentType    string
			ContentID      string `json:"contentId"`
			Size           int64
			IsInline       bool
		}
	}
	if refused := readJSON(w, r, &ask); refused != nil {
		return refused
	}
	a := ask.AttachmentItem
	if a.AttachmentType != "file" || a.Name == "" || a.Size < minUpload || a.Size > maxFile {
		return new(badRequest("ErrorInvalidRequest", "The attachment item is not valid, or its size is not between 3 MB and 150 MB."))
	}
	return s.withDraft(r, mailbox, func(i *item) *problem {
		key := world.Random(64)
		u := &upload{
			mailbox: mailbox, draft: i.ID, size: a.Size, until: s.world.Now().Add(sessionLife),
			file: attachment{Name: a.Name, Kind: a.ContentType, Inline: a.IsInline, ContentID: a.ContentID},
		}
		s.uploads[key] = u
		s.world.Remember(key)
		s.world.Bump("graph_upload")
		return answer(w, http.StatusCreated, map[string]any{
			"uploadUrl":          "https://" + r.Host + "/upload?authtoken=" + key,
			"expirationDateTime": u.until.UTC(), "nextExpectedRanges": []string{"0-"},
		})
	})
}

// piece is PUT and GET on an upload's own address, which wants no token.
func (s *server) piece(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	u := s.uploads[r.URL.Query().Get("authtoken")]
	s.mu.Unlock()
	mailbox := ""
	if u != nil {
		mailbox = u.mailbox
	}
	s.played(w, r, "upload", mailbox, func(h *held) *problem {
		switch {
		case r.Header.Get("Authorization") != "":
			return new(badRequest("InvalidRequest", "An upload session takes no Authorization header."))
		case u == nil || s.world.Now().After(u.until):
			return new(noItem())
		case r.Method == http.MethodGet:
			return s.stands(h, u)
		}
		return s.takePiece(h, r, u)
	})
}

func (s *server) stands(w http.ResponseWriter, u *upload) *problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return answer(w, http.StatusOK, map[string]any{"expirationDateTime": u.until.UTC(), "nextExpectedRanges": []string{u.next()}})
}

func (u *upload) next() string { return strconv.Itoa(len(u.file.Bytes)) + "-" }

// takePiece adds a range, which must begin where the last one ended.
func (s *server) takePiece(w http.ResponseWriter, r *http.Request, u *upload) *problem {
	var first, last, size int64
	if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); err != nil || size != u.size || last < first {
		return new(badRequest("InvalidContentRange", "The Content-Range header is missing or malformed."))
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPiece))
	if tooMuch(err) {
		return new(tooLarge())
	}
	if err != nil || int64(len(b)) != last-first+1 {
		return new(badRequest("InvalidContentRange", "The request has another length than its Content-Range says."))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first != int64(len(u.file.Bytes)) {
		return &problem{http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "Optimistic concurrency failure: the range begins elsewhere than expected."}
	}
	u.file.Bytes = append(u.file.Bytes, b...)
	if int64(len(u.file.Bytes)) < u.size {
		return answer(w, http.StatusOK, map[string]any{"expirationDateTime": u.until.UTC(), "nextExpectedRanges": []string{u.next()}})
	}
	i, ok := s.drafts[u.mailbox][u.draft]
	if !ok {
		return new(noItem())
	}
	i.files, i.HasAttached = append(i.files, u.file), true
	u.until = time.Time{} // a session ends with its file
	w.WriteHeader(http.StatusCreated)
	return nil
}
