package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stored makes a Store with a budget of its own. When the test ends nothing may be kept.
func stored(t testing.TB, change func(*memory.Config)) *Store {
	t.Helper()
	cfg := memory.Default()
	cfg.SpoolDir = t.TempDir()
	if change != nil {
		change(&cfg)
	}
	g := memory.New(memory.Options{})
	g.Budget.Resize(64 << 20)
	s := New(cfg, g, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		testkit.Until(t, "nothing is kept", func() bool { return s.bytes.Load() == 0 && g.Budget.Used() == 0 && len(open(t)) == 0 })
	})
	return s
}

// open lists the files without a name that the process has.
func open(t testing.TB) (list []string) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil // another system
	}
	for _, fd := range all {
		if name, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasSuffix(name, " (deleted)") {
			list = append(list, name)
		}
	}
	return list
}

func noise(n int) []byte {
	b := make([]byte, n)
	chacha := rand.NewChaCha8([32]byte{1})
	_, _ = chacha.Read(b)
	return b
}

func has(t *testing.T, r io.Reader, want []byte) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes and %v, want %d", len(got), err, len(want))
	}
}

// Whatever a body's size, and however much of it was read, the next reader has all of
// it, from memory or from a file.
func TestAgain(t *testing.T) {
	const above = 100_000
	for _, c := range []struct {
		size, known int
		inFile      bool
	}{
		{0, 0, false}, {1, 1, false}, {1, -1, false}, {above, above, false}, {above, -1, false}, {above + 1, above + 1, true},
		{above + 1, -1, true}, {5_000_000, 5_000_000, true}, {5_000_000, -1, true},
	} {
		for _, part := range []int{1, 10, 2} { // that the first reader reads
			s := stored(t, func(cfg *memory.Config) { cfg.SpoolAbove = above })
			body := noise(c.size)
			sp := s.Spool(bytes.NewReader(body), int64(c.known))
			has(t, io.LimitReader(sp.Reader(true), int64(c.size/part)), body[:c.size/part])
			if !sp.Repeatable() {
				t.Errorf("%+v: not repeatable", c)
			}
			second := sp.Reader(true)
			if part == 2 { // which is given up too
				has(t, io.LimitReader(second, int64(c.size/3)), body[:c.size/3])
				second = sp.Reader(true)
			}
			has(t, second, body)
			if (s.files.Load() > 0) != c.inFile {
				t.Errorf("%+v: %d files", c, s.files.Load())
			}
			if held := s.account.Held(); c.inFile && (held > 0 || s.bytes.Load() != int64(c.size)) || !c.inFile && int64(c.size) > held {
				t.Errorf("%+v: %d bytes reserved, %d in files", c, held, s.bytes.Load())
			}
			sp.End()
		}
	}
}

// Nothing is kept where nothing is to be, and the body passes.
func TestNotKept(t *testing.T) {
	body := noise(300_000)
	for name, c := range map[string]struct {
		change func(*memory.Config)
		keeps  bool
	}{
		"no other attempt": {nil, false},
		"off":              {func(c *memory.Config) { c.SpoolAbove, c.SpoolMax = 0, 0 }, true},
		"no files":         {func(c *memory.Config) { c.SpoolMax = 0 }, true},
	} {
		s := stored(t, c.change)
		sp := s.Spool(bytes.NewReader(body), -1)
		if sp.Reader(c.keeps); !sp.Repeatable() {
			t.Errorf("%s: a body that nobody read is not repeatable", name)
		}
		has(t, sp.Reader(c.keeps), body)
		if sp.Repeatable() || s.bytes.Load() > 0 || s.account.Held() > 0 || s.files.Load() > 0 || s.failed[onDisk].Load()+s.failed[beyondMax].Load() > 0 {
			t.Errorf("%s: repeatable, or kept", name)
		}
		if _, err := sp.Reader(true).Read(make([]byte, 1)); !errors.Is(err, ErrLost) {
			t.Errorf("%s: another reader: %v", name, err)
		}
		sp.End()
	}
	var none *Store
	sp := none.Spool(bytes.NewReader(body), -1)
	has(t, sp.Reader(true), body)
	if sp.Repeatable() {
		t.Error("no Store: repeatable")
	}
	sp.End()
	var no *Spool
	no.Last()
	no.End()
	if !no.Repeatable() {
		t.Error("no body: not repeatable")
	}
}

