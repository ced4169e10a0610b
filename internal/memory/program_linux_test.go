package memory

import (
	"os"
	"strings"
	"testing"
)

const smaps = `00400000-00dcf000 r-xp 00000000 fe:00 1234                               /usr/bin/a program
Size:              10044 kB
KernelPageSize:        4 kB
Rss:                8308 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00dcf000-018fb000 r--p 009cf000 fe:00 1234                               /usr/bin/a program
Rss:                8420 kB
Anonymous:             4 kB
018fb000-019ee000 rw-p 014fb000 fe:00 1234                               /usr/bin/a program
Rss:                 392 kB
Anonymous:             0 kB
019ee000-03a3a000 rw-p 00000000 00:00 0
Rss:                 120 kB
Anonymous:           120 kB
7f0000000000-7f0000001000 r--p 00000000 fe:00 1235                       /usr/bin/a program.so
Rss:                   4 kB
Anonymous:             0 kB
7ffe85173000-7ffe85194000 ---p 00000000 00:00 0                          [stack]
`

// Only what the file has too is let go.
func TestMappings(t *testing.T) {
	got, err := mappings(strings.NewReader(smaps), "/usr/bin/a program")
	if err != nil || len(got) != 1 || got[0] != (mapping{0x400000, 0xdcf000, 8308 << 10}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// residentOf is how much of the program's own read-only mappings is resident.
func residentOf(t *testing.T) (n int64) {
	t.Helper()
	name, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	list, err := mappings(strings.NewReader(string(b)), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		n += m.resident
	}
	return n
}

func TestReleaseProgram(t *testing.T) {
	before := residentOf(t)
	released, err := ReleaseProgram()
	if err != nil || released <= 0 || before <= 0 {
		t.Fatalf("%d of %d bytes, %v", released, before, err)
	}
	if after := residentOf(t); after >= before {
		t.Errorf("%d bytes are resident after, %d before", after, before)
	}
}

func FuzzMappings(f *testing.F) {
	f.Add(smaps, "/usr/bin/a program")
	f.Add("0-1 r 0 0 0 x\nAnonymous: 0 kB", "x")
	f.Fuzz(func(t *testing.T, smaps, name string) {
		list, _ := mappings(strings.NewReader(smaps), name)
		for _, m := range list {
			if m.start >= m.end {
				t.Errorf("%+v", m)
			}
		}
	})
}
