package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		name, text string
		read       format
		want       []uint64
		fail       string
	}{
		{"lines", "5\n*\n 3\r\n\n5", readLines, []uint64{5, 3, 5}, ""},
		{"no number", "5\nx\n", readLines, []uint64{5}, "line 2"},
		{"negative", "-1\n", readLines, nil, "line 1"},
		{"ranges", "10 3 0 1\n7 1 0 2\n", readRanges, []uint64{10, 11, 12, 7}, ""},
		{"no count", "10\n", readRanges, nil, "line 1: 1 fields"},
		{"count is text", "10 x 0 0\n", readRanges, nil, "line 1"},
		{"start is text", "x 1 0 0\n", readRanges, nil, "line 1"},
		{"count without bound", "1 99999999999 0 0\n", readRanges, nil, "keys at once"},
		{"ints", "\x00\x00\x00\x07\xff\xff\xff\xff", readInts, []uint64{7, 1<<32 - 1}, ""},
		{"half an int", "\x00\x00\x00\x07\xff", readInts, []uint64{7}, "unexpected EOF"},
		{"blocks", `{"timestamp":1,"hash_ids":[1,2]}` + "\n" + `{"hash_ids":[]}` + "\n" + `{"hash_ids":[1,3]}`, readBlocks, []uint64{1, 2, 1, 3}, ""},
		{"block is text", `{"hash_ids":["a"]}`, readBlocks, nil, "line 1"},
		{"cut", `{"hash_ids":[1,`, readBlocks, nil, "line 1"},
	} {
		var got []uint64
		err := c.read(bufio.NewReader(strings.NewReader(c.text)), func(key uint64) { got = append(got, key) })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if failed := err != nil; failed != (c.fail != "") || failed && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.fail)
		}
	}
}

func zipped(t *testing.T, text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadTraces(t *testing.T) {
	data := t.TempDir()
	if _, err := readTraces(data); err == nil || !strings.Contains(err.Error(), "-traces") {
		t.Errorf("an empty folder: %v", err)
	}
	var block bytes.Buffer
	w, err := xz.NewWriter(&block)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(`{"hash_ids":[900,800,900]}`))
	w.Close()
	for name, b := range map[string][]byte{
		"cache-traces/lirs/small.trace.gz": zipped(t, "4\n9\n4\n"), "cache-traces/oltp.gz": zipped(t, "1 2 0 0\n"), "traces-mooncake/half.jsonl.xz": block.Bytes(),
	} {
		file := filepath.Join(data, filepath.FromSlash(name))
		os.MkdirAll(filepath.Dir(file), 0o700)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readTraces(data)
	if err != nil || len(got) != 3 {
		t.Fatalf("%v, %v", got, err)
	}
	for i, want := range []trace{{"small", []int32{0, 1, 0}, 2}, {"oltp", []int32{0, 1}, 2}, {"half", []int32{0, 1, 0}, 2}} {
		if got[i].name != want.name || !slices.Equal(got[i].requests, want.requests) || got[i].distinct != want.distinct {
			t.Errorf("got %+v, want %+v", got[i], want)
		}
	}

	var out strings.Builder
	if err := hitRatios(&out, []string{"-traces", data, "-rounds", "1"}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "| small | 3 | 2 | 1 | 33.33 | 0.00 |") {
		t.Errorf("printed:\n%s", &out)
	}
	os.WriteFile(filepath.Join(data, "cache-traces", "oltp.gz"), []byte("no archive"), 0o600)
	if _, err := readTraces(data); err == nil || !strings.Contains(err.Error(), "oltp.gz") {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestCapacities(t *testing.T) {
	for _, c := range []struct {
		distinct int
		want     []int
	}{{3, []int{1}}, {1000, []int{10, 50, 200}}, {2001, []int{20, 100, 400, 2000}}, {10_000, []int{100, 500, 2000}}, {200_000, []int{2000, 10_000, 40_000}}} {
		if got := (&trace{distinct: c.distinct}).capacities(); !slices.Equal(got, c.want) {
			t.Errorf("%d keys: %v, want %v", c.distinct, got, c.want)
		}
	}
}

func fuzz(f *testing.F, read format, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newCollector("fuzz")
		if err := read(bufio.NewReader(bytes.NewReader(b)), c.add); err != nil {
			return
		}
		// Keys are numbered from 0 in the order in which they come.
		next := int32(0)
		for _, n := range c.requests {
			if n > next || n < 0 {
				t.Fatalf("number %d comes after %d", n, next-1)
			}
			next = max(next, n+1)
		}
		if int(next) != c.distinct {
			t.Fatalf("%d keys, counted as %d", next, c.distinct)
		}
	})
}

func FuzzReadLines(f *testing.F)  { fuzz(f, readLines, "5\n*\n3\n", "18446744073709551615") }
func FuzzReadRanges(f *testing.F) { fuzz(f, readRanges, "10 3 0 1\n", "18446744073709551615 2 0 0") }
func FuzzReadInts(f *testing.F)   { fuzz(f, readInts, "\x00\x00\x00\x07", "\xff") }
func FuzzReadBlocks(f *testing.F) { fuzz(f, readBlocks, `{"hash_ids":[1,2,1]}`, "null") }
