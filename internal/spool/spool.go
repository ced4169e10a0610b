// Package spool keeps bodies that are passed on as they come, so that they can be
// passed on again from the beginning.
//
// It promises that nobody waits for what it does: a byte is handed on when it comes,
// and a body that cannot be kept is passed on once, as if nobody had tried. What it
// keeps is bounded, in memory and in files, and gone when the process is, however that
// ends.
package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"sluice/internal/llm"
	"sluice/internal/memory"
)

// ErrLost is what a reader gives, an *llm.Error, that comes to where the body is not
// kept any more. It says nothing of whoever was to have the body.
var ErrLost error = llm.Errorf(500, "internal_error", "The request's body could not be sent again.")

// ErrTooLarge is Fault of a body that is larger than any may be that is kept.
var ErrTooLarge = errors.New("the body is larger than memory.spool_above_bytes and memory.spool_max_bytes let one be kept")

var errNoMemory = errors.New("there is no memory to keep the body in, and memory.spool_max_bytes allows for no file")

// errDetached ends a reader in whose place there is another one.
var errDetached = errors.New("the body is read by somebody else")

// Spool is one body on its way. Its source is read once; what comes is kept for the
// readers that follow. Its methods are safe for concurrent use; those of a nil one do
// nothing.
type Spool struct {
	ID string // of the request, for who looks what is held; set before it is used

	store  *Store
	src    io.Reader
	length int64 // of the body, -1 when unknown

	mu      sync.Mutex
	moved   sync.Cond // a Read of the source returned, or the reader is another one
	current *reader   // nil once it is over
	touched bool      // the source was read from
	reading bool      // a Read of the source is under way
	keeps   bool      // what comes is kept for a reader that may follow
	peeking bool      // current is one that Peek made
	err     error     // of the source
	fault   error     // why what came is not kept; nil for none

	// What is kept are the bytes of the body from base to size: all that has come
	// while base is 0. It is in buf, or in file, or there is nothing.
	base, size int64
	buf        *memory.Buffer
	file       *os.File
	claimed    int64 // of the Store's bytes, for file
}

// reader is one attempt's way to read the body. Only the last one made is any good.
type reader struct {
	spool *Spool
	at    int64
}

// Of gives the Spool that r reads from, nil for none: whoever is given a body that is
// kept already need not keep it a second time.
func Of(r io.Reader) *Spool {
	if r, ok := r.(*reader); ok {
		return r.spool
	}
	return nil
}

// Reader gives the body from its beginning, and ends the reader before. That one may
// have a Read of the source under way, which waits for a slow client: it is not waited
// for here, and what it gets is the new reader's.
//
// again says that another reader may follow. Where none does nothing more is kept, and
// what is kept goes as soon as this one has read it.
func (s *Spool) Reader(again bool) io.Reader { return s.read(again && s.store.on(), false) }

// Peek is Reader for whoever looks into the body before it is known where it goes: all
// that is read is kept for the next reader, or the Read fails (see Fault). So that this
// takes no file where it does not read far, the first 16 KiB are in memory, whatever
// the configuration says.
func (s *Spool) Peek() io.Reader { return s.read(true, true) }

func (s *Spool) read(keeps, peeking bool) io.Reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = &reader{spool: s}
	s.keeps, s.peeking = keeps && s.base == 0, peeking
	s.moved.Broadcast()
	return s.current
}

// Repeatable reports whether another reader would find the whole body.
func (s *Spool) Repeatable() bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.touched || s.base == 0 && (s.keeps || !s.reading)
}

// Fault is why something that came could not be kept, nil while that did not happen. It
// is ErrTooLarge where it would not be otherwise at another time.
func (s *Spool) Fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// Last says that no reader follows the one there is, as Reader(false) does of another.
func (s *Spool) Last() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keeps = false
	s.settle()
}

// End ends all readers, and keeps nothing. A Read of the source that is under way is
// not waited for.
func (s *Spool) End() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.keeps = nil, false
	s.drop()
	s.moved.Broadcast()
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	s := r.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.current != r:
			return 0, errDetached
		case r.at < s.base:
			return 0, ErrLost
		case r.at < s.size:
			return s.again(r, p)
		case s.err != nil:
			return 0, s.err
		case !s.reading:
			return s.pass(r, p)
		}
		s.moved.Wait()
	}
}

// again reads what is kept. s.mu is held, as it is in what follows: a file is read and
// written with it, since whoever could wait for it needs what is read or written.
func (s *Spool) again(r *reader, p []byte) (n int, err error) {
	if r.at == 0 {
		s.store.repeated.Add(1)
	}
	if from := r.at - s.base; s.file == nil {
		n = copy(p, s.buf.B[from:])
	} else if n, err = s.file.ReadAt(p[:min(int64(len(p)), s.size-r.at)], from); err != nil {
		s.store.fail(onDisk, err)
		s.keeps = false
		s.drop()
		return 0, ErrLost
	}
	r.at += int64(n)
	s.settle()
	return n, nil
}

