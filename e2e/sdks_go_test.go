package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// question is what an SDK of Go is to ask.
type question struct {
	text   string
	image  string // a PNG in base64
	tools  []string
	forced bool // one of them has to be called
	schema map[string]any
	limit  int64
	after  *goReply // of the same question: its calls have these results
	stream bool
	first  func() // is called with the first text of a stream
}

// goReply is what the SDK gave.
type goReply struct {
	text    string
	thought string
	calls   []goCall
	ended   ending
	tokens  int64
	said    any // the message as the SDK has it, to be sent back
}

type ending int

const (
	otherwise ending = iota
	atEnd
	atCall
	atLimit
)

type goCall struct{ id, name, arguments string }

// result is what a tool gave that was called.
func (c goCall) result() string { return "The result of " + c.name }

// goSDKUnder is an SDK of Go with one of its APIs.
type goSDKUnder struct {
	name string
	ask  func(ctx context.Context, key, model string, q question) (*goReply, error)
	// failure is what the SDK's own error says; ok is false for other errors.
	failure func(err error) (status int, text string, ok bool)
	// What only some have is nil elsewhere.
	count func(ctx context.Context, model, text string) (int64, error)
	embed func(ctx context.Context, model string, texts []string) ([][]float64, error)
	model func(ctx context.Context, model string) (id string, err error)
	run   func(ctx context.Context, model, text string) (answer string, cities []string, err error)
}

const pixel = "iVBORw0KGgo="

// sdksOfGo has the SDKs of Go do their deeds over every upstream.
func sdksOfGo(t *testing.T, in *instance, o *origin, all *deeds) {
	for _, up := range spoken() {
		t.Run(up[0], func(t *testing.T) {
			t.Parallel() // none looks at another's upstream
			for _, s := range []goSDKUnder{anthropicGo(in), openAIGoChat(in), openAIGoResponses(in)} {
				u := &goDeeds{goSDKUnder: s, upstream: up[0], path: up[2], origin: o}
				type named struct {
					name string
					does func(*testing.T)
				}
				list := []named{
					{"chat", u.chat}, {"stream", u.stream}, {"images", u.images}, {"thinking", u.thinking}, {"structured output", u.structured}, {"token limit", u.limit},
					{"tools", func(t *testing.T) { u.tools(t, "get_weather") }}, {"parallel calls", func(t *testing.T) { u.tools(t, "get_weather", "get_time") }},
					{"a forced call", u.forced}, {"errors", u.errors}, {"cut", u.cut}, {"abort", u.abort}, {"SDK's time-out", u.impatient}, {"gateway's time-out", u.hasty},
				}
				if s.count != nil {
					list = append(list, named{"token count", u.counted})
				}
				if s.model != nil {
					list = append(list, named{"models", u.models})
				}
				if s.run != nil {
					list = append(list, named{"tool runner", u.toolRunner})
				}
				if s.embed != nil {
					list = append(list, named{"embeddings", u.embeddings})
				}
				for _, one := range list {
					t.Run(s.name+"/"+one.name, one.does)
					all.add(deed{SDK: s.name, Upstream: up[0], Deed: one.name, Refused: u.refused})
				}
			}
		})
	}
}

// goDeeds are the deeds of an SDK over an upstream.
type goDeeds struct {
	goSDKUnder
	upstream string
	path     string // of what it is asked
	origin   *origin
	refused  bool // what was done last the upstream has nothing of
}

func (u *goDeeds) try(ctx context.Context, does string, q question) (*goReply, error) {
	return u.ask(ctx, "sk-right", u.upstream+"-"+does, q)
}

// both asks once for all and once for a stream, which has to say the same.
func (u *goDeeds) both(t *testing.T, does string, q question) *goReply {
	t.Helper()
	whole, err := u.try(t.Context(), does, q)
	if err != nil {
		t.Fatal(err)
	}
	q.stream = true
	streamed, err := u.try(t.Context(), does, q)
	if err != nil {
		t.Fatal(err)
	}
	// Ids of calls are not the same where the service has none.
	same := func(r *goReply) string {
		s := fmt.Sprintf("%q %d %d", r.text, r.ended, r.tokens)
		for _, c := range r.calls {
			s += " " + c.name + c.arguments
		}
		return s
	}
	if same(whole) != same(streamed) || whole.tokens == 0 {
		t.Errorf("whole %s, streamed %s", same(whole), same(streamed))
	}
	return streamed
}

