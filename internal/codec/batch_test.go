package codec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"sluice/internal/llm"
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
	k := c.borrow(Encode)
	defer c.release(k)
	b := &batch{conversion: k}
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
	b.body = []byte(`[{"data":0}, {"data":1}, {"data" : 2}, {"data": 3 }]`)
	one := &chunk{first: true, start: 1, end: len(b.body) - 1}
	b.do(t.Context(), one)
	got := string(one.result)
	if want := `{"items":[{"data":"MA=="},` + fault + "," + fault + `,{"data":"Mw=="}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if strings.Count(log.String(), "secret") < 2 {
		t.Errorf("the log: %s", log)
	}
}

// Items go to the workers while the rest of the envelope is still being read,
// wherever what holds for all of them stands and whatever follows.
func TestBatchAsItIsRead(t *testing.T) { synctest.Test(t, testBatchAsItIsRead) }

func testBatchAsItIsRead(t *testing.T) {
	c := newCodec(t, func(c *Config) { c.Workers = 3 })
	var items, want []string
	for i := range 500 {
		items = append(items, fmt.Sprintf(`{"data":"%s"}`, b64(note(fmt.Sprintf("%d %s", i, strings.Repeat("x", 100))))))
		want = append(want, fmt.Sprintf(`{"data":{"text":"%d %s","big_number":"0","notes":[],"kind":"KIND_NONE"}}`, i, strings.Repeat("x", 100)))
	}
	list := `"items":[` + strings.Join(items, ",\n") + `]`
	const typed, options = `"type":"test.Note"`, `"options":{"use_proto_names":true,"emit_unpopulated":true}`
	whole := `application/json {"items":[` + strings.Join(want, ",") + `]}`
	for name, body := range map[string]string{
		"before": typed + "," + options + "," + list, "behind": list + "," + options + "," + typed, "around": typed + "," + list + "," + options,
	} {
		out := &client{}
		if err := c.Stage(nil).Serve(t.Context(), post("decode", "{"+body+"}", asJSON), out); err != nil {
			t.Fatal(err)
		}
		if got := "application/json " + out.text(); got != whole {
			t.Errorf("%s: got %.300s…", name, got)
		}
		if out.head.Kind != llm.Pieces || out.head.Length != int64(len(whole)-len("application/json ")) {
			t.Errorf("%s: head %+v", name, out.head)
		}
	}
	for body, want := range map[string]string{
		typed + "," + list + ",":            "400 invalid_json",
		typed + "," + list + `,"x":1`:       "400 unknown_parameter",
		typed + "," + list + `,"data":"x"`:  "400 invalid_parameter",
		typed + "," + list + "," + list:     "400 duplicate_parameter",
		`"type":"test.Nope",` + list:        `application/json {"items":[{"error":`,
		typed + `,"items":[{"data":"` + `}`: "400 invalid_json",
	} {
		if got := send(c, post("decode", "{"+body+"}", asJSON)); !strings.HasPrefix(got, want) {
			t.Errorf("%.40s…%s: got %.300s", body, body[max(0, len(body)-20):], got)
		}
	}
	synctest.Wait() // until the workers have passed over what was dropped
	if room := c.pool.room.Load(); room != int64(c.cfg.Queue) {
		t.Errorf("room for %d of %d pieces", room, c.cfg.Queue)
	}
}

// putFree gives a codec the type free.Free, whose "data" is any JSON.
func putFree(t testing.TB, c *Codec) {
	t.Helper()
	const free = `syntax = "proto3"; package free; import "google/protobuf/struct.proto"; message Free { google.protobuf.Value data = 1; }`
	if _, err := c.PutSchema("free", "text/plain", []byte(free)); err != nil {
		t.Fatal(err)
	}
}

// The workers may be through with all chunks but the last at the moment when that one
// is handed to them.
func TestBatchLastChunk(t *testing.T) {
	c := newCodec(t, func(c *Config) { c.Workers, c.ResultCacheBytes = 1, 0 })
	for i := range 300 {
		items := 100 + 61*i%800
		body := `{"type":"test.Note","items":[` + strings.Repeat(`{"data":1},`, items-1) + `{"data":1}]}`
		if got := strings.Count(send(c, post("encode", body, asJSON)), `"code":`); got != items {
			t.Fatalf("batch %d: %d results of %d items", i, got, items)
		}
	}
}

// Items that look like a batch's own inside of one, and one too many that nobody but
// the workers sees.
func TestBatchGuess(t *testing.T) {
	c := newCodec(t, func(c *Config) { c.Workers, c.MaxItems = 2, 300 })
	putFree(t, c)
	inner := `{"data":{"data":[` + strings.Repeat(`{"data":1},`, 100) + `{"data":"},{\"data\":"}]}}`
	body := func(items int) string {
		return `{"type":"free.Free","items":[` + strings.Repeat(inner+",", items-1) + inner + "]}"
	}
	one := send(c, post("encode", body(1), asJSON))
	one = one[len(`application/json {"items":[`) : len(one)-len("]}")]
	want := `application/json {"items":[` + strings.Repeat(one+",", 299) + one + "]}"
	if got := send(c, post("encode", body(300), asJSON)); got != want || !strings.HasPrefix(one, `{"data":"`) {
		t.Errorf("got %.300s", got)
	}
	for _, item := range []string{`{"data":{"data":"x"}}`, `{"data":{"data":[{"data":1},{"data":2}]}}`} {
		item += strings.Repeat(" ", 100)
		many := `{"type":"free.Free","items":[` + strings.Repeat(item+",", 300) + item + "]}"
		if got := send(c, post("encode", many, asJSON)); got != "413 limit_exceeded items: A batch has at most 300 items." {
			t.Errorf("one too many: %.300s", got)
		}
	}
}

// Where there is no room for a piece, the whole batch is refused.
func TestBatchWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCodec(t, func(c *Config) { c.Workers, c.Queue = 1, 2 })
		free := block(t, c.pool)
		var waiting sync.WaitGroup
		waiting.Go(func() { _ = c.pool.run(t.Context(), 2, func(int) {}) })
		synctest.Wait()
		got := send(c, post("encode", `{"type":"test.Note","items":[{"data":{}}]}`, asJSON))
		if !strings.HasPrefix(got, "503 codec_busy") {
			t.Error(got)
		}
		free()
		waiting.Wait()
	})
}
