package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/config"
	"sluice/internal/testkit"
)

// taker is an upstream that takes uploads on a bare socket.
type taker struct {
	url  string
	mu   sync.Mutex
	got  [][]byte // bodies that came whole
	asks int
}

// taking makes one. answer has each request once its head has come; what it does not
// read is not read.
func taking(t *testing.T, answer func(n int, conn net.Conn, body io.Reader)) *taker {
	u := &taker{}
	address := testkit.Listen(t, func(_ int, conn net.Conn) {
		br := bufio.NewReader(conn)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			u.mu.Lock()
			u.asks++
			n := u.asks
			u.mu.Unlock()
			answer(n, conn, &keeping{u: u, r: req.Body})
			if req.Close {
				return
			}
		}
	})
	u.url = "http://" + address + "/v1"
	return u
}

// keeping notes a body that was read to its end.
type keeping struct {
	u   *taker
	r   io.Reader
	all bytes.Buffer
}

func (k *keeping) Read(p []byte) (int, error) {
	n, err := k.r.Read(p)
	k.all.Write(p[:n])
	if err == io.EOF {
		k.u.mu.Lock()
		k.u.got = append(k.u.got, k.all.Bytes())
		k.u.mu.Unlock()
	}
	return n, err
}

// have is how many requests came, and the bodies that came whole.
func (u *taker) have() (asks int, bodies [][]byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asks, u.got
}

// wholly reads the body and answers with a status.
func wholly(status int) func(int, net.Conn, io.Reader) {
	return func(_ int, conn net.Conn, body io.Reader) {
		_, _ = io.Copy(io.Discard, body)
		_, _ = io.WriteString(conn, reply(status, "application/json", `{"object":"file"}`))
	}
}

// form is an upload of size bytes for a model.
func form(t *testing.T, model string, size int) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("model", model)
	file, err := w.CreateFormFile("file", "speech.wav")
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(content)
	_, _ = file.Write(content)
	_ = w.Close()
	return b.Bytes(), w.FormDataContentType()
}

// uploading makes a gateway with two upstreams for one model, of which the first is
// asked first. When the test ends no body may be kept in a file.
func uploading(t *testing.T, one, two *taker, change func(*config.Config)) (*Gateway, string) {
	t.Helper()
	cfg := load(t, "ONE_API_KEY=k1-secret", "ONE_BASE_URL="+one.url, "TWO_API_KEY=k2-secret", "TWO_BASE_URL="+two.url)
	for i := range cfg.Upstreams {
		cfg.Upstreams[i].Models = []string{"m"}
		cfg.Upstreams[i].HTTPClient.WarmConnections = 0
		cfg.Upstreams[i].Weight = map[string]int{"one": 1000, "two": 1}[cfg.Upstreams[i].Name]
	}
	cfg.Route.Balance = "weighted"
	cfg.Memory.SpoolDir = t.TempDir()
	if change != nil {
		change(cfg)
	}
	g, url := run(t, cfg, nil)
	t.Cleanup(func() {
		testkit.Until(t, "no file is kept", func() bool { return noFile(t, url) })
	})
	return g, url
}

func noFile(t *testing.T, url string) bool {
	t.Helper()
	_, page := get(t, url+"/metrics")
	return strings.Contains(page, "sluice_spool_file_bytes 0\n")
}

