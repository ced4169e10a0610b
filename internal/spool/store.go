package spool

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"sync/atomic"
	"time"

	"sluice/internal/memory"
	"sluice/internal/monotonic"
	"sluice/internal/perf"
)

// Store is where bodies are kept: in memory up to memory.Config.SpoolAbove, reserved
// from the budget, and in files from there on. It is safe for concurrent use; a nil one
// keeps nothing.
type Store struct {
	memory  *memory.Governor
	account *memory.Account
	log     *slog.Logger
	clock   monotonic.Clock
	cfg     atomic.Pointer[memory.Config]

	// MostFiles is how many files there may be at once, since clients and upstreams need
	// file descriptors too; 0 is without bound. It is set before the Store is used.
	MostFiles int

	bytes, opened   atomic.Int64 // in files; files that are open
	files, repeated atomic.Uint64
	failed          [reasons]atomic.Uint64
	told            atomic.Int64 // on the clock: when a failure was last logged; 0 before
}

// reason is why a body could not be kept.
type reason uint8

const (
	onDisk    reason = iota // there was no directory, no room in it, or no descriptor
	beyondMax               // all files together are as large as they may be
	reasons
)

func (r reason) String() string { return [reasons]string{"disk", "max_bytes"}[r] }

var errBeyondMax = errors.New("all files together would be larger than memory.spool_max_bytes")

// share is how much of the memory budget all that is kept in memory may take: a file is
// there for what is more.
const share = 0.1

var errBeyondFiles = errors.New("there are as many files as the limit of open files allows for")

// New makes a Store that goes by cfg, which has been validated.
func New(cfg memory.Config, g *memory.Governor, log *slog.Logger) *Store {
	s := &Store{memory: g, account: g.Budget.Account("spools"), log: log, clock: monotonic.New()}
	s.account.AtMost(share)
	s.Use(cfg)
	return s
}

// Use takes another configuration up, which has been validated. What is kept stays
// where it is.
func (s *Store) Use(cfg memory.Config) { s.cfg.Store(&cfg) }

// Spool makes the Spool of a body that src gives, of length bytes or, where that is
// below 0, of nobody knows how many. src is not read before a reader is. End is to be
// called, whatever comes.
func (s *Store) Spool(src io.Reader, length int64) *Spool {
	sp := &Spool{store: s, src: src, length: length}
	sp.moved.L = &sp.mu
	return sp
}

// on reports whether anything is kept.
func (s *Store) on() bool {
	if s == nil {
		return false
	}
	cfg := s.cfg.Load()
	return cfg.SpoolAbove > 0 || cfg.SpoolMax > 0
}

// leastBuffer is what a body of unknown length begins with, in bytes, and one that is
// looked into (Spool.Peek).
const leastBuffer = 16 << 10

// fit makes *b, which may be nil and is for the request id, a buffer that holds what it does, with room for n
// bytes. Where it cannot, *b stays as it is. take reserves in the account.
func (s *Store) fit(b **memory.Buffer, id string, n int, take func(int64) bool) bool {
	n = max(n, leastBuffer)
	room := int64(memory.Room(n))
	if !take(room) {
		return false
	}
	larger, err := s.memory.Buffers.GetPaid(memory.Owner{Part: "spool", ID: id}, n)
	if err != nil {
		s.account.Give(room)
		return false
	}
	if *b != nil {
		larger.B = append(larger.B, (*b).B...)
		s.giveBuffer(*b)
	}
	*b = larger
	return true
}

func (s *Store) giveBuffer(b *memory.Buffer) {
	room := int64(cap(b.B))
	s.memory.Buffers.Put(b)
	s.account.Give(room)
}

// claimFile takes one of the files that there may be.
func (s *Store) claimFile() bool {
	most := int64(s.MostFiles)
	if most == 0 {
		most = math.MaxInt64
	}
	return take(&s.opened, 1, most)
}

// claim takes n bytes of the files' bound.
func (s *Store) claim(n, most int64) bool { return take(&s.bytes, n, most) }

// take adds n where no more than most are then. It looks before it adds: what asks for too
// much must not be in the way of others even for a moment.
func take(to *atomic.Int64, n, most int64) bool {
	for {
		have := to.Load()
		if n > most-have {
			return false
		}
		if to.CompareAndSwap(have, have+n) {
			return true
		}
	}
}

// close closes a file for which n bytes were claimed. That takes milliseconds where it
// is large, since it has no name: its pages and blocks go with it. A reply may be
// about to leave meanwhile.
func (s *Store) close(f *os.File, n int64) {
	go func() {
		_ = f.Close() // it is to be gone
		s.bytes.Add(-n)
		s.opened.Add(-1)
	}()
}

// tellEvery is how often a failure is logged at most.
const tellEvery = time.Minute

// fail counts a body that cannot be kept, and logs why.
func (s *Store) fail(r reason, err error) {
	s.failed[r].Add(1)
	now := int64(s.clock.Now()) + 1 // never 0
	if last := s.told.Load(); last > 0 && now-last < int64(tellEvery) || !s.told.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("bodies that are passed on cannot be kept: their calls are not sent again, and forms that do not begin with their model are refused", "error", err)
}

// places are the directories to try, in turn; the user's alone where he names one.
func places(dir string) []string {
	if dir != "" {
		return []string{dir}
	}
	const usual = "/var/tmp" // which is on a disk more often than the other
	if temp := os.TempDir(); temp != usual {
		return []string{usual, temp}
	}
	return []string{usual}
}

// openFile opens a file without a name, for its owner alone, in dir or, where that is
// "", in the first usual place that is on a disk: files of other places are memory, which
// nobody has reserved.
func openFile(dir string) (*os.File, error) {
	var faults []error
	for _, place := range places(dir) {
		if dir == "" && inMemory(place) {
			faults = append(faults, fmt.Errorf("%s is in memory; name it as memory.spool_dir to have it used all the same", place))
			continue
		}
		f, err := openUnnamed(place)
		if err == nil {
			return f, nil
		}
		faults = append(faults, err)
	}
	return nil, fmt.Errorf("open file for body: %w", errors.Join(faults...))
}

// openRemoved is openUnnamed where a file has a name at first.
func openRemoved(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "sluice-*") // with the mode 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Figures implements perf.Source.
func (s *Store) Figures(r perf.Reporter) {
	r.Gauge("spool_file_bytes", "Bytes of bodies that are kept in files while they pass, for another attempt, or until their model comes.", float64(s.bytes.Load()))
	r.Counter("spool_files_total", "Bodies that were kept in a file while they passed.", float64(s.files.Load()))
	r.Counter("spool_repeated_total", "Times that a body which had passed was read again for another attempt.", float64(s.repeated.Load()))
	for k := range reasons {
		r.Counter("spool_failed_total", "Bodies that could not be kept, by why: the disk, or memory.spool_max_bytes. Their calls went on, with no other attempt; forms of which the model had not come were refused.",
			float64(s.failed[k].Load()), "reason", k.String())
	}
}
