package cache

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/perf"
)

func inDir(dir string) func(*Config, *Options) {
	return func(_ *Config, o *Options) {
		o.StateDir = dir
		o.Aside = func() []byte { return []byte("aside") }
	}
}

// A restart begins with what was in memory, with what it had left of its life.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "made", "when needed")
		f := newFixture(t, inDir(dir))
		stop := f.run()
		f.up.serve = embedded("")
		f.ask(t, embed(`["a","b"]`))
		f.up.serve = nil
		f.ask(t, chat("old"))
		time.Sleep(100 * time.Second)
		f.ask(t, chat("new"))
		stop()

		time.Sleep(20 * time.Second) // while nothing runs
		g := newFixture(t, inDir(dir))
		if string(g.Restored()) != "aside" {
			t.Errorf("aside was %q", g.Restored())
		}
		c := g.expect(t, chat("new"), "HIT "+chatReply(" 3"))
		if c.head.Age != 20*time.Second || c.head.Upstream != "up" {
			t.Errorf("head %+v", c.head)
		}
		check(t, g.ask(t, embed(`["b","a"]`)), `"b"`, `"a"`)
		g.expect(t, chat("old"), "MISS "+chatReply(" 1"))
		time.Sleep(100 * time.Second)
		g.expect(t, chat("new"), "MISS "+chatReply(" 2"))
	})
}

// It is written now and then, so that a crash costs little, for this user
// alone, and whole or not at all.
func TestHotSetIsWrittenPeriodically(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := newFixture(t, func(c *Config, o *Options) {
			inDir(dir)(c, o)
			c.Preload.HotSetInterval, c.ResponseTTL = 10*time.Second, time.Hour
		})
		defer f.run()()
		f.ask(t, chat("hi"))
		time.Sleep(10*time.Second + 1)
		synctest.Wait()
		info, err := os.Stat(filepath.Join(dir, hotName))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info, err)
		}
		g := newFixture(t, inDir(dir)) // while the other runs, or after it crashed
		g.expect(t, chat("hi"), "HIT "+chatReply(" 1"))

		// What was purged does not come back.
		if _, err := f.Purge(context.Background(), Purge{}); err != nil {
			t.Error(err)
		}
		h := newFixture(t, inDir(dir))
		h.expect(t, chat("hi"), "MISS "+chatReply(" 1"))
	})
}

// Of two processes with one directory the first one writes; the second one
// reads and says why it does not write, once. It takes over when the first
// has ended.
func TestTwoProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		every := func(c *Config, o *Options) { inDir(dir)(c, o); c.Preload.HotSetInterval = 10 * time.Second }
		f, g := newFixture(t, every), newFixture(t, every)
		stopF := f.run()
		f.ask(t, chat("f"))
		time.Sleep(11 * time.Second)
		stopG := g.run()
		g.ask(t, chat("g"))
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if n := strings.Count(g.log.String(), "another process"); n != 1 {
			t.Errorf("said %d times: %s", n, g.log)
		}
		newFixture(t, inDir(dir)).expect(t, chat("f"), "HIT "+chatReply(" 1"))
		stopF()
		time.Sleep(11 * time.Second)
		stopG()
		newFixture(t, inDir(dir)).expect(t, chat("g"), "HIT "+chatReply(" 1"))
		if f.log.Len() > 0 {
			t.Error(f.log)
		}
	})
}

// A full disk costs the new hot set; the last one stays, and there is room
// again later.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	f := newFixture(t, inDir(dir))
	f.ask(t, chat("hi"))
	if err := f.save(nil); err != nil {
		t.Fatal(err)
	}
	f.ask(t, chat("ho"))
	// Writing to it fails as on a full disk.
	next := filepath.Join(dir, hotName+".new")
	if err := os.Symlink("/dev/full", next); err != nil {
		t.Fatal(err)
	}
	err := f.save(nil)
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("got %v", err)
	}
	f.Examine(func(c perf.Condition) {
		if c.State != perf.Degraded || !strings.Contains(c.Error, "no space left") || !strings.Contains(c.Advice, dir) {
			t.Errorf("condition %+v", c)
		}
	})
	_ = f.save(err)
	if n := strings.Count(f.log.String(), "no space left"); n > 1 {
		t.Errorf("said %d times", n)
	}
	g := newFixture(t, inDir(dir))
	g.expect(t, chat("hi"), "HIT "+chatReply(" 1"))
	if _, err := os.Lstat(next); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
	if err := f.save(err); err != nil {
		t.Error(err)
	}
	f.Examine(func(c perf.Condition) {
		if c != (perf.Condition{Component: "state_dir"}) {
			t.Errorf("condition %+v", c)
		}
	})
	if err := f.hot.close(); err != nil {
		t.Error(err)
	}
}