// sendUp sends a body to the gateway, and gives the status and what is said.
func sendUp(ctx context.Context, url, contentType string, body io.Reader) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/audio/transcriptions", body)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// An upload that an upstream took and refused goes to another one, the same bytes.
func TestUploadIsSentAgain(t *testing.T) {
	early := func(_ int, conn net.Conn, body io.Reader) { // before it is all there
		_, _ = io.CopyN(io.Discard, body, 1<<20)
		_, _ = io.WriteString(conn, reply(503, "application/json", `{}`))
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	}
	reset := func(_ int, conn net.Conn, body io.Reader) {
		_, _ = io.CopyN(io.Discard, body, 1<<20)
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	for name, c := range map[string]struct {
		one, two func(int, net.Conn, io.Reader)
		change   func(*config.Config)
		size     int
		status   int
		asks     [2]int // that the two get; 0 for any
	}{
		"503":            {wholly(503), wholly(200), nil, 5 << 20, 200, [2]int{1, 1}},
		"503, in memory": {wholly(503), wholly(200), nil, 100 << 10, 200, [2]int{1, 1}},
		"early 503":      {early, wholly(200), nil, 5 << 20, 200, [2]int{1, 1}},
		// Which it may have acted on: as with a body that is held.
		"reset":        {reset, wholly(200), nil, 5 << 20, 502, [2]int{1, -1}},
		"both":         {wholly(503), wholly(503), nil, 5 << 20, 503, [2]int{}},
		"400":          {wholly(400), wholly(200), nil, 5 << 20, 400, [2]int{1, -1}},
		"off":          {wholly(503), wholly(200), func(cfg *config.Config) { cfg.Memory.SpoolAbove, cfg.Memory.SpoolMax = 0, 0 }, 5 << 20, 503, [2]int{1, -1}},
		"no room":      {wholly(503), wholly(200), func(cfg *config.Config) { cfg.Memory.SpoolMax = 1 << 20 }, 5 << 20, 503, [2]int{1, -1}},
		"no directory": {wholly(503), wholly(200), func(cfg *config.Config) { cfg.Memory.SpoolDir = "/proc" }, 5 << 20, 503, [2]int{1, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			one, two := taking(t, c.one), taking(t, c.two)
			_, url := uploading(t, one, two, c.change)
			body, contentType := form(t, "m", c.size)
			for chunked := range 2 {
				var r io.Reader = bytes.NewReader(body)
				if chunked == 1 {
					r = struct{ io.Reader }{r}
				}
				before, _ := one.have()
				before2, _ := two.have()
				status, text, err := sendUp(t.Context(), url, contentType, r)
				asks, _ := one.have()
				asks2, got := two.have()
				if err != nil || status != c.status {
					t.Fatalf("%d %q %v", status, text, err)
				}
				for i, n := range [2]int{asks - before, asks2 - before2} {
					if want := c.asks[i]; want != 0 && n != max(want, 0) {
						t.Errorf("upstream %d was asked %d times, want %d", i+1, n, max(want, 0))
					}
				}
				if c.status == 200 && !bytes.Equal(got[len(got)-1], body) {
					t.Errorf("another body came: %d bytes, not %d", len(got[len(got)-1]), len(body))
				}
				one.mu.Lock()
				all := append(got, one.got...)
				one.mu.Unlock()
				for _, b := range all {
					if !bytes.Equal(b, body) {
						t.Errorf("a body of %d bytes came whole, not %d", len(b), len(body))
					}
				}
			}
		})
	}
}

// A form whose model comes last is kept once: until it has come, and for another attempt.
func TestUploadWithItsModelLast(t *testing.T) {
	one, two := taking(t, wholly(503)), taking(t, wholly(200))
	_, url := uploading(t, one, two, nil)
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	file, err := w.CreateFormFile("file", "speech.wav")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = file.Write(make([]byte, 5<<20))
	_ = w.WriteField("model", "m")
	_ = w.Close()
	status, text, err := sendUp(t.Context(), url, w.FormDataContentType(), bytes.NewReader(b.Bytes()))
	asks, _ := one.have()
	if _, got := two.have(); err != nil || status != 200 || asks != 1 || len(got) != 1 || !bytes.Equal(got[0], b.Bytes()) {
		t.Fatalf("%d %q %v, asked %d times, %d bodies", status, text, err, asks, len(got))
	}
	if _, page := get(t, url+"/metrics"); !strings.Contains(page, "sluice_spool_files_total 1\n") {
		t.Error("it was not kept in one file")
	}
}

// A client that sends slowly loses nothing when an upstream refuses what it has not
// sent yet; and one that leaves has nothing kept.
func TestSlowUpload(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		t.Run(fmt.Sprintf("leaves %v", leaves), func(t *testing.T) {
			begun := make(chan struct{})
			one := taking(t, func(_ int, conn net.Conn, body io.Reader) {
				_, _ = io.CopyN(io.Discard, body, 300<<10)
				_, _ = io.WriteString(conn, reply(503, "application/json", `{}`))
				_, _ = io.Copy(io.Discard, conn)
			})
			two := taking(t, func(n int, conn net.Conn, body io.Reader) {
				close(begun)
				wholly(200)(n, conn, body)
			})
			g, url := uploading(t, one, two, nil)
			body, contentType := form(t, "m", 1<<20)
			r, w := io.Pipe()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			type outcome struct {
				status int
				err    error
			}
			done := make(chan outcome, 1)
			go func() {
				status, _, err := sendUp(ctx, url, contentType, r)
				done <- outcome{status, err}
			}()
			sent := 300 << 10
			_, _ = w.Write(body[:sent])
			for going := true; going; { // what comes while nobody takes it
				select {
				case <-begun:
					going = false
				case <-time.After(time.Millisecond):
					_, _ = w.Write(body[sent : sent+100])
					sent += 100
				}
			}
			if leaves {
				leave()
				_ = w.CloseWithError(context.Canceled) // for which the library waits
				<-done
				testkit.Until(t, "it is given back", func() bool {
					return g.memory.Budget.Account("spools").Held() == 0 && noFile(t, url)
				})
				return
			}
			_, _ = w.Write(body[sent:])
			_ = w.Close()
			o := <-done
			if _, got := two.have(); o.err != nil || o.status != 200 || len(got) != 1 || !bytes.Equal(got[0], body) {
				t.Errorf("%d, %v, %d bodies", o.status, o.err, len(got))
			}
		})
	}
}