// What is looked into is kept or not read, and takes no file where that is little.
func TestPeek(t *testing.T) {
	body := noise(300_000)
	none := func(c *memory.Config) { c.SpoolAbove, c.SpoolMax = 0, 0 }
	for name, c := range map[string]struct {
		change func(*memory.Config)
		before func(*Store)
		size   int // that is looked into
		fault  error
		files  uint64
	}{
		"little":             {nil, nil, leastBuffer, nil, 0},
		"little, off":        {none, nil, leastBuffer, nil, 0},
		"little, scarce":     {nil, func(s *Store) { s.memory.SetLevel(memory.Elevated) }, leastBuffer, nil, 0},
		"little, no memory":  {nil, func(s *Store) { s.memory.Budget.Resize(1) }, 10, nil, 1},
		"much":               {nil, nil, 200_000, nil, 0},
		"more":               {nil, nil, 300_000, nil, 1},
		"off":                {none, nil, leastBuffer + 1, ErrTooLarge, 0},
		"no files":           {func(c *memory.Config) { c.SpoolMax = 0 }, nil, 300_000, ErrTooLarge, 0},
		"too large":          {func(c *memory.Config) { c.SpoolMax = 290_000 }, nil, 300_000, ErrTooLarge, 1},
		"too many":           {func(c *memory.Config) { c.SpoolMax = 310_000 }, func(s *Store) { s.bytes.Add(100_000) }, 300_000, errBeyondMax, 1},
		"no memory, no file": {func(c *memory.Config) { c.SpoolMax = 0 }, func(s *Store) { s.memory.Budget.Resize(1) }, 10, errNoMemory, 0},
		"no directory":       {func(c *memory.Config) { c.SpoolDir = "/nowhere" }, nil, 300_000, os.ErrNotExist, 0},
	} {
		s := stored(t, c.change)
		if c.before != nil {
			c.before(s)
		}
		sp := s.Spool(bytes.NewReader(body), -1)
		_, err := io.CopyN(io.Discard, struct{ io.Reader }{bufferedBy(sp.Peek(), 1000)}, int64(c.size))
		if !errors.Is(err, c.fault) || !errors.Is(sp.Fault(), c.fault) || s.files.Load() != c.files || sp.Repeatable() != (c.fault == nil) {
			t.Errorf("%s: %v, fault %v, %d files", name, err, sp.Fault(), s.files.Load())
		}
		if c.fault == nil {
			r := sp.Reader(false)
			if Of(r) != sp {
				t.Errorf("%s: whose reader it is does not show", name)
			}
			has(t, r, body)
		}
		sp.End()
		if name == "too many" {
			s.bytes.Add(-100_000)
		}
	}
	if Of(strings.NewReader("")) != nil {
		t.Error("a reader of another kind is a Spool's")
	}
}

// Nothing more is kept for a reader that none follows; where one does all the same, it
// has all while nothing is lost.
func TestNoneFollows(t *testing.T) {
	for name, above := range map[string]int64{"memory": 1 << 20, "file": 0} {
		s := stored(t, func(cfg *memory.Config) { cfg.SpoolAbove = above })
		body := noise(200_000)
		sp := s.Spool(bytes.NewReader(body), -1)
		has(t, io.LimitReader(sp.Reader(true), 100_000), body[:100_000])
		sp.Reader(false)
		if !sp.Repeatable() {
			t.Errorf("%s: lost before it is read", name)
		}
		has(t, io.LimitReader(sp.Reader(false), 50_000), body[:50_000])
		has(t, io.LimitReader(sp.Reader(true), 150_000), body[:150_000])
		if !sp.Repeatable() {
			t.Errorf("%s: not kept though another may follow", name)
		}
		has(t, sp.Reader(false), body)
		testkit.Until(t, "it goes", func() bool { return s.account.Held() == 0 && s.bytes.Load() == 0 })
		if sp.Repeatable() {
			t.Errorf("%s: kept after the last", name)
		}
		sp.End()
	}
}

// gated gives a piece of a body for each that is let through.
type gated struct {
	pieces chan []byte
	begun  chan struct{}
}

func (g *gated) Read(p []byte) (int, error) {
	g.begun <- struct{}{}
	piece, ok := <-g.pieces
	if !ok {
		return 0, io.EOF
	}
	return copy(p, piece), nil
}

