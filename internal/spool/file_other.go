//go:build !linux

package spool

import "os"

func openUnnamed(dir string) (*os.File, error) { return openRemoved(dir) }

// inMemory is not known here.
func inMemory(string) bool { return false }