// Over HTTP/2 an upstream may refuse while the client still sends: the Read that is
// under way then is not lost for the next.
func TestUploadRefusedOverHTTP2(t *testing.T) {
	one := testkit.Listen(t, func(_ int, conn net.Conn) {
		(&http2.Server{}).ServeConn(conn, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			w.WriteHeader(503)
		})})
	})
	begun := make(chan struct{})
	two := taking(t, func(n int, conn net.Conn, body io.Reader) {
		close(begun)
		wholly(200)(n, conn, body)
	})
	_, url := uploading(t, &taker{url: "http://" + one + "/v1"}, two, func(cfg *config.Config) {
		for i := range cfg.Upstreams {
			cfg.Upstreams[i].HTTPClient.H2C = cfg.Upstreams[i].Name == "one"
		}
	})
	body, contentType := form(t, "m", 1<<20)
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(body[:10<<10])
		<-begun // with a Read for the first attempt under way
		_, _ = w.Write(body[10<<10:])
		_ = w.Close()
	}()
	status, text, err := sendUp(t.Context(), url, contentType, r)
	if _, got := two.have(); err != nil || status != 200 || len(got) != 1 || !bytes.Equal(got[0], body) {
		t.Errorf("%d %q %v, %d bodies", status, text, err, len(got))
	}
}

// A kept connection that the upstream had closed is replaced for an upload too.
func TestUploadOverAClosedConnection(t *testing.T) {
	one := taking(t, func(n int, conn net.Conn, body io.Reader) {
		if n == 2 {
			_ = conn.Close() // with the most of the body unread: a reset
			return
		}
		wholly(200)(n, conn, body)
	})
	_, url := uploading(t, one, one, func(cfg *config.Config) { cfg.Upstreams = cfg.Upstreams[:1] })
	for _, size := range []int{1000, 20 << 20} { // more than all sockets on the way take
		body, contentType := form(t, "m", size)
		status, text, err := sendUp(t.Context(), url, contentType, bytes.NewReader(body))
		if _, got := one.have(); err != nil || status != 200 || !bytes.Equal(got[len(got)-1], body) {
			t.Errorf("%d %q %v", status, text, err)
		}
	}
	if asks, _ := one.have(); asks != 3 {
		t.Errorf("asked %d times", asks)
	}
}

// What an upload of 16 MiB takes from client to upstream, kept in a file while it
// passes and not.
func BenchmarkUpload(b *testing.B) {
	address := testkit.Listen(b, func(_ int, conn net.Conn) {
		for br := bufio.NewReaderSize(conn, 64<<10); ; {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			wholly(200)(1, conn, req.Body)
		}
	})
	body := make([]byte, 16<<20)
	for name, most := range map[string]int64{"once": 0, "kept": 1 << 30} {
		b.Run(name, func(b *testing.B) {
			cfg, err := config.Load(config.LoadOptions{Env: []string{"ONE_API_KEY=k1-secret", "ONE_BASE_URL=http://" + address + "/v1"}})
			if err != nil {
				b.Fatal(err)
			}
			cfg.Server.Port, cfg.Memory.SpoolAbove, cfg.Memory.SpoolMax, cfg.Memory.SpoolDir = 0, 0, most, b.TempDir()
			g, err := New(cfg, Options{Version: "test"})
			if err != nil {
				b.Fatal(err)
			}
			at, err := g.Listen()
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() { ended <- g.Run(ctx) }()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if status, text, err := sendUp(b.Context(), "http://"+at.String(), "audio/wav", bytes.NewReader(body)); status != 200 {
					b.Fatal(status, text, err)
				}
			}
			http.DefaultClient.CloseIdleConnections()
			stop()
			if err := <-ended; err != nil {
				b.Error(err)
			}
		})
	}
}
