package memory

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ReleaseProgram lets go of the pages of the program's file, code and constants,
// and returns how many bytes of them were resident. Start-up touches most of them
// once, and the kernel counts them as the process's own until it runs short. What is
// needed comes back by itself, 64 KiB at a time and from the page cache, which costs
// some microseconds each.
//
// It leaves out what has been written to since it was read, such as the relocated
// data of a program that can be loaded anywhere: that is in no file.
func ReleaseProgram() (int64, error) {
	name, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0, fmt.Errorf("find program: %w", err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, fmt.Errorf("find program's mappings: %w", err)
	}
	defer func() { _ = f.Close() }()
	list, err := mappings(f, name)
	if err != nil {
		return 0, fmt.Errorf("read program's mappings: %w", err)
	}
	var released int64
	for _, m := range list {
		// By number, since this memory is nobody's slice.
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); e != 0 {
			return released, fmt.Errorf("release program's pages: %w", e)
		}
		released += m.resident
	}
	return released, nil
}

// mapping is a piece of the address space.
type mapping struct {
	start, end uintptr
	resident   int64 // bytes
}

// mappings reads those of a file that are read-only and hold nothing but what the
// file does (proc_pid_smaps(5)).
func mappings(smaps io.Reader, name string) ([]mapping, error) {
	var list []mapping
	var m mapping
	wanted := false
	for s := bufio.NewScanner(smaps); ; {
		if !s.Scan() {
			return list, s.Err()
		}
		key, value, _ := strings.Cut(s.Text(), ":")
		if start, end, ok := strings.Cut(key, "-"); ok { // a mapping begins: its line has no such key
			f := strings.Fields(s.Text())
			from, err1 := strconv.ParseUint(start, 16, 64)
			end, _, _ = strings.Cut(end, " ")
			to, err2 := strconv.ParseUint(end, 16, 64)
			m = mapping{uintptr(from), uintptr(to), 0}
			wanted = err1 == nil && err2 == nil && from < to && len(f) > 5 && strings.Join(f[5:], " ") == name && strings.HasPrefix(f[1], "r-")
			continue
		}
		kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case !wanted || err != nil:
		case key == "Rss":
			m.resident = kB << 10
		case key == "Anonymous":
			if kB == 0 {
				list = append(list, m)
			}
			wanted = false
		}
	}
}
