//go:build !race

package merge

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/testkit"
)

// recorded returns the events of each stream of the OpenAI protocol.
func recorded(t testing.TB, in testkit.Inputs) map[string][][]byte {
	t.Helper()
	streams := map[string][][]byte{}
	for _, s := range in.Streams(t) {
		if s.API == "openai-chat" || s.API == "openai-completions" {
			streams[s.Name] = events(t, s.Body)
		}
	}
	if len(streams) < in.Least(200) {
		t.Fatalf("found only %d streams", len(streams))
	}
	return streams
}

func events(t testing.TB, stream []byte) [][]byte {
	t.Helper()
	var s sse.Splitter
	list, err := s.Feed(stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	if tail := s.Tail(); len(tail) > 0 {
		list = append(list, llm.Event{Raw: tail})
	}
	raws := make([][]byte, len(list))
	for i := range list {
		raws[i] = list[i].Raw
	}
	return raws
}

// The test's own reading of what a stream says: for every place in its events
// either all the text that was there, joined, or each value that was there and
// differed from the one before. Strings stay as they are spelt.
type meaning map[string]string

var texts = map[string]bool{
	"choices.delta.content": true, "choices.delta.reasoning_content": true, "choices.delta.reasoning": true,
	"choices.delta.reasoning_details.text": true,
	"choices.delta.refusal":                true, "choices.text": true, "choices.delta.tool_calls.function.arguments": true,
}

func understand(t testing.TB, events [][]byte) meaning {
	t.Helper()
	m, last := meaning{}, map[string]string{}
	for _, raw := range events {
		data, ok := sse.Data(raw, nil)
		if !ok || !json.Valid(data) {
			m["other"] += string(raw)
			continue
		}
		m.add(t, last, "", "", data)
	}
	return m
}

func (m meaning) add(t testing.TB, last map[string]string, path, at string, raw json.RawMessage) {
	t.Helper()
	switch {
	case path == "obfuscation":
	case raw[0] == '{':
		var members map[string]json.RawMessage
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatal(err)
		}
		at += "#" + string(members["index"])
		for key, v := range members {
			m.add(t, last, strings.TrimPrefix(path+"."+key, "."), at+"."+key, v)
		}
	case raw[0] == '[':
		var elements []json.RawMessage
		if err := json.Unmarshal(raw, &elements); err != nil {
			t.Fatal(err)
		}
		for _, v := range elements {
			m.add(t, last, path, at, v)
		}
	case texts[path] && raw[0] == '"':
		m[at] += string(raw[1 : len(raw)-1])
	case last[at] != string(raw):
		last[at] = string(raw)
		m[at] += "|" + string(raw)
	}
}

func same(t testing.TB, got, want meaning) {
	t.Helper()
	for at := range want {
		if got[at] != want[at] {
			t.Errorf("%s says %.200q, want %.200q", at, got[at], want[at])
		}
	}
	for at := range got {
		if _, ok := want[at]; !ok {
			t.Errorf("%s is new", at)
		}
	}
}

func TestRecordedStreams(t *testing.T) { testkit.Each(t, testStreams) }

func testStreams(t *testing.T, in testkit.Inputs) {
	before, after := 0, 0
	for name, list := range recorded(t, in) {
		t.Run(name, func(t *testing.T) {
			out, n := Events(nil, chats, list)
			joined := events(t, out)
			if len(joined) != n {
				t.Errorf("said %d events, wrote %d", n, len(joined))
			}
			same(t, understand(t, joined), understand(t, list))
			kept := map[string]bool{}
			for _, raw := range list {
				kept[string(raw)] = true
			}
			for _, raw := range joined {
				if len(raw) > maxEvent && !kept[string(raw)] {
					t.Errorf("a joined event has %d bytes", len(raw))
				}
			}
			before, after = before+len(list), after+n
		})
	}
	t.Logf("%d events became %d", before, after)
}
