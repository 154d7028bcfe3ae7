package graph

import "io"

// TakeApart walks a letter and returns its text.
func TakeApart(l *Letter, attach func(name string, r io.Reader) error) (string, error) {
	w := &walker{src: l.rest, attach: func(f file, r io.Reader) error { return attach(f.name, r) }}
	err := w.message(l)
	return w.text().Content, err
}

// Whole is the message as it goes out, or ok is false when it does not fit.
func Whole(l *Letter, limit int64) (raw []byte, ok bool, err error) {
	w, ok, err := l.whole(limit)
	return append(w.header, w.body...), ok, err
}