// A Read that waits for a slow client when the next attempt begins takes nothing away
// from it, and never reads again.
func TestReadUnderWay(t *testing.T) {
	for name, above := range map[string]int64{"memory": 1 << 20, "file": 0} {
		t.Run(name, func(t *testing.T) {
			s := stored(t, func(cfg *memory.Config) { cfg.SpoolAbove = above })
			src := &gated{make(chan []byte), make(chan struct{}, 9)}
			sp := s.Spool(src, -1)
			first := sp.Reader(true)
			var got [2][]byte
			var errs [2]error
			var wg sync.WaitGroup
			wg.Go(func() { got[0], errs[0] = io.ReadAll(first) })
			src.pieces <- []byte("one ")
			<-src.begun
			<-src.begun // the second Read
			second := sp.Reader(true)
			wg.Go(func() { got[1], errs[1] = io.ReadAll(second) })
			src.pieces <- []byte("two ")
			src.pieces <- []byte("three")
			close(src.pieces)
			wg.Wait()
			if string(got[0]) != "one " || !errors.Is(errs[0], errDetached) {
				t.Errorf("first: %q, %v", got[0], errs[0])
			}
			if string(got[1]) != "one two three" || errs[1] != nil {
				t.Errorf("second: %q, %v", got[1], errs[1])
			}
			if n, err := first.Read(make([]byte, 9)); n > 0 || !errors.Is(err, errDetached) {
				t.Errorf("first, again: %d, %v", n, err)
			}
			has(t, sp.Reader(true), []byte("one two three"))
			sp.End()
		})
	}
}

// An end, or another attempt, does not wait for what a client sends, and neither does
// whoever waits for that Read.
func TestEndWhileReading(t *testing.T) {
	s := stored(t, nil)
	src := &gated{make(chan []byte), make(chan struct{}, 9)}
	sp := s.Spool(src, -1)
	errs := make(chan error, 3)
	read := func(r io.Reader) {
		_, err := io.ReadAll(r)
		errs <- err
	}
	go read(sp.Reader(true))
	src.pieces <- []byte("x")
	<-src.begun
	<-src.begun
	go read(sp.Reader(true))
	third := sp.Reader(true)
	if err := <-errs; !errors.Is(err, errDetached) { // the second's, or its Read's
		t.Error(err)
	}
	go read(third)
	sp.End()
	if err := <-errs; !errors.Is(err, errDetached) {
		t.Error(err)
	}
	if s.memory.Budget.Used() > 0 {
		t.Error("something is kept after the end")
	}
	src.pieces <- []byte("y")
	if err := <-errs; !errors.Is(err, errDetached) {
		t.Error(err)
	}
	if s.memory.Budget.Used() > 0 || sp.Repeatable() {
		t.Error("what came after the end is kept")
	}
}

// When the reply has begun the rest passes, and what was kept goes once it is read; a
// Read that is still under way is not lost even then.
func TestLast(t *testing.T) {
	body := noise(200_000)
	for name, above := range map[string]int64{"memory": 1 << 20, "file": 0} {
		s := stored(t, func(cfg *memory.Config) { cfg.SpoolAbove = above })
		sp := s.Spool(bytes.NewReader(body), -1)
		has(t, io.LimitReader(sp.Reader(true), 100_000), body[:100_000])
		second := sp.Reader(true)
		has(t, io.LimitReader(second, 50_000), body[:50_000])
		sp.Last()
		if s.account.Held() == 0 && s.bytes.Load() == 0 {
			t.Errorf("%s: what is to be read yet is gone", name)
		}
		has(t, io.LimitReader(second, 50_000), body[50_000:100_000])
		testkit.Until(t, "it goes", func() bool { return s.account.Held() == 0 && s.bytes.Load() == 0 })
		has(t, second, body[100_000:])
		if s.account.Held() > 0 || s.bytes.Load() > 0 || sp.Repeatable() {
			t.Errorf("%s: kept after the last", name)
		}
		sp.End()
	}
	s := stored(t, nil)
	src := &gated{make(chan []byte), make(chan struct{}, 9)}
	sp := s.Spool(src, -1)
	stale := make(chan error)
	first := sp.Reader(true)
	go func() {
		_, err := first.Read(make([]byte, 99))
		stale <- err
	}()
	<-src.begun
	second := sp.Reader(true)
	sp.Last()
	src.pieces <- []byte("kept")
	if err := <-stale; !errors.Is(err, errDetached) {
		t.Error(err)
	}
	close(src.pieces)
	has(t, second, []byte("kept"))
	sp.End()
}

// What ends the source ends each reader, at the same place.
func TestSourceFails(t *testing.T) {
	s := stored(t, nil)
	slow := llm.Errorf(408, "request_timeout", "too slow")
	sp := s.Spool(io.MultiReader(strings.NewReader("some"), iotest.ErrReader(slow)), 100)
	for range 2 {
		got, err := io.ReadAll(sp.Reader(true))
		if e, ok := errors.AsType[*llm.Error](err); string(got) != "some" || !ok || e != slow {
			t.Errorf("%q, %v", got, err)
		}
	}
	sp.End()
}