// pass reads what comes. It is kept before it is handed on, and before anybody else can
// read what comes next.
func (s *Spool) pass(r *reader, p []byte) (int, error) {
	s.touched, s.reading = true, true
	n, err := s.readSource(p)
	s.reading = false
	if err != nil {
		s.err = err
	}
	if s.current != nil && n > 0 {
		s.keep(r, p[:n])
	}
	s.moved.Broadcast()
	switch {
	case s.current != r:
		return 0, errDetached
	case s.peeking && s.fault != nil:
		return 0, s.fault
	}
	r.at += int64(n)
	s.settle()
	return n, err
}

// readSource reads from the source, without s.mu.
func (s *Spool) readSource(p []byte) (int, error) {
	s.mu.Unlock()
	defer s.mu.Lock()
	return s.src.Read(p)
}

// keep keeps b, which r has read, for whoever has to read it yet.
func (s *Spool) keep(r *reader, b []byte) {
	s.size += int64(len(b))
	if !s.keeps && r == s.current {
		s.base = s.size
		return
	}
	if err := s.hold(b); err != nil {
		s.fault, s.keeps = err, false
		s.drop()
	}
}

// settle drops what nobody will read any more.
func (s *Spool) settle() {
	if !s.keeps && s.current != nil && s.current.at == s.size {
		s.drop()
	}
}

// drop gives back what is kept.
func (s *Spool) drop() {
	s.base = s.size
	s.giveBuffer()
	if s.file != nil {
		s.store.close(s.file, s.claimed)
		s.file, s.claimed = nil, 0
	}
}

func (s *Spool) giveBuffer() {
	if s.buf != nil {
		s.store.giveBuffer(s.buf)
		s.buf = nil
	}
}

// hold puts b, of which size tells already, behind what is kept. The error says why not
// all of it is.
func (s *Spool) hold(b []byte) error {
	if s.store == nil {
		return ErrTooLarge
	}
	cfg := s.store.cfg.Load()
	if s.file == nil && s.fit(len(b), cfg.SpoolAbove) {
		s.buf.B = append(s.buf.B, b...)
		return nil
	}
	if s.file == nil {
		if err := s.open(cfg); err != nil {
			return err
		}
	}
	return s.write(b, cfg)
}

// fit sees to a buffer with room for n bytes more, where a body of most bytes may be in
// memory and there is memory for it.
func (s *Spool) fit(n int, most int64) bool {
	had := 0
	if s.buf != nil {
		had = len(s.buf.B)
	}
	need := had + n
	if s.peeking && need <= leastBuffer && (s.buf != nil || s.store.fit(&s.buf, s.ID, need, s.store.account.Least)) {
		return true
	}
	if int64(need) > most || s.length > most || s.store.memory.Level() >= memory.Elevated {
		return false
	}
	if s.buf != nil && need <= cap(s.buf.B) {
		return true
	}
	// As it comes, and not as it is announced.
	return s.store.fit(&s.buf, s.ID, max(need, int(min(2*int64(had), most))), s.store.account.Take)
}

// open goes over to a file.
func (s *Spool) open(cfg *memory.Config) error {
	switch {
	case cfg.SpoolMax > 0:
	case max(s.size, s.length) > cfg.SpoolAbove: // the user wants none
		return ErrTooLarge
	default:
		return errNoMemory
	}
	if !s.store.claimFile() {
		s.store.fail(beyondMax, errBeyondFiles)
		return errBeyondMax
	}
	file, err := openFile(cfg.SpoolDir)
	if err != nil {
		s.store.opened.Add(-1)
		s.store.fail(onDisk, err)
		return err
	}
	s.store.files.Add(1)
	s.file = file
	if s.buf == nil {
		return nil
	}
	defer s.giveBuffer()
	return s.write(s.buf.B, cfg)
}

func (s *Spool) write(b []byte, cfg *memory.Config) error {
	n := int64(len(b))
	if !s.store.claim(n, cfg.SpoolMax) {
		s.store.fail(beyondMax, errBeyondMax)
		if s.size > cfg.SpoolMax {
			return ErrTooLarge
		}
		return errBeyondMax
	}
	s.claimed += n
	if _, err := s.file.Write(b); err != nil {
		s.store.fail(onDisk, err)
		return fmt.Errorf("write body to file: %w", err)
	}
	return nil
}
