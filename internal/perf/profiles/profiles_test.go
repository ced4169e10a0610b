package profiles

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reply is a sink.
type reply struct {
	head llm.Head
	body bytes.Buffer
}

func (r *reply) Start(h *llm.Head) error { r.head = *h; return nil }
func (r *reply) Send(events []llm.Event) error {
	for _, e := range events {
		r.body.Write(e.Raw)
	}
	return nil
}

func get(ctx context.Context, p *Profiles, target string) (string, error) {
	path, query, _ := strings.Cut(target, "?")
	var out reply
	err := p.Serve(ctx, &llm.Request{Method: "GET", Path: Path + path, RawQuery: query}, &out)
	return out.body.String(), err
}

func TestProfiles(t *testing.T) {
	p := &Profiles{}
	for target, want := range map[string]string{
		"": "/debug/pprof/heap", "/goroutine?debug=2": "profiles.TestProfiles", "/heap?debug=1&gc=1": "heap profile:", "/allocs?debug=1": "heap profile:",
		"/threadcreate?debug=1": "threadcreate profile:",
	} {
		if got, err := get(t.Context(), p, target); err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %.100q, %v", target, got, err)
		}
	}
	for _, name := range []string{"cmdline", "symbol", "cmdline?debug=1"} {
		if _, err := get(t.Context(), p, "/"+name); llm.AsError(err).Status != 404 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if body, _ := get(t.Context(), p, ""); strings.Contains(body, "cmdline") {
		t.Errorf("the list is %s", body)
	}
	for _, target := range []string{
		"/profile?seconds=0", "/profile?seconds=61", "/profile?seconds=x", "/profile?seconds=1&seconds=1", "/trace?seconds=11", "/profile?debug=1",
		"/heap?seconds=1", "/heap?debug=3", "/goroutine?gc=1", "/heap?%zz", "?debug=1", "/heap?else=1",
	} {
		if _, err := get(t.Context(), p, target); llm.AsError(err).Status != 400 {
			t.Errorf("%s: %v", target, err)
		}
	}
}

// go tool pprof reads what is sent.
func TestPprofReadsHeap(t *testing.T) {
	kept := make([][]byte, 0, 64)
	for range 64 {
		kept = append(kept, make([]byte, 1<<20))
	}
	body, err := get(t.Context(), &Profiles{}, "/heap?gc=1")
	if err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(kept)
	file := filepath.Join(t.TempDir(), "heap")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	pprof := exec.Command("go", "tool", "pprof", "-top", "-sample_index=inuse_space", file)
	pprof.Env = append(os.Environ(), "CGO_ENABLED=0") // what it is compiled of is there already, for releases
	out, err := pprof.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "profiles.TestPprofReadsHeap") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What goes on for seconds is one at a time, and ends when whoever asked leaves.
func TestOneAtATime(t *testing.T) {
	for _, name := range []string{"profile", "trace", "block", "mutex"} {
		p := &Profiles{}
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := get(ctx, p, "/"+name+"?seconds=10")
			ended <- err
		}()
		testkit.Until(t, "it has begun", func() bool {
			begun := !p.taking.TryLock()
			if !begun {
				p.taking.Unlock()
			}
			return begun
		})
		if _, err := get(t.Context(), p, "/mutex?seconds=1"); llm.AsError(err).Status != 409 {
			t.Errorf("%s: a second one: %v", name, err)
		}
		leave()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the first one: %v", name, err)
		}
		if body, err := get(t.Context(), p, "/"+name+"?seconds=1"); err != nil || len(body) == 0 {
			t.Errorf("%s: the next one: %d bytes, %v", name, len(body), err)
		}
	}
}

func TestCPUProfile(t *testing.T) {
	body, err := get(t.Context(), &Profiles{}, "/profile?seconds=1")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || len(b) == 0 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestHead(t *testing.T) {
	var out reply
	err := (&Profiles{}).Serve(t.Context(), &llm.Request{Method: "HEAD", Path: Path + "/profile"}, &out)
	if err != nil || out.head.Status != 200 || out.body.Len() > 0 {
		t.Errorf("%+v %v", out.head, err)
	}
}

func TestBounded(t *testing.T) {
	b := &bounded{}
	if _, err := b.Write(make([]byte, maxBytes)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write([]byte{1}); err == nil || !b.full || b.Len() != 0 {
		t.Errorf("%v, %d bytes", err, b.Len())
	}
}

func FuzzParse(f *testing.F) {
	f.Add("heap", "debug=1&gc=1")
	f.Add("profile", "seconds=61")
	f.Fuzz(func(t *testing.T, name, raw string) {
		q, err := parse(name, raw)
		if longest, _ := most(name); err == nil && (q.seconds > longest || q.debug < 0 || q.debug > 2) {
			t.Errorf("%+v", q)
		}
	})
}