// Whatever readers begin and end when, and whatever a body is kept in: each has the
// bytes from the beginning, and the last one all.
func TestManyReaders(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		s := stored(t, func(cfg *memory.Config) { cfg.SpoolAbove = rnd.Int64N(60_000) })
		body := noise(rnd.IntN(100_000))
		length := int64(-1)
		if rnd.IntN(2) == 0 {
			length = int64(len(body))
		}
		sp := s.Spool(&halting{r: bytes.NewReader(body), rnd: rand.New(rand.NewPCG(seed, 1))}, length)
		var wg sync.WaitGroup
		for n := rnd.IntN(4); n >= 0; n-- {
			r, last, size := sp.Reader(true), n == 0, 1+rnd.IntN(40_000)
			if last && rnd.IntN(2) == 0 {
				sp.Last()
			}
			wg.Go(func() {
				got, err := io.ReadAll(struct{ io.Reader }{bufferedBy(r, size)})
				if err == nil && !bytes.Equal(got, body) || last && err != nil || !bytes.HasPrefix(body, got) {
					t.Errorf("seed %d, last %v: %d bytes of %d, %v", seed, last, len(got), len(body), err)
				}
			})
			if rnd.IntN(2) == 0 {
				time.Sleep(time.Duration(rnd.IntN(200)) * time.Microsecond)
			}
		}
		wg.Wait()
		sp.End()
	}
}

// halting gives pieces of some size, after some pauses.
type halting struct {
	r   io.Reader
	rnd *rand.Rand
}

func (h *halting) Read(p []byte) (int, error) {
	if h.rnd.IntN(3) == 0 {
		time.Sleep(time.Duration(h.rnd.IntN(50)) * time.Microsecond)
	}
	return h.r.Read(p[:1+h.rnd.IntN(len(p))])
}

// bufferedBy reads at most size bytes at a time.
func bufferedBy(r io.Reader, size int) io.Reader { return &sized{r, size} }

type sized struct {
	r    io.Reader
	size int
}

func (s *sized) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.size)]) }

// Where memory is scarce, or there is none, a body is kept in a file, even one that is
// partly in memory.
func TestScarceMemory(t *testing.T) {
	body := noise(100_000)
	s := stored(t, nil)
	sp := s.Spool(bytes.NewReader(body), -1)
	r := sp.Reader(true)
	has(t, io.LimitReader(r, 1000), body[:1000])
	if s.files.Load() > 0 {
		t.Error("in a file though there is memory")
	}
	s.memory.SetLevel(memory.Elevated)
	has(t, io.LimitReader(r, 1000), body[1000:2000])
	if s.files.Load() != 1 || s.account.Held() > 0 {
		t.Error("not in a file though memory is scarce")
	}
	s.memory.SetLevel(memory.Normal)
	has(t, sp.Reader(true), body)
	sp.End()

	s.memory.Budget.Resize(1000)
	sp = s.Spool(bytes.NewReader(body), -1)
	has(t, sp.Reader(true), body)
	if s.files.Load() != 2 || s.memory.Budget.Used() > 0 {
		t.Error("not in a file though there is no memory")
	}
	has(t, sp.Reader(true), body)
	sp.End()
}

// A body that cannot be kept passes all the same.
func TestFaultsOfTheDisk(t *testing.T) {
	body := noise(500_000)
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*memory.Config)
		why    reason
	}{
		"no directory":  {func(c *memory.Config) { c.SpoolDir = filepath.Join(plain, "none") }, onDisk},
		"a file":        {func(c *memory.Config) { c.SpoolDir = plain }, onDisk},
		"read-only":     {func(c *memory.Config) { c.SpoolDir = "/proc" }, onDisk},
		"too large":     {func(c *memory.Config) { c.SpoolMax = 400_000 }, beyondMax},
		"never so much": {func(c *memory.Config) { c.SpoolMax = 1 }, beyondMax},
	} {
		s := stored(t, c.change)
		sp := s.Spool(bytes.NewReader(body), -1)
		has(t, sp.Reader(true), body)
		if sp.Repeatable() || s.failed[c.why].Load() != 1 || s.account.Held() > 0 {
			t.Errorf("%s: repeatable %v, %d failures", name, sp.Repeatable(), s.failed[c.why].Load())
		}
		sp.End()
	}
}

