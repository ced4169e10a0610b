package memory

import (
	"iter"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Limit is how much memory the process may use, and what says so.
type Limit struct {
	Bytes  int64 // 0: nothing says so
	Source string
}

// What may say so.
const (
	FromConfig  = "memory.limit_bytes"
	FromGo      = "GOMEMLIMIT"
	FromGroup   = "control group"
	FromMachine = "half of the machine"
)

// findLimit gives the limit that holds: the least of the configuration's (0 for none)
// and the control groups', else GOMEMLIMIT, else half of what the machine has, since
// others run there too. root is "/" but in tests; runtime is GOMEMLIMIT as the process
// began with it.
func findLimit(root string, configured, runtime int64) Limit {
	var l Limit
	lower := func(n int64, source string) {
		if n > 0 && (l.Bytes == 0 || n < l.Bytes) {
			l = Limit{n, source}
		}
	}
	lower(configured, FromConfig)
	for _, g := range Groups(root) {
		if n, ok := g.Limit(root); ok {
			lower(n, FromGroup)
		}
	}
	if configured == 0 && runtime > 0 && runtime < noLimit {
		lower(runtime, FromGo)
	}
	if l.Bytes == 0 {
		lower(machine(root)/2, FromMachine)
	}
	lower(machine(root), FromMachine)
	return l
}

// Group are the files that say what a control group uses and may use, below the root,
// in bytes. Above high, which version 2 has, the kernel stops the group's processes again
// and again until it has taken some back (systemd's MemoryHigh): "" for none.
type Group struct{ used, most, high, stat string }

// Use is what the group uses without pages of files, which the kernel takes back before
// it kills anyone.
func (g Group) Use(root string) (n int64, ok bool) {
	if n, ok = readNumber(root + g.used); !ok {
		return 0, false
	}
	b, _ := os.ReadFile(root + g.stat)
	own := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "active_file", "inactive_file", "total_active_file", "total_inactive_file":
			own[name], _ = strconv.ParseInt(value, 10, 64)
		}
	}
	// Version 1 has totals besides, which include the groups below as what is used does.
	files := max(own["active_file"]+own["inactive_file"], own["total_active_file"]+own["total_inactive_file"])
	return max(n-files, 0), true
}

// Limit is what the group may use, the lower of its limits; ok is false for none.
func (g Group) Limit(root string) (n int64, ok bool) {
	for _, file := range [...]string{g.most, g.high} {
		if file == "" {
			continue
		}
		// None of 0 can be kept to: it is a way to have a group's memory taken back.
		if one, is := readNumber(root + file); is && one > 0 && (!ok || one < n) {
			n, ok = one, true
		}
	}
	return n, ok
}

// Groups lists those of the process's control group and of those above it, of version
// 2 and of version 1. Within a container their names may be those outside of it; the
// topmost folder is then the process's own.
func Groups(root string) (list []Group) {
	const top = "sys/fs/cgroup"
	v2, v1 := "/", "/"
	b, _ := os.ReadFile(root + "proc/self/cgroup") // none is the topmost
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, folder, _ := strings.Cut(rest, ":")
		folder = path.Clean("/" + folder) // from outside a container it begins with ".."
		if controllers == "" {
			v2 = folder
		} else if slices.Contains(strings.Split(controllers, ","), "memory") {
			v1 = folder
		}
	}
	for at := range upwards(top, v2) {
		list = append(list, Group{at + "/memory.current", at + "/memory.max", at + "/memory.high", at + "/memory.stat"})
	}
	for at := range upwards(top+"/memory", v1) {
		list = append(list, Group{at + "/memory.usage_in_bytes", at + "/memory.limit_in_bytes", "", at + "/memory.stat"})
	}
	return list
}

// upwards gives a folder below top and those above it, top the last.
func upwards(top, folder string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for ; yield(path.Join(top, folder)) && folder != "/"; folder = path.Dir(folder) {
		}
	}
}

// unlimited is what version 1 of control groups says at least where there is no limit.
const unlimited = 1 << 60

// readNumber reads a file that holds one; "max", and what is meant as that, is none.
func readNumber(name string) (n int64, ok bool) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil && n < unlimited
}

// machine is how much memory the machine has, in bytes; 0 where that is not known.
func machine(root string) int64 {
	b, _ := os.ReadFile(root + "proc/meminfo")
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil || n < 0 || n > unlimited>>10 {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

const (
	// ownBytes is what the process takes besides what is held for requests: the
	// runtime, tables, figures, about twice what an idle one has.
	ownBytes = 24 << 20
	// budgetShare is how much of the rest may be reserved. What remains is for garbage
	// between two collections, stacks, and what is too small to be reserved.
	budgetShare = 0.6
	// outsideShare, at least outsideBytes, is what the process takes that GOMEMLIMIT
	// does not count: pages of the program itself, and of the kernel for its sockets.
	outsideShare, outsideBytes = 0.1, 32 << 20
)

// plan divides a limit: what the Go runtime may take, and what may be reserved.
func (l Limit) plan() (runtime, budget int64) {
	if l.Bytes == 0 {
		return noLimit, 0
	}
	runtime = l.Bytes
	if l.Source != FromGo {
		runtime -= max(int64(float64(l.Bytes)*outsideShare), min(outsideBytes, l.Bytes/4))
	}
	budget = int64(float64(runtime-ownBytes) * budgetShare)
	return runtime, max(budget, runtime/4)
}
