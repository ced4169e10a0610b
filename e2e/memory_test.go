package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/testkit"
)

// limitMiB is what the gateway of TestMemoryLimit may use.
const limitMiB = 256

// group makes a control group of the machine in which a process has limitMiB and is
// killed beyond that. It gives its folder, "" where none can be made.
func group(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		folder, limit := "", ""
		switch {
		case len(parts) < 3:
			continue
		case parts[1] == "memory":
			folder, limit = "/sys/fs/cgroup/memory"+parts[2], "memory.limit_in_bytes"
		case parts[1] == "":
			folder, limit = "/sys/fs/cgroup"+parts[2], "memory.max"
		}
		folder = filepath.Join(folder, fmt.Sprintf("sluice-test-%d", os.Getpid()))
		if limit == "" || os.Mkdir(folder, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			testkit.Until(t, "the control group is empty", func() bool { return os.Remove(folder) == nil })
		})
		if os.WriteFile(filepath.Join(folder, limit), []byte(strconv.Itoa(limitMiB<<20)), 0o600) == nil {
			return folder
		}
	}
	return ""
}

// plain is the binary as users have it, which is built where it is first wanted: the race
// detector takes memory of its own.
func plain(t *testing.T) string {
	t.Helper()
	file, err := buildPlain()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

var buildPlain = sync.OnceValues(func() (file string, err error) {
	file = filepath.Join(built, "plain")
	if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", file, "../cmd/sluice").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build sluice: %w\n%s", err, out)
	}
	return file, nil
})

// resident is how much of a process is in memory and its own, in MiB.
func resident(t *testing.T, in *instance) (all, own int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", in.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			all = kib >> 10
		}
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			own = kib >> 10
		}
	}
	return all, own
}

// hoard is an upstream that has clients hold what they have for as long as it can.
type hoard struct {
	bomb  []byte // 256 MiB that come as little
	hold  chan struct{}
	calls atomic.Int64
}

func newHoard() *hoard {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	io.WriteString(z, `{"id":"1","object":"chat.completion","choices":[],"x":"`)
	zeros := make([]byte, 1<<20)
	for i := range zeros {
		zeros[i] = '0'
	}
	for range 256 {
		z.Write(zeros)
	}
	io.WriteString(z, `"}`)
	z.Close()
	return &hoard{bomb: b.Bytes(), hold: make(chan struct{})}
}

func (h *hoard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := make([]byte, 200)
	n, _ := io.ReadFull(r.Body, head)
	io.Copy(io.Discard, r.Body)
	h.calls.Add(1)
	model := string(head[:n])
	wait := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-r.Context().Done():
			return false
		}
	}
	w.Header().Set("Content-Type", "application/json")
	const reply = `{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`
	switch {
	case strings.Contains(model, `"slow"`):
		wait(2 * time.Second)
		fmt.Fprintf(w, reply, "slow")
	case strings.Contains(model, `"large"`):
		fmt.Fprintf(w, reply, strings.Repeat("x", 200<<10))
	case strings.Contains(model, `"bomb"`):
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(h.bomb)
	case strings.Contains(model, `"stream"`):
		w.Header().Set("Content-Type", "text/event-stream")
		text := delta(strings.Repeat("y", 1000))
		for range 400 {
			if _, err := io.WriteString(w, text); err != nil {
				return
			}
		}
		select {
		case <-h.hold:
		case <-r.Context().Done():
		}
	default:
		fmt.Fprintf(w, reply, "hello")
	}
}

// assault is something that clients do to have the gateway hold more than there is. It
// goes on until ctx is done, and returns when nothing of it is left.
type assault func(ctx context.Context, t *testing.T, in *instance, c *http.Client)

// each has n clients do something again and again.
func each(ctx context.Context, n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				do(i)
			}
		})
	}
	wg.Wait()
}

