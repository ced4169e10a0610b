package leak

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/pprof"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Site is a place in the program of which the process holds more than before.
type Site struct {
	Kind string // goroutines, heap_bytes or files
	// Function, with File and Line, is the innermost one of the program's own module.
	// For files it is what they are: "socket", or the folder they are in.
	Function string
	File     string // its name without folders
	Line     int
	Inner    string // the innermost function of all, where that is another
	Grew     int64
	Holds    int64 // now
	Leaked   bool  // the runtime's profile of leaked goroutines has it: nothing can wake them
}

// String names it in a message.
func (s Site) String() string {
	text := s.Function
	if s.File != "" {
		text = fmt.Sprintf("%s (%s:%d)", text, s.File, s.Line)
	}
	if s.Inner != "" {
		text += " in " + s.Inner
	}
	if s.Kind == Heap.String() {
		return fmt.Sprintf("+%d KiB at %s", s.Grew>>10, text)
	}
	return fmt.Sprintf("+%d %s at %s", s.Grew, s.Kind, text)
}

const (
	// frames is how much of a stack tells it from others.
	frames = 16
	// stacks is how many of a profile are kept, those that hold most.
	stacks = 512
	// manyRoutines and manyFiles are more than are looked at: it would take too long.
	manyRoutines, manyFiles = 100_000, 50_000
	// named is how many sites of a kind are told.
	named = 3
)

// module begins the names of the program's own functions. It is read from the program: who
// publishes it may build it as a module of another path.
func module() string {
	return strings.TrimSuffix(reflect.TypeFor[Site]().PkgPath(), "internal/memory/leak")
}

type stack [frames]uintptr

// profile is what the process holds, by where from.
type profile struct {
	routines map[stack]int64
	heap     map[stack]int64 // bytes, about
	files    map[string]int64
}

// takeProfile looks at the process. It takes some milliseconds with ten thousand
// goroutines, and none of them stops for longer than its stack is read.
func takeProfile() profile {
	return profile{routines: bounded(goroutines()), heap: bounded(heap()), files: files()}
}

// bounded leaves those that hold most.
func bounded(all map[stack]int64) map[stack]int64 {
	if len(all) <= stacks {
		return all
	}
	held := make([]int64, 0, len(all))
	for _, n := range all {
		held = append(held, n)
	}
	slices.Sort(held)
	least := held[len(held)-stacks]
	for s, n := range all {
		if n < least || n == least && len(all) > stacks {
			delete(all, s)
		}
	}
	return all
}

func goroutines() map[stack]int64 {
	all := make(map[stack]int64)
	n := runtime.NumGoroutine()
	if n > manyRoutines {
		return all
	}
	records := make([]runtime.StackRecord, n+n/8+16)
	if n, ok := runtime.GoroutineProfile(records); ok {
		for i := range records[:n] {
			all[stack(records[i].Stack0[:frames])]++
		}
	}
	return all
}

func heap() map[stack]int64 {
	all := make(map[stack]int64)
	n, _ := runtime.MemProfile(nil, false)
	records := make([]runtime.MemProfileRecord, n+n/8+16)
	n, ok := runtime.MemProfile(records, false)
	if !ok {
		return all
	}
	rate := float64(runtime.MemProfileRate)
	for i := range records[:n] {
		r := &records[i]
		count, size := float64(r.InUseObjects()), float64(r.InUseBytes())
		if count <= 0 || rate <= 0 {
			continue
		}
		// An object is sampled with a probability that goes with its size.
		all[stack(r.Stack0[:frames])] += int64(size / (1 - math.Exp(-size/count/rate)))
	}
	return all
}

// files counts descriptors by what they are, files by their folder: who opened one the
// kernel does not say.
func files() map[string]int64 {
	const folder = "/proc/self/fd"
	all := make(map[string]int64)
	d, err := os.Open(folder)
	if err != nil {
		return all // there is no such thing on this system
	}
	defer func() { _ = d.Close() }()
	names, _ := d.Readdirnames(manyFiles)
	for _, name := range names {
		to, err := os.Readlink(filepath.Join(folder, name))
		if err != nil {
			continue // closed meanwhile
		}
		if path.Dir(to) == "/dev" {
			// Whole: there are few, and their names say what they are.
		} else if strings.HasPrefix(to, "/") {
			to = path.Dir(to)
		} else if kind, _, ok := strings.Cut(to, ":["); ok && kind != "anon_inode" {
			to = kind // without its number
		}
		if len(all) < stacks || all[to] > 0 {
			all[to]++
		}
	}
	return all
}