// A directory that cannot be used is said, and the cache works.
func TestNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, inDir(file))
	f.run()()
	f.ask(t, chat("hi"))
	f.expect(t, chat("hi"), "HIT "+chatReply(" 1"))
	if !strings.Contains(f.log.String(), "cannot be written") {
		t.Error(f.log)
	}
}

// What is damaged is not used, what is before it is; a file from the future
// was written before the clock was set back.
func TestDamagedHotSet(t *testing.T) {
	dir := t.TempDir()
	f := newFixture(t, inDir(dir))
	for i := range 5 {
		f.ask(t, chat(fmt.Sprint(i)))
	}
	if err := f.save(nil); err != nil {
		t.Fatal(err)
	}
	if err := f.hot.close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, hotName)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 3 {
		bad := append([]byte(nil), whole...)
		bad[at] ^= 0x55
		for _, b := range [][]byte{bad, whole[:at]} {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			g := newFixture(t, inDir(dir))
			for i := range 5 {
				if c := g.ask(t, chat(fmt.Sprint(i))); c.head.Cache.String() == "HIT" && string(c.body) != chatReply(fmt.Sprintf(" %d", i+1)) {
					t.Fatalf("byte %d: got %s", at, c)
				}
			}
			if g.up.count() == 0 && at < len(whole)-1 {
				t.Errorf("byte %d: not noticed", at)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) { // where it is the year 2000
		if err := os.WriteFile(name, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		g := newFixture(t, inDir(dir))
		g.expect(t, chat("1"), "MISS "+chatReply(" 1"))
	})
}

// The file keeps to its bound, and the hottest entries are in it.
func TestHotSetBound(t *testing.T) {
	dir := t.TempDir()
	const limit = 8 << 10
	small := func(c *Config, o *Options) { inDir(dir)(c, o); c.Preload.HotSetBytes = limit }
	f := newFixture(t, small)
	for i := range 200 {
		f.ask(t, chat(fmt.Sprint(i)))
		f.ask(t, chat("hot"))
	}
	if err := f.save(nil); err != nil {
		t.Fatal(err)
	}
	if err := f.hot.close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, hotName))
	if err != nil || info.Size() > limit || info.Size() < limit/2 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
	newFixture(t, small).expect(t, chat("hot"), "HIT "+chatReply(" 2"))
}

// A changed configuration keeps what is in memory.
func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.ask(t, chat("hi"))
		time.Sleep(time.Second)
		g := newFixture(t, func(c *Config, o *Options) { c.MaxSize, o.Before = 10, f.Cache })
		if n := g.store.entries.EstimatedSize(); n != 0 {
			t.Errorf("%d entries before it is time", n)
		}
		g.TakeOver()
		c := g.expect(t, chat("hi"), "HIT "+chatReply(" 1"))
		if c.head.Age != time.Second {
			t.Errorf("age %v", c.head.Age)
		}
	})
}

// A cache that another one has taken over from leaves the hot set to that one.
func TestRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := newFixture(t, inDir(dir))
		stop := f.run()
		f.ask(t, chat("old"))
		g := newFixture(t, func(c *Config, o *Options) { inDir(dir)(c, o); o.Before = f.Cache })
		g.TakeOver()
		stopG := g.run()
		g.ask(t, chat("new"))
		stopG()
		if _, err := f.Purge(context.Background(), Purge{}); err != nil {
			t.Error(err)
		}
		stop()
		h := newFixture(t, inDir(dir))
		h.expect(t, chat("new"), "HIT "+chatReply(" 1"))
		h.expect(t, chat("old"), "HIT "+chatReply(" 1"))
		if f.log.Len()+g.log.Len() > 0 {
			t.Error(f.log, g.log)
		}
	})
}

func FuzzHotSet(f *testing.F) {
	dir := f.TempDir()
	c := newFixture(f, inDir(dir))
	c.ask(f, chat("hi"))
	if err := c.save(nil); err != nil {
		f.Fatal(err)
	}
	if err := c.hot.close(); err != nil {
		f.Fatal(err)
	}
	name := filepath.Join(dir, hotName)
	whole, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(hotMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		h := newHotSet(dir, 1<<20, nil)
		entries, _ := h.read(time.Hour)
		for _, e := range entries {
			if e.until <= time.Hour {
				t.Errorf("expired: %+v", e)
			}
		}
	})
}