// The limits of a process are its own: another one has them.
func TestLimitsOfTheProcess(t *testing.T) {
	const limit = "SPOOL_TEST_LIMIT"
	which := os.Getenv(limit)
	if which == "" {
		for _, which := range []string{"size", "descriptors"} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestLimitsOfTheProcess$", "-test.v")
			cmd.Env = append(os.Environ(), limit+"="+which)
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "failed as it should") {
				t.Errorf("%s: %v\n%s", which, err, out)
			}
		}
		return
	}
	s := stored(t, nil)
	_ = open(t) // what that takes is there
	resource, most := unix.RLIMIT_FSIZE, uint64(400_000)
	if which == "descriptors" {
		resource, most = unix.RLIMIT_NOFILE, 3
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(resource, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	body := noise(500_000)
	sp := s.Spool(bytes.NewReader(body), -1)
	has(t, sp.Reader(true), body)
	if err := unix.Setrlimit(resource, &before); err != nil {
		t.Fatal(err)
	}
	if n := s.failed[onDisk].Load(); n != 1 || sp.Repeatable() {
		t.Fatalf("%d failures, repeatable %v", n, sp.Repeatable())
	}
	sp.End()
	t.Log("failed as it should")
}

// A reader is told where a file cannot be read any more.
func TestFileBreaks(t *testing.T) {
	s := stored(t, func(cfg *memory.Config) { cfg.SpoolAbove = 0 })
	sp := s.Spool(strings.NewReader("body"), -1)
	has(t, sp.Reader(true), []byte("body"))
	if err := sp.file.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(sp.Reader(true)); !errors.Is(err, ErrLost) || sp.Repeatable() || s.failed[onDisk].Load() != 1 {
		t.Errorf("%v, repeatable %v", err, sp.Repeatable())
	}
	sp.End()
}

// A failure is logged once a minute, however many there are, with its reason.
func TestFailuresAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Buffer
		s := New(memory.Config{SpoolDir: "/nowhere", SpoolMax: 1}, memory.New(memory.Options{}), slog.New(slog.NewTextHandler(&log, nil)))
		for range 121 {
			sp := s.Spool(strings.NewReader("x"), -1)
			has(t, sp.Reader(true), []byte("x"))
			sp.End()
			time.Sleep(time.Second)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 3 || strings.Count(log.String(), "/nowhere") != 3 || s.failed[onDisk].Load() != 121 {
			t.Errorf("%d failures, %d lines:\n%s", s.failed[onDisk].Load(), lines, &log)
		}
	})
}

// A file has no name, is its owner's alone, and is in the user's directory.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	for name, make := range map[string]func(string) (*os.File, error){"unnamed": openFile, "removed": openRemoved} {
		f, err := make(dir)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		left, err2 := os.ReadDir(dir)
		if err != nil || err2 != nil || info.Mode() != 0o600 || len(left) > 0 {
			t.Errorf("%s: %v %v %v %v", name, info.Mode(), left, err, err2)
		}
		if list := open(t); list != nil && (len(list) != 1 || !strings.HasPrefix(list[0], dir)) {
			t.Errorf("%s: %v", name, list)
		}
		_ = f.Close()
	}
}

// What is memory is not taken for a disk, unless the user says so.
func TestInMemory(t *testing.T) {
	const shm = "/dev/shm"
	if !inMemory(shm) {
		t.Skip("there is no file system in memory")
	}
	if inMemory("/proc") || inMemory("/nowhere") {
		t.Error("taken for memory")
	}
	f, err := openFile(shm)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	t.Setenv("TMPDIR", shm)
	if got := fmt.Sprint(places(""), places("/x")); got != "[/var/tmp /dev/shm] [/x]" {
		t.Error(got)
	}
	for place, memory := range map[string]bool{"/var/tmp": inMemory("/var/tmp"), shm: true} {
		if f, err := openFile(""); err == nil {
			if name := open(t); memory && len(name) == 1 && strings.HasPrefix(name[0], place) {
				t.Errorf("%s was taken", place)
			}
			_ = f.Close()
		}
	}
}

// What asks for more than there may be is in nobody's way, not for a moment either.
func TestClaimsInVain(t *testing.T) {
	s := stored(t, nil)
	const most = 1 << 20
	done := make(chan struct{})
	begun := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case begun <- struct{}{}:
			default:
				if s.claim(most+1, most) {
					t.Error("more was given than there may be")
					return
				}
			}
		}
	})
	<-begun
	for range 1_000_000 {
		if !s.claim(1, most) {
			t.Error("there is room, and none was given")
			break
		}
		s.bytes.Add(-1)
	}
	close(done)
	wg.Wait()
}
