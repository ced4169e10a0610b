package leak

import (
	"bytes"
	"os"
	"path"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"

	"sluice/internal/testkit"
)

func waitHere(c chan struct{})   { <-c }
func neverWoken(c chan struct{}) { <-c }

//go:noinline
func allocateHere(n int) (all [][]byte) {
	for range n {
		all = append(all, bytes.Repeat([]byte{1}, 4<<10))
	}
	return all
}

// TestSitesAreNamed checks that what grew between two profiles is named by the place
// in our own code.
func TestSitesAreNamed(t *testing.T) {
	before := takeProfile()
	c := make(chan struct{})
	defer close(c)
	const many = 300
	for range many {
		go waitHere(c)
	}
	kept := allocateHere(8 << 10) // 32 MiB, some 64 samples
	var opened []*os.File
	dir := t.TempDir()
	for range 20 {
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		opened = append(opened, f)
	}
	found := func() map[string]Site {
		runtime.GC() // the heap's profile is as of the collection before the last one
		runtime.GC()
		now := takeProfile()
		sites := map[string]Site{}
		for _, s := range now.since(&before) {
			if _, ok := sites[s.Kind]; !ok {
				sites[s.Kind] = s
			}
		}
		return sites
	}
	testkit.Until(t, "all goroutines wait", func() bool { return found()["goroutines"].Grew >= many })
	sites := found()
	if s := sites["goroutines"]; s.Function != module()+"internal/memory/leak.waitHere" || s.File != "profile_test.go" || s.Line == 0 || s.Inner != "" || s.Holds < many {
		t.Errorf("%+v", s)
	}
	s := sites["heap_bytes"]
	if s.Function != module()+"internal/memory/leak.allocateHere" || s.Inner != "bytes.Repeat" || s.Grew < 16<<20 || s.Grew > 64<<20 {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(s.String(), "KiB at "+s.Function+" (profile_test.go:") {
		t.Error(s.String())
	}
	if s := sites["files"]; runtime.GOOS == "linux" && (s.Function != dir || s.Grew != 20) {
		t.Errorf("%+v in %s", s, path.Base(dir))
	}
	runtime.KeepAlive(kept)
	runtime.KeepAlive(opened)
}

// What a profile holds is bounded; the greatest stay.
func TestProfileIsBounded(t *testing.T) {
	all := map[stack]int64{}
	for i := range 10_000 {
		all[stack{uintptr(i + 1)}] = int64(i / 3)
	}
	all = bounded(all)
	if len(all) > stacks || len(all) < stacks-2 || all[stack{10_000}] != 3333 || all[stack{9000}] != 0 {
		t.Errorf("%d stacks", len(all))
	}
	equal := map[stack]int64{}
	for i := range 2000 {
		equal[stack{uintptr(i + 1)}] = 1
	}
	if n := len(bounded(equal)); n > stacks || n == 0 {
		t.Errorf("%d equal stacks", n)
	}
}

// Goroutines that nothing can wake are told where the runtime knows of them.
func TestLeakedGoroutines(t *testing.T) {
	if pprof.Lookup("goroutineleak") == nil {
		t.Skip("needs GOEXPERIMENT=goroutineleakprofile")
	}
	for range 5 {
		go neverWoken(make(chan struct{}))
	}
	list := leakedGoroutines()
	if len(list) == 0 || list[0].Function != module()+"internal/memory/leak.neverWoken" || list[0].Holds < 1 || !list[0].Leaked {
		t.Errorf("%+v", list)
	}
}

func FuzzParseStacks(f *testing.F) {
	f.Add("goroutineleak profile: total 5\n5 @ 0x4801 0x4802\n#\t0x4801\tx+1\tx.go:1\n\n1 @ 0x1\n")
	f.Add("1 @ -1\n99999999999999999999 @ 0x1\n1 @ 0xffffffffffffffffff\n")
	f.Fuzz(func(t *testing.T, text string) {
		for s, n := range parseStacks(bytes.NewBufferString(text)) {
			if n < 0 {
				t.Errorf("%v: %d", s, n)
			}
		}
	})
}