// fetch asks and reads what comes; what comes does not matter.
func fetch(ctx context.Context, c *http.Client, url, kind string, body io.Reader, n int64) {
	req, err := http.NewRequestWithContext(ctx, "POST", url, body)
	if err != nil {
		return
	}
	req.ContentLength = n
	req.Header.Set("Content-Type", kind)
	resp, err := c.Do(req)
	if err != nil {
		return
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode == 503 {
		select {
		case <-time.After(100 * time.Millisecond): // as a client would, but more patiently
		case <-ctx.Done():
		}
	}
}

func assaults() map[string]assault {
	filler := bytes.Repeat([]byte("x"), 30<<20)
	return map[string]assault{
		"bodies": func(ctx context.Context, t *testing.T, in *instance, c *http.Client) {
			each(ctx, 64, func(i int) {
				const begin, end = `{"model":"slow","messages":[{"role":"user","content":"`, `"}]}`
				body := io.MultiReader(strings.NewReader(begin), bytes.NewReader(filler), strings.NewReader(end))
				n := int64(len(begin) + len(filler) + len(end))
				if i%2 == 0 {
					n = -1
				}
				fetch(ctx, c, in.url+"/v1/chat/completions", "application/json", body, n)
			})
		},
		"slow readers": func(ctx context.Context, t *testing.T, in *instance, _ *http.Client) {
			var conns []net.Conn
			for i := 0; i < 2000 && ctx.Err() == nil; i++ {
				nc, err := net.Dial("tcp", strings.TrimPrefix(in.url, "http://"))
				if err != nil {
					t.Error(err)
					break
				}
				nc.(*net.TCPConn).SetReadBuffer(4 << 10)
				body := fmt.Sprintf(`{"model":"stream","stream":true,"messages":[{"role":"user","content":"%d"}]}`, i)
				fmt.Fprintf(nc, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				conns = append(conns, nc)
			}
			<-ctx.Done()
			for _, nc := range conns {
				nc.Close()
			}
		},
		"cache": func(ctx context.Context, t *testing.T, in *instance, c *http.Client) {
			each(ctx, 8, func(int) {
				body := fmt.Sprintf(`{"model":"large","messages":[{"role":"user","content":"%d"}]}`, rand.Uint64())
				fetch(ctx, c, in.url+"/v1/chat/completions", "application/json", strings.NewReader(body), int64(len(body)))
			})
		},
		"bombs": func(ctx context.Context, t *testing.T, in *instance, c *http.Client) {
			each(ctx, 8, func(int) {
				body := fmt.Sprintf(`{"model":"bomb","messages":[{"role":"user","content":"%d"}]}`, rand.Uint64())
				fetch(ctx, c, in.url+"/v1/chat/completions", "application/json", strings.NewReader(body), int64(len(body)))
			})
		},
		"codec": func(ctx context.Context, t *testing.T, in *instance, c *http.Client) {
			// Packed zeros become two bytes each, and names of members many more.
			wire := append([]byte{0x12, 0x80, 0x80, 0x80, 0x02}, make([]byte, 4<<20)...)
			each(ctx, 16, func(int) {
				fetch(ctx, c, in.url+"/v1/protobuf/decode?type=demo.Greeting", "application/x-protobuf", bytes.NewReader(wire), int64(len(wire)))
			})
		},
	}
}

// TestMemoryLimit has clients do their worst to a gateway that may use 256 MiB, each in
// its way and then all at once. It is never killed, small requests are answered
// meanwhile, and after it everything is as it was.
func TestMemoryLimit(t *testing.T) {
	h := newHoard()
	up := serve(t, h)
	bin := plain(t)
	yaml := fmt.Sprintf("upstreams: [{name: up, base_url: %q, models: [slow, large, bomb, stream, m]}]\nhttp_client: {max_connections: 3000}\ncache: {max_bytes: 10GiB, max_size: 1000000}\nadmit: {enabled: false}\n", up+"/v1")
	folder := group(t)
	var in *instance
	if folder != "" {
		in = startBy(t, []string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, folder, bin}, yaml)
	} else {
		t.Log("no control group can be made here: the size is watched instead")
		in = startBy(t, []string{bin}, yaml, fmt.Sprintf("SLUICE_MEMORY_LIMIT=%dMiB", limitMiB))
	}
	if got, err := strconv.ParseFloat(metric(t, in, "sluice_memory_limit_bytes"), 64); err != nil || got != limitMiB<<20 {
		t.Fatalf("the limit is taken for %v bytes, %v", got, err)
	}
	request(t, "PUT", in.url+"/v1/protobuf/schemas/greet", greetProto, "Content-Type", "text/plain")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}, Timeout: 30 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	small := &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}
	t.Cleanup(small.CloseIdleConnections)
	probe := func() (time.Duration, error) {
		begun := time.Now()
		body := fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"%d"}]}`, rand.Uint64())
		resp, err := small.Post(in.url+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 && err == nil {
			err = fmt.Errorf("status %d: %s", resp.StatusCode, text)
		}
		return time.Since(begun), err
	}
	if _, err := probe(); err != nil {
		t.Fatal(err)
	}
	// As the SDKs do, which try twice more: on a machine with other work a request may come
	// in a moment in which nothing more begins.
	patient := func() (d time.Duration, err error) {
		for range 3 {
			if d, err = probe(); err == nil {
				return d, nil
			}
			time.Sleep(2 * time.Second) // Retry-After
		}
		return d, err
	}
	everything := assaults()
	rounds := []struct {
		name string
		of   map[string]assault
	}{}
	for name, a := range everything {
		rounds = append(rounds, struct {
			name string
			of   map[string]assault
		}{name, map[string]assault{name: a}})
	}
	rounds = append(rounds, struct {
		name string
		of   map[string]assault
	}{"all at once", everything})
	for _, round := range rounds {
		t.Run(round.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+min(2, len(round.of)))*time.Second)
			defer cancel()
			var wg sync.WaitGroup
			for _, a := range round.of {
				wg.Go(func() { a(ctx, t, in, client) })
			}
			var took []time.Duration
			most, failed := 0, 0
			var last error
			for ctx.Err() == nil {
				d, err := patient()
				if took = append(took, d); err != nil {
					failed, last = failed+1, err
				}
				all, _ := resident(t, in)
				most = max(most, all)
			}
			wg.Wait()
			slices.Sort(took)
			t.Logf("at most %d MiB resident; %d small requests, %d failed, the slowest took %v; level %s, %s", most, len(took), failed, took[len(took)-1],
				metric(t, in, "sluice_memory_level"), reserved(t, in))
			if most > limitMiB {
				t.Errorf("%d MiB resident", most)
			}
			if failed > 0 {
				t.Errorf("%d of %d small requests failed, the last with %v", failed, len(took), last)
			}
		})
	}
	if in.cmd.ProcessState != nil {
		t.Fatal("it was killed")
	}
	client.CloseIdleConnections()
	testkit.Until(t, "nothing but the cache is held", func() bool {
		return metric(t, in, `sluice_memory_reserved_bytes{part="requests"}`) == "0" && metric(t, in, "sluice_memory_level") == "0"
	})
	if answer := request(t, "DELETE", in.url+"/v1/cache", ""); answer.status != 200 {
		t.Error(answer)
	}
	all, own := 0, 0
	defer func() { t.Logf("at the end %d MiB resident, %d MiB of its own", all, own) }()
	testkit.Until(t, "memory is back with the system", func() bool {
		all, own = resident(t, in)
		return own < 40
	})
}

// reserved lists what is reserved.
func reserved(t *testing.T, in *instance) string {
	t.Helper()
	var list []string
	for _, part := range []string{"requests", "connections", "buffers", "heads", "cache", "shared_calls", "codec", "results", "spools"} {
		list = append(list, part+" "+metric(t, in, fmt.Sprintf(`sluice_memory_reserved_bytes{part=%q}`, part)))
	}
	return strings.Join(list, ", ")
}

// TestMemoryOfConnections: clients without a key can take no more by opening connections
// than what is set aside for that, of any kind; who is connected is answered all the same,
// and afterwards everybody may connect again.
func TestMemoryOfConnections(t *testing.T) {
	const limit, most = 96, 1500
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	pool := certificate(t, cert, key, "x")
	in := startBy(t, []string{plain(t)}, fmt.Sprintf("server: {tls: {cert: %q, key: %q}}\nmemory: {limit_bytes: %dMiB}\n", cert, key, limit))
	addr := strings.TrimPrefix(in.url, "https://")
	kept := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 30 * time.Second}
	t.Cleanup(kept.CloseIdleConnections)
	figure := func(name string) int {
		resp, err := kept.Get(in.url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(page)) {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
				if err != nil {
					t.Fatal(err)
				}
				return int(n)
			}
		}
		t.Fatalf("no %s", name)
		return 0
	}
	const part = `sluice_memory_reserved_bytes{part="connections"}`
	shed := 0
	for _, protocol := range []string{"http/1.1", "h2"} {
		_, before := resident(t, in)
		reserved := figure(part)
		var conns []net.Conn
		refused := 0
		for range most {
			c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, NextProtos: []string{protocol}})
			if err != nil {
				refused++
				continue
			}
			conns = append(conns, c)
			if protocol == "h2" {
				fmt.Fprint(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
			}
		}
		all, own := resident(t, in)
		gone := figure(`sluice_client_connections_rejected_total{cause="idle"}`)
		t.Logf("%s: %d connections open, %d refused; %d MiB resident, %d KiB of its own a connection; %d KiB reserved", protocol, len(conns), refused, all, (own-before)<<10/len(conns), (figure(part)-reserved)>>10)
		if all > limit {
			t.Errorf("%s: %d MiB resident", protocol, all)
		}
		most := figure("sluice_memory_budget_bytes") * 4 / 10 // a quarter, and what comes and goes meanwhile
		if held := figure(part); held <= reserved || held > most {
			t.Errorf("%s: %d bytes are reserved, at most %d may be", protocol, held, most)
		}
		if gone <= shed {
			t.Errorf("%s: none was closed for another", protocol)
		}
		shed = gone
		// Whoever comes is let in all the same.
		anew := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: time.Minute}
		if resp, err := anew.Get(in.url + "/readyz"); err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: a newcomer gets %v, %v", protocol, resp, err)
		} else {
			resp.Body.Close()
		}
		anew.CloseIdleConnections()
		for _, c := range conns {
			c.Close()
		}
		testkit.Until(t, "it is given back", func() bool { return figure(part) <= reserved })
	}
}
