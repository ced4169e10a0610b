package codec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Results come in the order of the items, whoever does them, faults among them.
func TestBatchOrder(t *testing.T) {
	c := newCodec(t, func(c *Config) { c.Workers = 4 })
	var items, want []string
	for i := range 500 {
		text := fmt.Sprint(i, strings.Repeat("x", i))
		if i%7 == 3 {
			items = append(items, `{"data":"`+b64([]byte{0xff})+`"}`)
			want = append(want, "error")
			continue
		}
		items = append(items, `{"data":"`+b64(note(text))+`"}`)
		want = append(want, `{"data":{"text":"`+text+`"}}`)
	}
	got := send(c, post("decode", `{"type":"test.Note","items":[`+strings.Join(items, " , ")+`]}`, asJSON))
	got = strings.TrimSuffix(strings.TrimPrefix(got, `application/json {"items":[`), "]}")
	for i, w := range want {
		var one string
		one, got, _ = strings.Cut(got, "},{")
		one = strings.TrimPrefix(strings.TrimSuffix(one, "}"), "{")
		w = strings.TrimPrefix(strings.TrimSuffix(w, "}"), "{")
		if w == "error" && strings.HasPrefix(one, `"error":{"message":"The bytes are not a test.Note: byte `) {
			continue
		}
		if strings.TrimSuffix(one, "}") != strings.TrimSuffix(w, "}") {
			t.Fatalf("item %d: %.100s, want %.100s", i, one, w)
		}
	}
}

func TestBatchPartialErrors(t *testing.T) {
	c := newCodec(t, nil)
	got := send(c, post("encode", `{"items":[{"data":{}},{"type":"test.Note","data":{"text":"hi"}},{"type":"test.Not","data":{}},1,
		{"type":"test.Note"},{"type":"test.Note","data":{},"options":{}},{"type":"test.Note","data":null}]}`, asJSON))
	for i, want := range []string{
		`{"error":{"message":"The request names no message type. Give one as \"type\", with its package, as in \"pkg.Message\".","type":"invalid_request_error","param":"type","code":"missing_required_parameter"}},`,
		`{"data":"CgJoaQ=="},`, `{"error":{"message":"There is nothing`, `{"error":{"message":"The item is not an object."`,
		`{"error":{"message":"The item has no \"data\"."`, `"param":"options","code":"unknown_parameter"`, `{"error":{"message":"The JSON is not a test.Note`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("item %d: no %s in %s", i, want, got)
		}
	}
}

// A panic is a fault of one message.
func TestPanic(t *testing.T) {
	c := newCodec(t, nil)
	m := &message{target: target{name: "x", plan: fake(func([]byte, []byte) ([]byte, error) { panic("oh") })}, direction: Encode, data: []byte("{}"), limit: 10}
	dst, err := c.convert([]byte("before"), &scratch{}, m)
	if string(dst) != "before" || err == nil || !strings.HasPrefix(told(err), "internal: ") || c.figures.messages[Encode][failed].Load() != 1 {
		t.Errorf("%q, %v", dst, err)
	}
}

// expiring is a context that ends after some looks at it, and does not say so by
// its channel.
type expiring struct {
	context.Context
	looks int
}

func (e *expiring) Done() <-chan struct{} { return nil }

func (e *expiring) Err() error {
	if e.looks--; e.looks < 0 {
		return context.Canceled
	}
	return nil
}

// A batch whose client leaves ends at the next item and has no reply.
func TestCancelledBatch(t *testing.T) {
	c := newCodec(t, func(c *Config) { c.Workers = 1 })
	ctx, out := &expiring{t.Context(), 2}, &client{}
	err := c.Stage(nil).Serve(ctx, post("encode", `{"type":"test.Note","items":[{"data":{}},{"data":{}},{"data":{}}]}`, asJSON), out)
	if !errors.Is(err, context.Canceled) || out.starts > 0 || c.figures.messages[Encode][done].Load() != 2 {
		t.Errorf("%v, %d heads, %d messages", err, out.starts, c.figures.messages[Encode][done].Load())
	}
}

// A panic, or a fault of the transcoder's own, ends one item of a batch, is told
// to nobody but the log, and the worker goes on.
func TestItemFails(t *testing.T) {
	c, log := newCodec(t, nil), new(strings.Builder)
	c.log = slog.New(slog.NewTextHandler(log, nil))
	k := c.take(Encode)
	defer c.release(k)
	b := &batch{call: k}
	b.left.Store(1 << 10)
	b.target.plan = fake(func(dst, input []byte) ([]byte, error) {
		switch string(input) {
		case "1":
			panic("secret")
		case "2":
			return dst, errors.New("secret")
		}
		return append(dst, input...), nil
	})
	const fault = `{"error":{"message":"The gateway failed to handle the request.","type":"server_error","param":null,"code":"internal_error"}}`
	got := string(b.do(t.Context(), [][]byte{[]byte(`{"data":0}`), []byte(`{"data":1}`), []byte(`{"data":2}`), []byte(`{"data":3}`)}))
	if want := `{"data":"MA=="},` + fault + "," + fault + `,{"data":"Mw=="}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if strings.Count(log.String(), "secret") < 2 {
		t.Errorf("the log: %s", log)
	}
}
