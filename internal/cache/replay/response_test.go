//go:build !race

package replay

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3/responses"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// listener understands a stream as a client that shows it as it comes.
type listener struct {
	t     *testing.T
	begun object
	items []any
}

// hear takes an event, whose deltas it adds to what was begun.
func (l *listener) hear(e object) {
	l.t.Helper()
	at := func(name string) int {
		n, err := e[name].(json.Number).Int64()
		if err != nil {
			l.t.Fatal(e, err)
		}
		return int(n)
	}
	kind := strings.TrimPrefix(e["type"].(string), "response.")
	switch kind {
	case "created", "in_progress":
		l.begun = e["response"].(object)
		return
	case "completed", "incomplete":
		return
	}
	if kind == "output_item.added" {
		if at("output_index") != len(l.items) {
			l.t.Fatalf("item %v after %d", e, len(l.items))
		}
		l.items = append(l.items, e["item"])
		return
	}
	item := l.items[at("output_index")].(object)
	if id, ok := e["item_id"]; ok && id != item["id"] {
		l.t.Fatalf("%v is not of %v", e, item)
	}
	list, index := "content", "content_index"
	if strings.HasPrefix(kind, "reasoning_summary") {
		list, index = "summary", "summary_index"
	}
	part := func() object { return item[list].([]any)[at(index)].(object) }
	same := func(got, want any) {
		l.t.Helper()
		if !reflect.DeepEqual(got, want) {
			l.t.Errorf("%v: has %v, want %v", e, got, want)
		}
	}
	switch kind {
	case "content_part.added", "reasoning_summary_part.added":
		item[list] = append(item[list].([]any), e["part"])
	case "output_text.delta", "reasoning_text.delta", "reasoning_summary_text.delta":
		p := part()
		p["text"] = p["text"].(string) + e["delta"].(string)
		if logprobs, ok := e["logprobs"].([]any); ok && p["logprobs"] != nil {
			p["logprobs"] = append(p["logprobs"].([]any), logprobs...)
		}
	case "refusal.delta":
		p := part()
		p["refusal"] = p["refusal"].(string) + e["delta"].(string)
	case "output_text.annotation.added":
		p := part()
		p["annotations"] = append(p["annotations"].([]any), e["annotation"])
	case "function_call_arguments.delta":
		item["arguments"] = item["arguments"].(string) + e["delta"].(string)
	case "output_text.done", "reasoning_text.done", "reasoning_summary_text.done":
		same(part()["text"], e["text"])
	case "refusal.done":
		same(part()["refusal"], e["refusal"])
	case "function_call_arguments.done":
		same(item["arguments"], e["arguments"])
		same(item["name"], e["name"])
	case "content_part.done", "reasoning_summary_part.done":
		same(part(), e["part"])
	case "output_item.done":
		if _, ok := item["status"]; ok {
			same(item["status"], "in_progress")
			item["status"] = e["item"].(object)["status"]
		}
		if item["content"] != nil && e["item"].(object)["content"] == nil {
			item["content"] = nil
		}
		same(item, e["item"])
	default:
		l.t.Errorf("unknown event %v", e)
	}
}

func checkResponse(t *testing.T, body []byte) {
	t.Helper()
	names, datas, ok := stream(t, llm.Response, body, false)
	if !ok {
		t.Fatalf("refused %s", body)
	}
	l := &listener{t: t}
	var last object
	for i, data := range datas {
		last = decode(t, data)
		if n := last["sequence_number"].(json.Number); last["type"] != names[i] || n.String() != strconv.Itoa(i) {
			t.Fatalf("event %d is %s %s", i, names[i], data)
		}
		l.hear(last)
		var event responses.ResponseStreamEventUnion
		if err := json.Unmarshal(data, &event); err != nil || event.AsAny() == nil {
			t.Errorf("OpenAI's SDK does not know %s: %v", data, err)
		}
	}
	want := decode(t, body)
	if !reflect.DeepEqual(last["response"], any(want)) || last["type"] != "response."+want["status"].(string) {
		t.Errorf("%s ends in %v", body, last)
	}
	if !reflect.DeepEqual(any(l.items), want["output"]) && len(l.items) > 0 {
		t.Errorf("%s: heard %v", body, l.items)
	}
	for key, v := range want {
		switch key {
		case "status":
			v = "in_progress"
		case "output":
			v = []any{}
		case "usage", "incomplete_details", "completed_at":
			v = nil
		}
		if !reflect.DeepEqual(l.begun[key], v) {
			t.Errorf("%s: began with %s %v", body, key, l.begun[key])
		}
	}
}

func TestRecordedResponses(t *testing.T) {
	testkit.Each(t, testResponses)
}

func testResponses(t *testing.T, in testkit.Inputs) {
	for _, body := range recorded(t, in)[llm.Response] {
		var r struct{ Status string }
		if err := json.Unmarshal(body, &r); err != nil {
			t.Fatal(err)
		}
		if r.Status != "completed" && r.Status != "incomplete" {
			continue // of a background call
		}
		checkResponse(t, body)
	}
}

func TestResponse(t *testing.T) {
	for _, body := range []string{
		samples[llm.Response],
		`{"status":"completed","output":[]}`,
		` {"status":"completed","output":[{"type":"x"},{"type":"reasoning","id":"r","content":null},{"type":"message","id":"m","content":[{"type":"y"}]}]}`,
	} {
		checkResponse(t, []byte(body))
	}
	names, _, _ := stream(t, llm.Response, []byte(samples[llm.Response]), false)
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], "response.")
	}
	want := strings.Fields(`created in_progress
		output_item.added
			reasoning_summary_part.added reasoning_summary_text.delta reasoning_summary_text.done reasoning_summary_part.done
			reasoning_summary_part.added reasoning_summary_text.delta reasoning_summary_text.done reasoning_summary_part.done
			content_part.added reasoning_text.delta reasoning_text.done content_part.done
		output_item.done
		output_item.added output_item.done
		output_item.added function_call_arguments.delta function_call_arguments.done output_item.done
		output_item.added
			content_part.added output_text.delta output_text.annotation.added output_text.done content_part.done
			content_part.added refusal.delta refusal.done content_part.done
		output_item.done
		incomplete`)
	if !slices.Equal(names, want) {
		t.Errorf("events\n%q, want\n%q", names, want)
	}
}
