//go:build !linux

package process

import "time"

// MaxFiles, openFiles and cpuTime are not known.

func MaxFiles() (n uint64, ok bool) { return 0, false }

func openFiles(string) (n int, ok bool) { return 0, false }

func cpuTime() (user, system time.Duration, ok bool) { return 0, 0, false }
