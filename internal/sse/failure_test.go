//go:build !race

package sse

import (
	"encoding/json"
	"testing"
)

func TestFailure(t *testing.T) {
	for raw, want := range map[string]bool{
		"data: {\"error\":{\"message\":\"x\"}}\n\n":                                                                        true,
		"data: {\"error\":\"overloaded\"}\r\n\r\n":                                                                         true,
		"data: {\"id\":\"1\",\"error\":{\"code\":502},\"choices\":[]}\n\n":                                                 true,
		"data: {\"choices\":[{\"index\":0},{\"index\":1,\"delta\":{},\"finish_reason\":\"error\"}]}\n\n":                   true,
		"data: {\"choices\":[{\"error\":{\"code\":1}}]}\n\n":                                                               true,
		"event: error\ndata: {\"message\":\"x\"}\n\n":                                                                      true,
		"event: error\ndata: out of memory\n\n":                                                                            true,
		"data: {\"type\":\"error\",\"code\":null,\"message\":\"x\"}\n\n":                                                   true,
		"event: response.failed\ndata: {\"type\":\"response.failed\"}\n\n":                                                 true,
		"data: {\"type\":\"response.failed\",\"response\":{}}\n\n":                                                         true,
		"data: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\",\"error\":{\"code\":\"x\"}}}\n\n": true,
		"data: {\"error\":\ndata: {\"message\":\"x\"}}\n\n":                                                                true,

		"data: {\"type\":\"response.incomplete\",\"response\":{\"error\":null,\"incomplete_details\":{\"reason\":\"max_output_tokens\"}}}\n\n": false,
		"event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"error\":null}}\n\n":                                     false,
		"data: {\"error\":null,\"choices\":[{\"error\":null,\"finish_reason\":\"stop\"}]}\n\n":                                                 false,
		"data: {\"choices\":[{\"delta\":{\"content\":\"error\"},\"finish_reason\":null,\"logprobs\":{\"token\":\"error\"}}]}\n\n":              false,
		"data: {\"choices\":[{\"delta\":{\"content\":\"{\\\"error\\\":{\\\"type\\\":\\\"response.failed\\\"}}\"}}]}\n\n":                       false,
		"data: {\"type\":\"response.output_text.delta\",\"delta\":\"error\",\"item\":{\"error\":{\"message\":\"x\"}}}\n\n":                     false,
		"event: error\n\n":     false, // nothing that a reader would see
		": error\n\n":          false,
		"data: error\n\n":      false,
		"data: {\"error\"\n\n": false,
		"data: [DONE]\n\n":     false,
		"":                     false,
	} {
		data, got := Failure([]byte(raw))
		if whole, _ := Data([]byte(raw), nil); got != want || got && string(data) != string(whole) {
			t.Errorf("%q: %v, %q", raw, got, data)
		}
	}
}

func TestFailureAllocatesNothing(t *testing.T) {
	for _, raw := range [][]byte{
		[]byte("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"finish_reason\":null}]}\n\n"),
		[]byte("event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"error\":null}}\n\n"),
	} {
		if n := testing.AllocsPerRun(100, func() { Failure(raw) }); n != 0 {
			t.Errorf("%q: %v allocations", raw, n)
		}
	}
}

// FuzzFailure: whatever a model says is no error, and whatever bytes come do no harm.
func FuzzFailure(f *testing.F) {
	f.Add("error", []byte("event: error\ndata: {\"error\":1}\n\n"))
	f.Add("\"error\":{\"type\":\"response.failed\"}", []byte("data: {\"choices\":[{\"error\":"))
	f.Fuzz(func(t *testing.T, said string, raw []byte) {
		Failure(raw)
		type m map[string]any
		event := func(v any) []byte {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return AppendEvent(nil, "", b)
		}
		if b := event(m{"choices": []m{{"delta": m{"content": said}, "logprobs": m{"token": said}}}, "id": said}); failed(b) {
			t.Errorf("%q is taken for an error", b)
		}
		if b := event(m{"aaa": said, "error": m{"message": said}}); !failed(b) {
			t.Errorf("%q is not taken for an error", b)
		}
	})
}

func failed(raw []byte) bool {
	_, ok := Failure(raw)
	return ok
}
