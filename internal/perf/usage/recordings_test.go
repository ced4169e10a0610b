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
		var got, want perf.Usage
		for _, raw := range split(t, stream.Body) {
			if u := Event(raw); u.Known {
				got = u
			}
			if u := decodeUsage(raw); u.Known {
				want = u
			}
		}
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

// decodeUsage is the test's own reading of an event.
func decodeUsage(raw []byte) (u perf.Usage) {
	type details struct {
		Cached int64 `json:"cached_tokens"`
	}
	type usage struct {
		In           *int64  `json:"prompt_tokens"`
		Out          *int64  `json:"completion_tokens"`
		Input        *int64  `json:"input_tokens"`
		Output       *int64  `json:"output_tokens"`
		Read         int64   `json:"cache_read_input_tokens"`
		Written      int64   `json:"cache_creation_input_tokens"`
		InDetails    details `json:"prompt_tokens_details"`
		InputDetails details `json:"input_tokens_details"`
	}
	var event struct {
		Gemini *struct {
			In       *int64 `json:"promptTokenCount"`
			Tools    int64  `json:"toolUsePromptTokenCount"`
			Out      int64  `json:"candidatesTokenCount"`
			Thoughts int64  `json:"thoughtsTokenCount"`
			Cached   int64  `json:"cachedContentTokenCount"`
		} `json:"usageMetadata"`
		Usage    *usage
		Message  struct{ Usage *usage }
		Response struct{ Usage *usage }
		Groq     struct{ Usage *usage } `json:"x_groq"`
	}
	data, _ := sse.Data(raw, nil)
	if json.Unmarshal(data, &event) != nil {
		return u
	}
	if g := event.Gemini; g != nil && g.In != nil {
		u = perf.Usage{Known: true, Input: *g.In + g.Tools, Output: g.Out + g.Thoughts, Cached: g.Cached}
	}
	for _, v := range []*usage{event.Usage, event.Message.Usage, event.Response.Usage, event.Groq.Usage} {
		if v == nil {
			continue
		}
		for _, n := range []*int64{v.In, v.Input} {
			if n != nil {
				u.Known, u.Input = true, *n
			}
		}
		for _, n := range []*int64{v.Out, v.Output} {
			if n != nil {
				u.Known, u.Output = true, *n
			}
		}
		u.Cached = v.InDetails.Cached + v.InputDetails.Cached
		if v.In == nil && u.Cached == 0 {
			u.Cached = v.Read
			u.Input += v.Read + v.Written
		}
		u.Cached = min(u.Cached, u.Input)
	}
	return u
}
