package dedup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/testkit"
)

// program is n lines as a program has them, like no others of another seed.
func program(seed, n int) string {
	var s strings.Builder
	x := uint64(seed)*0x9e3779b97f4a7c15 + 1
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		fmt.Fprintf(&s, "%s%x := call%d(\"%x\", %d)\n", strings.Repeat("\t", int(x>>60)%4), x&0xffffff, x>>8&0xfff, x>>20&0xffffffff, x>>40&0xffff)
	}
	return s.String()
}

// conversationOf is a request of some bytes: an agent's, whose tools answer with programs, of
// which every repeated one is one that was there.
func conversationOf(t testing.TB, op llm.Operation, size, repeated int) *llm.Request {
	list := []json.RawMessage{say("system", program(0, 100)), say("user", "Look at it.")}
	for n, seed := 0, 1; n < size; {
		text := program(seed, 200)
		if seed++; repeated > 0 && seed%repeated == 0 {
			text = program(seed/2, 200)
		}
		b := fmt.Appendf(nil, `{"role":"assistant","content":null,"tool_calls":[{"id":"call_%d","type":"function","function":{"name":"read","arguments":"{\"n\":%d}"}}]}`, seed, seed)
		content, _ := json.Marshal(text)
		list = append(list, b, fmt.Appendf(nil, `{"role":"tool","tool_call_id":"call_%d","content":%s}`, seed, content))
		n += len(content) + len(b)
	}
	return request(op, translated(t, op, list).body(op))
}

func BenchmarkRewrite(b *testing.B) {
	ordinary := request(llm.Chat, body(llm.Chat, []json.RawMessage{say("system", program(1, 20)), say("user", program(2, 10)), say("assistant", program(3, 5)), say("user", "go on")}))
	for _, c := range []struct {
		name string
		req  *llm.Request
		mode llm.DedupMode
	}{
		{"ordinary/safe", ordinary, llm.DedupSafe},
		{"ordinary/blocks", ordinary, llm.DedupBlocks},
		{"plain/1MB/safe", conversationOf(b, llm.Chat, 1<<20, 0), llm.DedupSafe},
		{"plain/100kB/blocks", conversationOf(b, llm.Chat, 100<<10, 0), llm.DedupBlocks},
		{"plain/1MB/blocks", conversationOf(b, llm.Chat, 1<<20, 0), llm.DedupBlocks},
		{"plain/10MB/blocks", conversationOf(b, llm.Chat, 10<<20, 0), llm.DedupBlocks},
		{"plain/10MB/blocks/responses", conversationOf(b, llm.Response, 10<<20, 0), llm.DedupBlocks},
		{"plain/10MB/blocks/messages", conversationOf(b, llm.Messages, 10<<20, 0), llm.DedupBlocks},
		{"plain/10MB/blocks/gemini", conversationOf(b, llm.GenerateContent, 10<<20, 0), llm.DedupBlocks},
		{"repeats/100kB/blocks", conversationOf(b, llm.Chat, 100<<10, 3), llm.DedupBlocks},
		{"repeats/1MB/blocks", conversationOf(b, llm.Chat, 1<<20, 3), llm.DedupBlocks},
		{"repeats/10MB/blocks", conversationOf(b, llm.Chat, 10<<20, 3), llm.DedupBlocks},
	} {
		b.Run(c.name, func(b *testing.B) {
			d, err := New(Default(), Options{Buffers: buffers()})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(c.req.Body)))
			b.ReportAllocs()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			began, n := processorTime(b), 0
			for b.Loop() {
				if w, _ := d.rewrite(c.req, c.mode, nil); w != nil {
					w.release()
				}
				n++
			}
			// Of the thread alone: the clock has what else the machine does in it.
			used := processorTime(b) - began
			b.ReportMetric(float64(used.Nanoseconds())/float64(n), "cpu-ns/op")
			b.ReportMetric(float64(n)*float64(len(c.req.Body))/1e6/used.Seconds(), "cpu-MB/s")
		})
	}
}

// processorTime is what the thread has used.
func processorTime(b *testing.B) time.Duration {
	const ofThread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(ofThread, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestAllocations: neither finding nothing nor rewriting makes garbage.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	for _, op := range dialects() {
		for _, c := range []struct {
			name     string
			repeated int
			mode     llm.DedupMode
		}{{"safe", 3, llm.DedupSafe}, {"nothing to do", 0, llm.DedupBlocks}, {"blocks", 3, llm.DedupBlocks}} {
			d, err := New(always(), Options{Buffers: buffers()})
			if err != nil {
				t.Fatal(err)
			}
			req := conversationOf(t, op, 50<<10, c.repeated)
			req.Body = bytes.Replace(req.Body, []byte(`"`+listOf(op)+`":[`), []byte(`"`+listOf(op)+`":[{"type":"reasoning","content":[{"type":"a"}]},`), 1) // not looked into
			if n := testing.AllocsPerRun(100, func() {
				if w, _ := d.rewrite(req, c.mode, nil); w != nil {
					w.release()
				}
			}); n > 0 {
				t.Errorf("%v, %s: %v allocations", op, c.name, n)
			}
		}
	}
}

func buffers() *memory.Buffers { return new(memory.Buffers) }
