//go:build !linux

package gateway

// maxFiles is not known.
func maxFiles() (n uint64, ok bool) { return 0, false }
