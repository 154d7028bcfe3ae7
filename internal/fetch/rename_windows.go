package fetch

import (
	"os"

	"golang.org/x/sys/windows"
)

// renameNew renames unless the new name is taken; the name is durable when it returns.
func renameNew(from, to string) error {
	f, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	t, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	if err := windows.MoveFileEx(f, t, windows.MOVEFILE_WRITE_THROUGH); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// syncDir has nothing to do: NTFS journals names, and directories cannot be flushed.
func syncDir(string) error { return nil }
