//go:build !race

package known

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/chat"
	"sluice/internal/dialect/gemini"
	"sluice/internal/dialect/messages"
	"sluice/internal/dialect/responses"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// TestSignaturesOfChat: of a reply whose message has several thoughts each keeps its text, its
// signature and its place, whichever the dialect that it is told in, whole, in one event and in
// several.
func TestSignaturesOfChat(t *testing.T) {
	const (
		details = `{"type":"reasoning.text","text":"A","signature":"c2E="},{"type":"reasoning.encrypted","data":"ZGI="},{"type":"reasoning.text","text":"C","signature":"c2M=","id":"call_2","format":"f"}`
		cites   = `"annotations":[{"type":"url_citation","url_citation":{"url":"https://a","title":"b"}}]`
		call1   = `{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}`
		call2   = `{"index":1,"id":"call_2","type":"function","function":{"name":"g","arguments":"{}"}}`
	)
	delta := func(members string) string {
		return `data: {"id":"x","model":"m","choices":[{"index":0,"delta":{` + members + `}}]}` + "\n\n"
	}
	one, two, three := details[:strings.Index(details, `,{"type":"reasoning.e`)], details[strings.Index(details, `{"type":"reasoning.e`):strings.Index(details, `,{"type":"reasoning.text","text":"C"`)], details[strings.Index(details, `{"type":"reasoning.text","text":"C"`):]
	const end = `data: {"id":"x","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}` + "\n\ndata: [DONE]\n\n"
	want := []string{"A c2E=", " ZGI=", "T 1", "call_1", "C c2M=", "call_2"}
	for name, reply := range map[string]string{
		"whole":           `{"id":"x","model":"m","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":"T","reasoning":"AC",` + cites + `,"tool_calls":[` + call1 + `,` + call2 + `],"reasoning_details":[` + details + `]}}]}`,
		"whole, unspoken": `{"id":"x","model":"m","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","reasoning_details":[` + details + `],"content":"T",` + cites + `,"tool_calls":[` + call1 + `,` + call2 + `]}}]}`,
		"at once":         delta(`"content":"T","reasoning":"AC","reasoning_details":[`+details+`],`+cites+`,"tool_calls":[`+call1+`,`+call2+`]`) + end,
		"one by one": delta(`"reasoning":"A","reasoning_details":[{"type":"reasoning.text","text":"A"}]`) + delta(`"reasoning_details":[{"type":"reasoning.text","signature":"c2E="},`+two+`]`) +
			delta(`"content":"T",`+cites) + delta(`"tool_calls":[`+call1+`]`) + delta(`"reasoning":"C","reasoning_details":[`+three+`],"tool_calls":[`+call2+`]`) + end,
		"each whole": delta(`"reasoning_details":[`+one+`]`) + delta(`"reasoning_details":[`+two+`]`) + delta(`"content":"T",`+cites) + delta(`"tool_calls":[`+call1+`]`) + delta(`"reasoning_details":[`+three+`]`) + delta(`"tool_calls":[`+call2+`]`) + end,
	} {
		first := saidIn(t, chat.Dialect{}, reply, nil)
		if got := partsSaid(first); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		for _, d := range []dialect.Dialect{messages.Dialect{}, responses.Dialect{}, gemini.Dialect{}, chat.Dialect{}} {
			w := d.NewWriter()
			w.Reset(dialect.Reply{ID: "1", Model: "m", IncludeUsage: true})
			var stream []byte
			saidIn(t, chat.Dialect{}, reply, func(e *dialect.Event) { stream = w.Event(stream, e) })
			if bytes.HasPrefix([]byte(reply), []byte("data:")) {
				stream = w.End(stream)
			} else {
				w.Reset(dialect.Reply{ID: "1", Model: "m"})
				stream = w.Whole(nil, first)
			}
			again := partsSaid(saidIn(t, d, string(stream), nil))
			expect := want
			switch d.(type) {
			case gemini.Dialect: // where a signature stands on what comes after it, and texts have none of their own
				expect = []string{"c2E=", "ZGI=", "c2M="}
				again = slices.DeleteFunc(again, func(s string) bool { return !strings.Contains(s, "=") })
				for i := range again {
					again[i] = again[i][strings.IndexByte(again[i], ' ')+1:]
				}
			}
			if !slices.Equal(again, expect) {
				t.Errorf("%s in %s: %q, want %q: %s", name, d.Name(), again, expect, stream)
			}
		}
	}
}

// saidIn reads a reply, whole or streamed.
func saidIn(t *testing.T, d dialect.Dialect, reply string, say func(*dialect.Event)) *dialect.Said {
	t.Helper()
	said := new(dialect.Said)
	each := func(e *dialect.Event) error {
		if say != nil {
			say(e)
		}
		return said.Add(e)
	}
	r := d.NewReader()
	if strings.HasPrefix(reply, "{") {
		if err := r.Whole([]byte(reply), each); err != nil {
			t.Fatal(err)
		}
		return said
	}
	var s sse.Splitter
	events, err := s.Feed([]byte(reply), []llm.Event(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := r.Event(e.Raw, each); err != nil {
			t.Fatal(err)
		}
	}
	return said
}

// partsSaid are the parts of a reply: thoughts with their signatures, texts with the number of
// their citations, ids of calls.
func partsSaid(s *dialect.Said) (list []string) {
	for _, p := range s.Choices[0].Parts {
		switch p.Kind {
		case dialect.Thinking:
			list = append(list, dialect.String(p.Text)+" "+dialect.String(p.Signature))
		case dialect.ToolUse:
			list = append(list, dialect.String(p.ID))
		default:
			list = append(list, dialect.String(p.Text)+" "+strings.Repeat("1", len(p.Citations)))
		}
	}
	return list
}
