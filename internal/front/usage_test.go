package front

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/sse"
)

func TestUsage(t *testing.T) {
	chat := `"usage":{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25,"prompt_tokens_details":{"cached_tokens":12,"audio_tokens":0}}`
	for text, want := range map[string]perf.Usage{
		`{"id":"c",` + chat + `}`:                              {Known: true, Input: 20, Output: 5, Cached: 12},
		`{"id":"c",` + chat + `,"service_tier":"default"}`:     {Known: true, Input: 20, Output: 5, Cached: 12},
		"data: {" + chat + ",\"x_groq\":{\"usage\":null}}\n\n": {Known: true, Input: 20, Output: 5, Cached: 12},
		`{"usage" : {"prompt_tokens" :8,"total_tokens":8}}`:    {Known: true, Input: 8},
		`{"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":99},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":0}}}`: {Known: true, Input: 36, Output: 87, Cached: 36},
		`{"usage":{"prompt_tokens":1,"prompt_tokens_details":null}}`:                                                                                  {Known: true, Input: 1},

		`{"usage":null}`: {}, `{"usage":{}}`: {}, `{"usage":[1]}`: {}, `{"usage":{"prompt_tokens":-5}}`: {}, `{"usage":{"prompt_tokens":1e3}}`: {},
		`{"usage":{"prompt_tokens":99999999999999999999}}`: {}, `{"usage":{"prompt_tokens":5`: {}, `"usage"`: {}, `"usage":`: {}, "": {},
		`{"content":"\"usage\":{\"prompt_tokens\":5}"}`: {}, `{"a\"usage":{"prompt_tokens":5}}`: {}, `{"a":"usage"}`: {},
		chat + strings.Repeat(" ", usageWindow): {},
	} {
		if got := findUsage([]byte(text)); got != want {
			t.Errorf("%.120s: %+v, want %+v", text, got, want)
		}
	}
}

func FuzzUsage(f *testing.F) {
	for _, s := range []string{
		`{"usage":{"prompt_tokens":20,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":12}}}`, `"usage":{"usage":{}`, `\"usage":{`, `"usage":{"input_tokens_details":{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		u := findUsage(b)
		if u.Input < 0 || u.Output < 0 || u.Cached < 0 || u.Cached > u.Input || !u.Known && u != (perf.Usage{}) {
			t.Errorf("%q: %+v", b, u)
		}
	})
}

// TestUsageOfRecordings compares with what a whole reading of each recorded
// stream of the OpenAI protocol says.
func TestUsageOfRecordings(t *testing.T) {
	dir := filepath.FromSlash("../../../shared/data/sse-streams")
	f, err := os.Open(filepath.Join(dir, "streams-dev.tar.xz"))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	defer f.Close()
	plain, err := xz.NewReader(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	streams, known := 0, 0
	for archive := tar.NewReader(plain); ; streams++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		var got, want perf.Usage
		for _, raw := range split(t, body) {
			if u := findUsage(raw); u.Known {
				got = u
			}
			if u := decodeUsage(raw); u.Known {
				want = u
			}
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", h.Name, got, want)
		}
		if got.Known {
			known++
		}
	}
	if t.Logf("%d of %d streams say how many tokens they took", known, streams); known < 100 {
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
		InDetails    details `json:"prompt_tokens_details"`
		InputDetails details `json:"input_tokens_details"`
	}
	var event struct {
		Usage    *usage
		Message  struct{ Usage *usage }
		Response struct{ Usage *usage }
		Groq     struct{ Usage *usage } `json:"x_groq"`
	}
	data, _ := sse.Data(raw, nil)
	if json.Unmarshal(data, &event) != nil {
		return u
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
		u.Cached = min(v.InDetails.Cached+v.InputDetails.Cached, u.Input)
	}
	return u
}

var usageReply = []byte(`{"id":"c","choices":[{"message":{"content":"` + strings.Repeat(`some \"text\" `, 60) +
	`"}}],"usage":{"prompt_tokens":120,"completion_tokens":58,"total_tokens":178,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"service_tier":"default"}`)

func TestUsageAlloc(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	if n := testing.AllocsPerRun(100, func() { findUsage(usageReply) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUsage(b *testing.B) {
	event := []byte("data: " + chunk("hello") + "\n\n")
	for name, reply := range map[string][]byte{"reply": usageReply, "event": event, "none": bytes.Repeat([]byte(`"abc":12,`), 110)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				findUsage(reply)
			}
		})
	}
}
