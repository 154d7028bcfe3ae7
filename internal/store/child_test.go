package store_test

const (
	childRole = "POSTERN_STORE_CHILD"
	childDir  = "POSTERN_STORE_DIR"
)

func child(string, string) int { return 0 }
