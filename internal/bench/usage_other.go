//go:build !linux

package bench

import (
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// ps asks ps(1), which POSIX has: its times are in hundredths of a second at best.
func ps(pid int, column string) (string, error) {
	out, err := exec.Command("ps", "-o", column+"=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", fmt.Errorf("what a process uses cannot be measured on %s: ps: %w", runtime.GOOS, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// cpuTime is the processor time that a process has taken.
func cpuTime(pid int) (time.Duration, error) {
	text, err := ps(pid, "time") // [[dd-]hh:]mm:ss, with hundredths on some systems
	if err != nil {
		return 0, err
	}
	var seconds float64
	for _, part := range strings.FieldsFunc(text, func(c rune) bool { return c == ':' || c == '-' }) {
		n, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time of process %d: ps says %q", pid, text)
		}
		seconds = seconds*60 + n
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// resident is how much of a process is in memory, in bytes.
func resident(pid int) (float64, error) {
	text, err := ps(pid, "rss")
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("read resident memory of process %d: ps says %q", pid, text)
	}
	return kib * 1024, nil
}

// machine names the processor and says how much memory there is, where that is known.
func machine() (cpu string, memory int64) { return "", 0 }
