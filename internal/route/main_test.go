package route

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/llm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is an upstream. What serve returns for the nth call (from 1) happens
// before anything is sent; nil answers with the upstream's and model's name.
type fake struct {
	name  string
	serve func(ctx context.Context, n int, req *llm.Request, out llm.Sink) error
	list  func(ctx context.Context, n int, out llm.Sink) error

	mu     sync.Mutex
	calls  []llm.Request
	at     []time.Time
	listed int
}

func (f *fake) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	if req.Op == llm.ListModels {
		f.mu.Lock()
		f.listed++
		n := f.listed
		f.mu.Unlock()
		if req.Method != "GET" || req.Path != "/v1/models" {
			return fmt.Errorf("list asked for with %s %s", req.Method, req.Path)
		}
		if f.list == nil {
			return &llm.Error{Status: 404, Message: "no lists here"}
		}
		return f.list(ctx, n, out)
	}
	f.mu.Lock()
	f.calls = append(f.calls, *req)
	f.at = append(f.at, time.Now())
	n := len(f.calls)
	f.mu.Unlock()
	if f.serve != nil {
		if err := f.serve(ctx, n, req, out); err != nil {
			return err
		}
	}
	return answer(out, f.name+":"+req.UpstreamModel)
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

func (f *fake) lists() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listed
}

// lists makes a fake answer with a model list of the given bytes.
func lists(body string) func(context.Context, int, llm.Sink) error {
	return func(_ context.Context, _ int, out llm.Sink) error { return answer(out, body) }
}

// having makes a model list of ids.
func having(ids ...string) func(context.Context, int, llm.Sink) error {
	var b strings.Builder
	for i, id := range ids {
		fmt.Fprintf(&b, `%s{"id":%q,"object":"model"}`, strings.Repeat(",", min(i, 1)), id)
	}
	return lists(`{"object":"list","data":[` + b.String() + `]}`)
}

// always fails every call with what makes the error.
func always(e func() error) func(context.Context, int, *llm.Request, llm.Sink) error {
	return func(context.Context, int, *llm.Request, llm.Sink) error { return e() }
}

// first fails the first n calls.
func first(n int, e func() error) func(context.Context, int, *llm.Request, llm.Sink) error {
	return func(_ context.Context, i int, _ *llm.Request, _ llm.Sink) error {
		if i <= n {
			return e()
		}
		return nil
	}
}

// status is an error reply as an upstream's handler makes it.
func status(code int, after ...time.Duration) func() error {
	return func() error {
		e := &llm.Error{Fault: llm.Answered, Status: code, Type: llm.TypeOf(code), Code: "upstream_error", Message: fmt.Sprint("status ", code),
			Unprocessed: code == 429 || code == 503, Reply: &llm.ErrorReply{Body: []byte(`{"error":{}}`)}}
		if len(after) > 0 {
			e.RetryAfter = after[0]
		}
		return e
	}
}

// The codes of errors that the transport makes.
const (
	codeTimeout  = "upstream_timeout"
	codeCut      = "upstream_cut"
	codeBadReply = "upstream_bad_reply"
	codeBusy     = "upstream_busy"
	codeClosed   = "upstream_closed"
)

// transport is an error that the transport makes.
func transport(status int, code string, unprocessed bool) func() error {
	fault, ok := map[string]llm.Fault{
		codeTimeout: llm.TimedOut, codeCut: llm.Cut, codeBadReply: llm.BadReply, codeBusy: llm.Busy, codeClosed: llm.Replaced,
		"upstream_unreachable": llm.Unreachable, "upstream_refused": llm.Refused, "upgrade_not_supported": llm.Declined,
		"upstream_reply_too_large": llm.TooLarge, "upstream_event_too_large": llm.TooLarge,
		"upstream_redirect": llm.Unusable, "upstream_empty": llm.Unusable,
	}[code]
	if !ok {
		panic(code + " is no code of the transport's")
	}
	return func() error {
		return &llm.Error{Fault: fault, Status: status, Type: llm.TypeUpstream, Code: code, Message: code, Unprocessed: unprocessed}
	}
}

// inStream is what a handler makes of a stream whose first event is an error.
func inStream(code int) func() error {
	return func() error {
		return &llm.Error{Fault: llm.Told, Status: code, Type: llm.TypeOf(code), Code: "x", Message: "in a stream", Reply: &llm.ErrorReply{Body: []byte(`{"error":{}}`)}}
	}
}

// lacks is what the transport makes of a want of file descriptors.
func lacks() error {
	e := llm.Errorf(503, "gateway_overloaded", "no room")
	e.Fault, e.Unprocessed, e.RetryAfter = llm.Lacking, true, time.Second
	return e
}

func refused() error { return transport(502, "upstream_unreachable", true)() }

type recorder struct {
	head   llm.Head
	body   []byte
	starts int
	fail   error // of Send
}

func (r *recorder) Start(h *llm.Head) error {
	r.head = *h
	r.starts++
	return nil
}

func (r *recorder) Send(events []llm.Event) error {
	for _, e := range events {
		r.body = append(r.body, e.Raw...)
	}
	return r.fail
}

func answer(out llm.Sink, body string) error {
	if err := out.Start(&llm.Head{Status: 200, Length: int64(len(body))}); err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: []byte(body)}})
}

// setup makes a Router over fakes; half is its random number. Models are
// configured where static has them.
func setup(t *testing.T, cfg Config, fakes ...*fake) *Router {
	t.Helper()
	return setupStatic(t, cfg, nil, fakes...)
}

func setupStatic(t *testing.T, cfg Config, static map[string][]string, fakes ...*fake) *Router {
	t.Helper()
	var ups []Upstream
	for _, f := range fakes {
		ups = append(ups, Upstream{Name: f.name, Handler: f, Models: static[f.name]})
	}
	r, err := New(cfg, ups, Options{Rand: func() float64 { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// serving makes one where every fake serves the model "m".
func serving(t *testing.T, cfg Config, fakes ...*fake) *Router {
	t.Helper()
	static := make(map[string][]string)
	for _, f := range fakes {
		static[f.name] = []string{"m"}
	}
	return setupStatic(t, cfg, static, fakes...)
}

// start runs r in the background of a bubble until the test ends.
func start(t *testing.T, r *Router) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	synctest.Wait()
}

func chat(model string) *llm.Request {
	body := []byte(fmt.Sprintf(`{"model":%q}`, model))
	return &llm.Request{Op: llm.Chat, ID: "id", Method: "POST", Path: "/v1/chat/completions", Model: model,
		ModelSpan: llm.Span{Start: 9, End: len(body) - 1}, Body: body}
}

// ask serves req and returns the reply's body, or the error's status and code.
func ask(t *testing.T, r *Router, req *llm.Request) string {
	t.Helper()
	got, _ := askErr(t, r, req)
	return got
}

func askErr(t *testing.T, r *Router, req *llm.Request) (string, *llm.Error) {
	t.Helper()
	var out recorder
	err := r.Serve(t.Context(), req, &out)
	if e, ok := errors.AsType[*llm.Error](err); ok {
		if out.starts > 0 {
			t.Errorf("error %v after Start", e)
		}
		return fmt.Sprint(e.Status, " ", e.Code), e
	}
	if err != nil {
		return err.Error(), nil
	}
	if out.starts != 1 {
		t.Errorf("%d starts", out.starts)
	}
	return string(out.body), nil
}

func is(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
