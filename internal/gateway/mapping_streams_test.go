//go:build linux

package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sluice/internal/testkit"
)

// murmurs is a service of gRPC that begins streams and says nothing more. It has one
// goroutine for each connection, so that what it takes is little.
func murmurs(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer nc.Close(); murmur(nc) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return l.Addr().String()
}

func murmur(nc net.Conn) {
	if _, err := io.ReadFull(nc, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(nc, nc)
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 100})
	var head bytes.Buffer
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = f.WritePing(true, frame.Data)
			}
		case *http2.DataFrame:
			if !frame.StreamEnded() {
				continue
			}
			head.Reset()
			e := hpack.NewEncoder(&head)
			e.SetMaxDynamicTableSize(0)
			_ = e.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
			_ = e.WriteField(hpack.HeaderField{Name: "content-type", Value: "application/grpc"})
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: frame.StreamID, BlockFragment: head.Bytes(), EndHeaders: true})
			_ = f.WriteData(frame.StreamID, false, []byte("\x00\x00\x00\x00\x05\x0a\x03It ")) // {"words":"It "}
		}
	}
}

// TestMappedStreamsAlloc bounds what an open stream of gRPC takes while it waits for its
// next message, with the test's own end of the client's socket.
func TestMappedStreamsAlloc(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector takes memory of its own")
	}
	const alone = "SLUICE_TEST_ALONE" // as of TestStreamsAlloc
	if os.Getenv(alone) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestMappedStreamsAlloc$", "-test.v")
		cmd.Env = append(os.Environ(), alone+"=1")
		out, err := cmd.CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Error(err)
		}
		return
	}
	text := strings.ReplaceAll(oracleYAML, "ADDR", murmurs(t))
	_, url := run(t, loadYAML(t, "server: {engine: lean}\ncache: {enabled: false}\nhttp_client: {warm_connections: 0}\n"+text), io.Discard)
	addr := strings.TrimPrefix(url, "http://")
	space := make([]byte, 4096)
	var clients []net.Conn
	open := func() {
		t.Helper()
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		body := fmt.Sprintf(`{"model":"pythia","stream":true,"messages":[{"role":"user","content":"%s"}]}`, strings.Repeat("x", 500))
		if _, err := fmt.Fprintf(nc, "%s /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", http.MethodPost, addr, len(body), body); err != nil {
			t.Fatal(err)
		}
		for said := ""; !strings.Contains(said, `"content":"It "`); {
			n, err := nc.Read(space)
			if err != nil {
				t.Fatalf("%v, so far %q", err, said)
			}
			said += string(space[:n])
		}
		clients = append(clients, nc)
	}
	for range 20 { // what there is once
		open()
	}
	const streams, mostHeap, mostStack = 300, 24 << 10, 24 << 10
	before, stackBefore := footprint()
	for range streams {
		open()
	}
	var heap, stack int64
	defer func() {
		t.Logf("a stream: %d bytes in the heap, %d of stack, %d goroutines in all", heap, stack, runtime.NumGoroutine())
	}()
	testkit.Until(t, fmt.Sprintf("a stream takes no more than %d bytes in the heap and %d of stack", mostHeap, mostStack), func() bool {
		heap, stack = footprint()
		heap, stack = (heap-before)/streams, (stack-stackBefore)/streams
		return heap <= mostHeap && stack <= mostStack
	})
	runtime.KeepAlive(clients)
}
