package usage

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ulikunitz/xz"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/sse"
)

// TestRecordings compares with what a whole reading of each recorded
// stream of the OpenAI protocol says.
func TestRecordings(t *testing.T) {
	dir := filepath.FromSlash("../../../../shared/data/sse-streams")
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
			if u := Event(raw); u.Known {
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
