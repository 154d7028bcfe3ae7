package app

import "golang.org/x/sys/windows"

// freeSpace is how many octets may still be written at a path.
func freeSpace(path string) (free uint64, err error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	return free, windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
}
