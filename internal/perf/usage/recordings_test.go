//go:build !race

package usage

import (
	"encoding/json"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/sse"
	"sluice/internal/testkit"
)

// TestRecordings compares with what a whole reading of each stream says.
func TestRecordings(t *testing.T) { testkit.Each(t, testStreams) }

func testStreams(t *testing.T, in testkit.Inputs) {
	streams, known := in.Streams(t), 0
	for _, stream := range streams {
		var counts Counts
		said := map[string]int64{}
		for _, raw := range split(t, stream.Body) {
			counts.Event(raw)
			decodeUsage(raw, said)
		}
		got, want := counts.Usage(), sumOf(said)
		if got != want {
			t.Errorf("%s: %+v, want %+v", stream.Name, got, want)
		}
		if got.Known {
			known++
		}
	}
	if t.Logf("%d of %d streams say how many tokens they took", known, len(streams)); known < in.Least(100) {
		t.Error("few do")
	}
}

func split(t *testing.T, stream []byte) (raws [][]byte) {
	t.Helper()
	var s sse.Splitter
	list, err := s.Feed(stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(list, llm.Event{Raw: s.Tail()}) {
		raws = append(raws, e.Raw)
	}
	return raws
}

// decodeUsage is the test's own reading of an event: it notes the counts of its usage by their
// names, of those in another object with its name before.
func decodeUsage(raw []byte, counts map[string]int64) {
	type object map[string]json.RawMessage
	var event struct {
		Usage    object
		Metadata object `json:"usageMetadata"`
		Message  struct{ Usage object }
		Response struct{ Usage object }
		Groq     struct{ Usage object } `json:"x_groq"`
	}
	data, _ := sse.Data(raw, nil)
	if json.Unmarshal(data, &event) != nil {
		return
	}
	var note func(o object, of string)
	note = func(o object, of string) {
		for name, v := range o {
			var n int64
			var inner object
			switch {
			case json.Unmarshal(v, &inner) == nil && inner != nil:
				note(inner, of+name+".")
			case string(v) != "null" && json.Unmarshal(v, &n) == nil && (n > 0 || counts[of+name] == 0):
				counts[of+name] = n
			}
		}
	}
	for _, u := range []object{event.Metadata, event.Usage, event.Message.Usage, event.Response.Usage, event.Groq.Usage} {
		note(u, "")
	}
}

// sumOf is the test's own sum.
func sumOf(n map[string]int64) (u perf.Usage) {
	u.Input = max(n["prompt_tokens"], n["input_tokens"], n["promptTokenCount"]+n["toolUsePromptTokenCount"])
	u.Output = max(n["completion_tokens"], n["output_tokens"], n["candidatesTokenCount"]+n["thoughtsTokenCount"])
	u.Cached = max(n["prompt_tokens_details.cached_tokens"], n["input_tokens_details.cached_tokens"], n["cachedContentTokenCount"])
	if _, chat := n["prompt_tokens"]; !chat && u.Cached == 0 {
		u.Cached = n["cache_read_input_tokens"]
		u.Input += u.Cached + n["cache_creation_input_tokens"]
	}
	u.Cached, u.Known = min(u.Cached, u.Input), len(n) > 0
	return u
}
