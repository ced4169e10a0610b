//go:build !race

package known

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/testkit"
)

// apis are the names that recordings give the operations' APIs.
func apis() map[string]llm.Operation {
	return map[string]llm.Operation{"openai-chat": llm.Chat, "openai-responses": llm.Response, "anthropic-messages": llm.Messages, "gemini": llm.GenerateContent}
}

// events splits a stream.
func events(t *testing.T, stream []byte) (list [][]byte) {
	t.Helper()
	var s sse.Splitter
	all, err := s.Feed(stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(all, llm.Event{Raw: s.Tail()}) {
		list = append(list, e.Raw)
	}
	return list
}

// heard reads a stream of a dialect, and writes it as one of another.
func heard(t *testing.T, from, to llm.Operation, stream []byte) (said *dialect.Said, again []byte) {
	t.Helper()
	reader, writer := Of(from).NewReader(), Of(to).NewWriter()
	writer.Reset(dialect.Reply{ID: "1", Model: "m", IncludeUsage: true, Request: []byte("{}")})
	said = new(dialect.Said)
	for _, raw := range events(t, stream) {
		if err := reader.Event(raw, func(e *dialect.Event) error {
			again = writer.Event(again, e)
			return said.Add(e)
		}); err != nil {
			t.Fatal(err)
		}
	}
	return said, writer.End(again)
}

// gist is what every dialect has to carry of the first choice of a reply: text, thoughts,
// calls, why it ended, and usage. A reply that refuses ends so in some dialects, and as any
// other in others.
func gist(s *dialect.Said, refuses bool) string {
	if len(s.Choices) == 0 {
		return fmt.Sprint(s.Usage.Prompt, s.Usage.Completion)
	}
	var text, thoughts, calls bytes.Buffer
	n, finish := 0, s.Choices[0].Finish
	if finish == dialect.Going || finish == dialect.Paused || finish == dialect.ContentFilter && refuses {
		finish = dialect.Stop // the end of a stream says as much, and not all know a pause
	}
	for _, p := range s.Choices[0].Parts {
		switch p.Kind {
		case dialect.Text, dialect.Refusal:
			text.WriteString(dialect.String(p.Text))
		case dialect.Thinking:
			thoughts.WriteString(strings.Join(strings.Fields(dialect.String(p.Text)), ""))
		case dialect.ToolUse:
			n++
			object, _ := dialect.AppendObject(nil, p.Arguments)
			if finish == dialect.Length && string(object) == "{}" { // cut: not every dialect can say it
				continue
			}
			var compact bytes.Buffer
			if json.Compact(&compact, object) != nil {
				compact.Write(object)
			}
			fmt.Fprintf(&calls, "%s(%s) ", dialect.String(p.Name), compact.String())
		}
	}
	if n > 0 && finish == dialect.Stop {
		finish = dialect.ToolsCalled
	}
	return fmt.Sprintf("%q thought %q called %q ended %d took %d, %d", text.String(), thoughts.String(), calls.String(), finish, s.Usage.Prompt, s.Usage.Completion)
}

// refuses reports whether a reply has a refusal.
func refuses(s *dialect.Said) bool {
	return slices.ContainsFunc(s.Choices[0].Parts, func(p dialect.Part) bool { return p.Kind == dialect.Refusal })
}

// TestRecordedPairs: what a recorded stream says, it says in every other dialect, as a
// stream and as a whole reply.
func TestRecordedPairs(t *testing.T) {
	testkit.Each(t, testPairs)
}

func testPairs(t *testing.T, in testkit.Inputs) {
	known := apis()
	n := map[llm.Operation]int{}
	for _, stream := range in.Streams(t) {
		from, ok := known[stream.API]
		if !ok {
			continue
		}
		first, _ := heard(t, from, from, stream.Body)
		if len(first.Choices) == 0 || first.Error != nil || first.Choices[0].Finish == dialect.Going {
			continue // cut, or of an error
		}
		n[from]++
		refused := refuses(first)
		want := gist(first, refused)
		for _, to := range dialects() {
			_, again := heard(t, from, to, stream.Body)
			got, _ := heard(t, to, to, again)
			if g := gist(got, refused); g != want {
				t.Errorf("%s as a stream of %s says\n%s\nwant\n%s", stream.Name, Of(to).Name(), g, want)
			}
			writer := Of(to).NewWriter()
			writer.Reset(dialect.Reply{ID: "1", Model: "m", Request: []byte("{}")})
			whole := new(dialect.Said)
			if err := Of(to).NewReader().Whole(writer.Whole(nil, first), whole.Add); err != nil {
				t.Errorf("%s as a reply of %s: %v", stream.Name, Of(to).Name(), err)
			} else if g := gist(whole, refused); g != want {
				t.Errorf("%s as a reply of %s says\n%s\nwant\n%s", stream.Name, Of(to).Name(), g, want)
			}
		}
	}
	if t.Log(n); in.Least(100) == 100 && (n[llm.Chat] < 100 || n[llm.Messages] < 20 || n[llm.Response] < 20 || n[llm.GenerateContent] < 20) {
		t.Error("these are few")
	}
}