// since lists what p holds more than an earlier profile, of each kind that which grew
// most first.
func (p *profile) since(before *profile) (list []Site) {
	list = grown(Goroutines, p.routines, before.routines, 10, named)
	list = append(list, grown(Heap, p.heap, before.heap, 64<<10, named)...)
	var opened []Site
	for name, n := range p.files {
		if grew := n - before.files[name]; grew >= 10 {
			opened = append(opened, Site{Kind: Files.String(), Function: name, Grew: grew, Holds: n})
		}
	}
	return append(list, greatest(opened, named)...)
}

func grown(q Quantity, now, before map[stack]int64, least int64, most int) (list []Site) {
	// Stacks that differ below the own function are one site.
	sites := make(map[Site]*Site)
	for s, n := range now {
		grew := n - before[s]
		if grew == 0 {
			continue
		}
		key := place(s[:])
		key.Kind = q.String()
		site := sites[key]
		if site == nil {
			site = &Site{}
			*site = key
			sites[key] = site
		}
		site.Grew += grew
		site.Holds += n
	}
	for _, s := range sites {
		if s.Grew >= least {
			list = append(list, *s)
		}
	}
	return greatest(list, most)
}

func greatest(list []Site, most int) []Site {
	sort.Slice(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		return cmp.Or(cmp.Compare(b.Grew, a.Grew), cmp.Compare(a.Function, b.Function), cmp.Compare(a.Line, b.Line)) < 0
	})
	return list[:min(len(list), most)]
}

// place names the innermost frame of the own module, and the innermost of all but the
// runtime's.
func place(pcs []uintptr) (s Site) {
	n := 0
	for n < len(pcs) && pcs[n] != 0 {
		n++
	}
	inner := ""
	for more, it := n > 0, runtime.CallersFrames(pcs[:n]); more; {
		var f runtime.Frame
		f, more = it.Next()
		if inner == "" && !strings.HasPrefix(f.Function, "runtime.") && !strings.HasPrefix(f.Function, "internal/") {
			inner = f.Function
		}
		if strings.HasPrefix(f.Function, module()) || strings.HasPrefix(f.Function, "main.") {
			s.Function, s.File, s.Line = f.Function, path.Base(f.File), f.Line
			break
		}
	}
	switch {
	case s.Function == "":
		s.Function = cmp.Or(inner, "the runtime")
	case inner != s.Function:
		s.Inner = inner
	}
	return s
}

// leakedGoroutines lists where goroutines are that nothing can wake any more, where the
// runtime can tell (GOEXPERIMENT=goroutineleakprofile, Go 1.26). It collects garbage for
// that.
func leakedGoroutines() []Site {
	p := pprof.Lookup("goroutineleak")
	if p == nil {
		return nil
	}
	var text bytes.Buffer
	if p.WriteTo(&text, 1) != nil {
		return nil
	}
	list := grown(Goroutines, parseStacks(&text), nil, 1, named)
	for i := range list {
		list[i].Leaked = true
	}
	return list
}

// parseStacks reads the lines "COUNT @ 0xPC 0xPC ..." of a profile's text.
func parseStacks(text *bytes.Buffer) map[stack]int64 {
	all := make(map[stack]int64)
	lines := bufio.NewScanner(text)
	for lines.Scan() && len(all) < stacks {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || fields[1] != "@" {
			continue
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil || n < 0 {
			continue
		}
		var s stack
		for i, f := range fields[2:min(len(fields), frames+2)] {
			pc, err := strconv.ParseUint(f, 0, 64)
			if err != nil {
				break
			}
			s[i] = uintptr(pc)
		}
		all[s] += n
	}
	return all
}