func (u *goDeeds) chat(t *testing.T) {
	got, err := u.try(t.Context(), "echo", question{text: "Good morning ☀"})
	if err != nil || got.text != "Good morning ☀" || got.ended != atEnd || got.tokens == 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func (u *goDeeds) stream(t *testing.T) {
	if got := u.both(t, "chat", question{text: "Tell me something"}); got.text == "" || got.ended != atEnd {
		t.Errorf("%+v", got)
	}
}

func (u *goDeeds) images(t *testing.T) {
	got, err := u.try(t.Context(), "echo", question{text: "What is this?", image: pixel})
	asked := u.origin.last(u.upstream)
	if err != nil || !strings.HasPrefix(got.text, "What is this?") || !strings.Contains(asked, pixel) {
		t.Errorf("%+v, %v, of %s", got, err, asked)
	}
	if path, _, _ := strings.Cut(asked, " "); !strings.HasSuffix(path, u.path) {
		t.Errorf("the upstream was asked by %s", path)
	}
}

func (u *goDeeds) thinking(t *testing.T) {
	if got, err := u.try(t.Context(), "reasoner", question{text: "Think"}); err != nil || got.thought == "" || got.text == "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func (u *goDeeds) structured(t *testing.T) {
	got := u.both(t, "chat", question{text: "A number", schema: map[string]any{"type": "object", "additionalProperties": false, "required": []string{"n"}, "properties": map[string]any{"n": map[string]string{"type": "integer"}}}})
	var v struct{ N *int }
	if err := json.Unmarshal([]byte(got.text), &v); err != nil || v.N == nil {
		t.Errorf("%q: %v", got.text, err)
	}
}

func (u *goDeeds) limit(t *testing.T) {
	if got, err := u.try(t.Context(), "chat", question{text: "x", limit: 5}); err != nil || got.ended != atLimit {
		t.Errorf("%+v, %v", got, err)
	}
}

func (u *goDeeds) tools(t *testing.T, names ...string) {
	q := question{text: "Use " + strings.Join(names, " and ") + " for Paris", tools: names}
	got := u.both(t, "chat", q)
	if got.ended != atCall || len(got.calls) != len(names) {
		t.Fatalf("%+v", got)
	}
	for i, c := range got.calls {
		var args struct{ City *string }
		if err := json.Unmarshal([]byte(c.arguments), &args); err != nil || c.id == "" || c.name != names[i] || args.City == nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	q.after = got
	answer, err := u.try(t.Context(), "chat", q)
	if err != nil || answer.ended != atEnd || answer.text == "" {
		t.Fatalf("%+v, %v", answer, err)
	}
	for _, c := range got.calls {
		if asked := u.origin.last(u.upstream); !strings.Contains(asked, c.result()) {
			t.Errorf("no %q in %s", c.result(), asked)
		}
	}
}

func (u *goDeeds) toolRunner(t *testing.T) {
	const script = `script: [{"call":"get_weather","arguments":{"city":"Oslo"}},{"call":"get_weather","arguments":{"city":"Bergen"}},{"say":"Rain in both."}]`
	answer, cities, err := u.run(t.Context(), u.upstream+"-script", script)
	if err != nil || answer != "Rain in both." || !slices.Equal(cities, []string{"Oslo", "Bergen"}) {
		t.Errorf("%q, %q, %v", answer, cities, err)
	}
}

func (u *goDeeds) forced(t *testing.T) {
	if got := u.both(t, "chat", question{text: "Hello", tools: []string{"get_weather"}, forced: true}); len(got.calls) != 1 || got.calls[0].name != "get_weather" {
		t.Errorf("%+v", got)
	}
}

func (u *goDeeds) errors(t *testing.T) {
	fails := func(err error, status int, says string) {
		t.Helper()
		if got, text, ok := u.failure(err); !ok || got != status || !strings.Contains(text, says) {
			t.Errorf("%v, want %d %q", err, status, says)
		}
	}
	for _, stream := range []bool{false, true} {
		for status, says := range map[int]string{400: "maximum context length", 401: "Incorrect API key", 404: "does not exist", 429: "Rate limit reached", 500: "had an error"} {
			_, err := u.try(t.Context(), fmt.Sprint(status), question{text: "x", stream: stream})
			fails(err, status, says)
		}
		_, err := u.ask(t.Context(), "sk-right", "no-such-model", question{text: "x", stream: stream})
		fails(err, 404, "no-such-model")
		_, err = u.ask(t.Context(), "sk-wrong", u.upstream+"-chat", question{text: "x", stream: stream})
		fails(err, 401, "")
	}
}

func (u *goDeeds) cut(t *testing.T) {
	if got, err := u.try(t.Context(), "cut", question{text: "x", stream: true}); err == nil {
		t.Errorf("a cut stream looks complete: %+v", got)
	}
}

func (u *goDeeds) abort(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	busy := false
	_, err := u.try(ctx, "endless", question{text: "x", stream: true, limit: 20000, first: func() {
		busy = u.origin.isBusy(u.upstream)
		leave()
	}})
	if !errors.Is(err, context.Canceled) || !busy {
		t.Errorf("%v, busy %v", err, busy)
	}
	u.idle(t)
}

func (u *goDeeds) idle(t *testing.T) {
	t.Helper()
	if !u.origin.idle(u.upstream) {
		t.Error("the upstream goes on")
	}
}

func (u *goDeeds) impatient(t *testing.T) {
	ctx, leave := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer leave()
	if _, err := u.try(ctx, "late", question{text: "x"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	u.idle(t)
}

func (u *goDeeds) hasty(t *testing.T) {
	_, err := u.try(t.Context(), "hasty-late", question{text: "x"})
	if status, _, ok := u.failure(err); !ok || status != 504 {
		t.Errorf("%v", err)
	}
	if got, err := u.try(t.Context(), "hasty-stalled", question{text: "x", stream: true}); err == nil {
		t.Errorf("a stalled stream looks complete: %+v", got)
	}
	u.idle(t)
}

func (u *goDeeds) counted(t *testing.T) {
	if n, err := u.count(t.Context(), u.upstream+"-chat", strings.Repeat("Hello ", 100)); err != nil || n < 50 || n > 400 {
		t.Errorf("%d, %v", n, err)
	}
}

func (u *goDeeds) models(t *testing.T) {
	if id, err := u.model(t.Context(), u.upstream+"-chat"); err != nil || id != u.upstream+"-chat" {
		t.Errorf("%q, %v", id, err)
	}
}

func (u *goDeeds) embeddings(t *testing.T) {
	got, err := u.embed(t.Context(), u.upstream+"-embed", []string{"one", "two"})
	if status, _, _ := u.failure(err); status == 501 {
		u.refused = true // some services have none
		return
	}
	if err != nil || len(got) != 2 || len(got[0]) != 8 || slices.Equal(got[0], got[1]) {
		t.Errorf("%v, %v", got, err)
	}
}
