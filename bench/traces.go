package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ulikunitz/xz"
)

// trace is a sequence of requests. Its keys are numbered from 0 in the order
// in which they are first asked for.
type trace struct {
	name     string
	requests []int32
	distinct int
}

// format reads the keys of a trace in order.
type format func(r *bufio.Reader, each func(key uint64)) error

// formats tells how the files of a data folder are read.
var formats = []struct {
	pattern string
	read    format
}{
	{"cache-traces/lirs/*.trace.gz", readLines},
	{"cache-traces/oltp.gz", readRanges},
	{"cache-traces/web07.trace.xz", readInts},
	{"traces-mooncake/*.jsonl.xz", readBlocks},
}

// readTraces reads every trace below a data folder.
func readTraces(data string) ([]trace, error) {
	var traces []trace
	for _, f := range formats {
		files, err := filepath.Glob(filepath.Join(data, f.pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			t, err := readTrace(file, f.read)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			traces = append(traces, t)
		}
	}
	if len(traces) == 0 {
		return nil, fmt.Errorf("there are no traces below %s: name the folder that has cache-traces and traces-mooncake with -traces", data)
	}
	return traces, nil
}

func readTrace(file string, read format) (trace, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return trace{}, err
	}
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return parseTrace(name, b, read)
}

// parseTrace reads a compressed file, which its first bytes tell apart.
func parseTrace(name string, b []byte, read format) (trace, error) {
	var r io.Reader
	var err error
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		r, err = gzip.NewReader(bytes.NewReader(b))
	} else {
		r, err = xz.NewReader(bytes.NewReader(b))
	}
	if err != nil {
		return trace{}, err
	}
	c := newCollector(name)
	err = read(bufio.NewReaderSize(r, 64<<10), c.add)
	return c.trace, err
}

// collector makes a trace of the keys that it is given.
type collector struct {
	trace
	numbers map[uint64]int32
}

func newCollector(name string) *collector {
	return &collector{trace: trace{name: name}, numbers: make(map[uint64]int32)}
}

func (c *collector) add(key uint64) {
	n, ok := c.numbers[key]
	if !ok {
		n = int32(c.distinct)
		c.numbers[key] = n
		c.distinct++
	}
	c.requests = append(c.requests, n)
}

// readLines reads one decimal key a line. A line that holds only an asterisk
// is a mark of the LIRS authors' own simulator.
func readLines(r *bufio.Reader, each func(uint64)) error {
	return lines(r, func(line []byte) error {
		if string(line) == "*" {
			return nil
		}
		key, err := strconv.ParseUint(string(line), 10, 64)
		if err == nil {
			each(key)
		}
		return err
	})
}

// maxRange bounds the keys that one line of a trace asks for.
const maxRange = 1 << 16

// readRanges reads the ARC authors' format: "start count ignored number" asks
// for count keys from start on.
func readRanges(r *bufio.Reader, each func(uint64)) error {
	return lines(r, func(line []byte) error {
		fields := strings.Fields(string(line))
		if len(fields) != 4 {
			return fmt.Errorf("%d fields, not 4", len(fields))
		}
		start, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			return err
		}
		count, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return err
		}
		if count > maxRange {
			return fmt.Errorf("%d keys at once, more than %d", count, maxRange)
		}
		for i := range count {
			each(start + i)
		}
		return nil
	})
}

// readInts reads cache2k's format, big-endian integers of 32 bits.
func readInts(r *bufio.Reader, each func(uint64)) error {
	var b [4]byte
	for {
		if _, err := io.ReadFull(r, b[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		each(uint64(binary.BigEndian.Uint32(b[:])))
	}
}

// readBlocks reads Mooncake's format: a request a line, which asks for the
// blocks of its prompt from the first to the last.
func readBlocks(r *bufio.Reader, each func(uint64)) error {
	return lines(r, func(line []byte) error {
		var request struct {
			HashIDs []uint64 `json:"hash_ids"`
		}
		if err := json.Unmarshal(line, &request); err != nil {
			return err
		}
		for _, id := range request.HashIDs {
			each(id)
		}
		return nil
	})
}

func lines(r *bufio.Reader, each func([]byte) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		line := bytes.TrimSpace(s.Bytes())
		if len(line) == 0 {
			continue
		}
		if err := each(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s.Err()
}

// capacities are those that a trace is measured at: about 1, 5 and 20 % of
// its keys, and the cache's own default where the trace has more keys.
func (t *trace) capacities() []int {
	c := []int{max(t.distinct/100, 1), max(t.distinct/20, 1), max(t.distinct/5, 1)}
	if t.distinct > defaultSize {
		c = append(c, defaultSize)
	}
	slices.Sort(c)
	return slices.Compact(c)
}
