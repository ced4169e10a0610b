package timeline

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	"sluice/internal/state"
)

// The history's file:
//
//	"slp" version | number of names | name… | point… | CRC-32C of all before
//
// A name begins with its length. A point is its Unix time in milliseconds, the
// number of its figures and one more, the places of their names, and the values
// as float32. The number is 0 where the names are those of the point before.
// Numbers are varints, the time signed, the values little-endian.
const (
	fileMagic = "slp\x01"
	fileName  = "history"
	lockName  = "history.lock"

	crcSize = 4
	// maxName bounds a name, in bytes.
	maxName = 256
	// maxFile bounds what is read: a day of points every 10 s.
	maxFile = 64 << 20
)

var errOtherProcess = errors.New("another process keeps its history there")

var errDamaged = errors.New("the file is damaged")

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// stateFile is the file in the state directory. One process writes there, the one
// that came first and holds the lock; others only read. It is used by one
// goroutine.
type stateFile struct {
	dir    string
	lock   *state.Lock
	unread bool // since the lock was taken
}

func newStateFile(dir string) *stateFile {
	return &stateFile{dir: dir, lock: state.NewLock(dir, lockName)}
}

// own takes the lock, if no other process has it.
func (f *stateFile) own() (bool, error) {
	if f.lock.Held() {
		return true, nil
	}
	mine, err := f.lock.Take()
	f.unread = mine
	return mine, err
}

func (f *stateFile) close() error { return f.lock.Close() }

// read gives the points of the file, none where there is no file.
func (f *stateFile) read() ([]Point, error) {
	f.unread = false
	file, err := os.Open(filepath.Join(f.dir, fileName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, err
	}
	return decode(b)
}

// setAside keeps a file that cannot be read from being replaced, so that someone
// can look at it.
func (f *stateFile) setAside() {
	name := filepath.Join(f.dir, fileName)
	if f.lock.Held() {
		_ = os.Rename(name, name+".damaged") // else the next writing replaces it
	}
}

// write replaces the file, whole or not at all.
func (f *stateFile) write(b []byte) error {
	return state.Replace(filepath.Join(f.dir, fileName), func(w io.Writer) error { _, err := w.Write(b); return err })
}

func encode(points []Point) []byte {
	var body []byte
	var names []string
	places := make(map[string]int)
	for i, p := range points {
		body = binary.AppendVarint(body, p.Time.UnixMilli())
		if i > 0 && slices.Equal(points[i-1].Names, p.Names) {
			body = binary.AppendUvarint(body, 0)
		} else {
			body = binary.AppendUvarint(body, uint64(len(p.Names))+1)
			for _, name := range p.Names {
				place, ok := places[name]
				if !ok {
					place = len(names)
					names, places[name] = append(names, name), place
				}
				body = binary.AppendUvarint(body, uint64(place))
			}
		}
		for _, v := range p.Values {
			body = binary.LittleEndian.AppendUint32(body, math.Float32bits(v))
		}
	}
	b := binary.AppendUvarint([]byte(fileMagic), uint64(len(names)))
	for _, name := range names {
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	}
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

func decode(b []byte) ([]Point, error) {
	n := len(b) - crcSize
	if n < len(fileMagic) || string(b[:len(fileMagic)]) != fileMagic || checksum(b[:n]) != binary.LittleEndian.Uint32(b[n:]) {
		return nil, errDamaged
	}
	r := reader{b: b[len(fileMagic):n]}
	table := r.table()
	var points []Point
	var last Point
	for len(r.b) > 0 {
		p := Point{Time: time.UnixMilli(r.varint()).UTC()}
		p.Names = r.names(table, last.Names)
		p.Values = r.values(len(p.Names))
		if r.bad || len(points) == maxPoints || len(points) > 0 && !last.Time.Before(p.Time) {
			return nil, errDamaged
		}
		points, last = append(points, p), p
	}
	if r.bad {
		return nil, errDamaged
	}
	return points, nil
}

// reader takes numbers and texts off bytes. Once it finds what cannot be it is
// bad, and gives nothing more.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

// table takes all names.
func (r *reader) table() []string {
	var names []string
	for range min(r.uvarint(), uint64(len(r.b))) { // a name has a byte at least
		size := r.uvarint()
		if size > maxName || size > uint64(len(r.b)) || !utf8.Valid(r.b[:size]) {
			r.bad, r.b = true, nil
			break
		}
		names = append(names, string(r.b[:size]))
		r.b = r.b[size:]
	}
	return names
}

// names takes the names of a point, after one that had those of before.
func (r *reader) names(table, before []string) []string {
	n := r.uvarint()
	switch {
	case n == 0:
		return before
	case n > maxHeadlines+1:
		r.bad, r.b = true, nil
		return nil
	}
	names := make([]string, n-1)
	for i := range names {
		place := r.uvarint()
		if place >= uint64(len(table)) {
			r.bad, r.b = true, nil
			return nil
		}
		names[i] = table[place]
	}
	return names
}

func (r *reader) values(n int) []float32 {
	if r.bad || len(r.b) < 4*n {
		r.bad = true
		return nil
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(r.b[4*i:]))
		if !finite(float64(values[i])) {
			r.bad = true
		}
	}
	r.b = r.b[4*n:]
	return values
}
