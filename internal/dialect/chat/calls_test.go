//go:build !race

package chat

import (
	"fmt"
	"strings"
	"testing"

	"sluice/internal/dialect"
)

// saidOf is what a stream of deltas of the first choice says.
func saidOf(t *testing.T, deltas ...string) *dialect.Said {
	t.Helper()
	var stream strings.Builder
	for _, d := range deltas {
		fmt.Fprintf(&stream, "data: {\"id\":\"r\",\"choices\":[{\"index\":0,\"delta\":%s}]}\n\n", d)
	}
	_, said := through(t, []byte(stream.String()+"data: [DONE]\n\n"))
	return said
}

// parts is what the parts of the first choice say, in a line.
func parts(s *dialect.Said) string {
	var all []string
	if s.Error != nil {
		return dialect.String(s.Error.Message)
	}
	for i := range s.Choices {
		for _, p := range s.Choices[i].Parts {
			if p.Kind == dialect.ToolUse {
				all = append(all, fmt.Sprintf("%s:%s(%s)", dialect.String(p.ID), dialect.String(p.Name), dialect.String(p.Arguments)))
			} else {
				all = append(all, dialect.String(p.Text))
			}
		}
	}
	return strings.Join(all, " ")
}

// TestCalls: calls of tools are told apart and put together however a service numbers and
// cuts them.
func TestCalls(t *testing.T) {
	for name, c := range map[string]struct {
		deltas []string
		want   string
	}{
		"an id alone": {[]string{
			`{"tool_calls":[{"id":"A","function":{"name":"f","arguments":"{\"a\":1}"}}]}`,
			`{"tool_calls":[{"id":"B","function":{"name":"g","arguments":"{\"b\":1}"}}]}`,
		}, `A:f({"a":1}) B:g({"b":1})`},
		"an id alone, in pieces": {[]string{
			`{"tool_calls":[{"id":"A","function":{"name":"f","arguments":""}}]}`, `{"tool_calls":[{"function":{"arguments":"{\"a\""}}]}`, `{"tool_calls":[{"function":{"arguments":":1}"}}]}`,
			`{"tool_calls":[{"id":"B","function":{"name":"f"}}]}`, `{"tool_calls":[{"id":"B","function":{"arguments":"{}"}}]}`,
		}, `A:f({"a":1}) B:f({})`},
		"pieces by their ids": {[]string{
			`{"tool_calls":[{"id":"A","function":{"name":"f","arguments":"{"}},{"id":"B","function":{"name":"g","arguments":"{"}}]}`,
			`{"tool_calls":[{"id":"A","function":{"arguments":"\"a\":1}"}},{"id":"B","function":{"arguments":"}"}}]}`,
		}, `A:f({"a":1}) B:g({})`},
		"the same index": {[]string{
			`{"tool_calls":[{"index":0,"id":"A","function":{"name":"f","arguments":"{}"}}]}`, `{"tool_calls":[{"index":0,"id":"B","function":{"name":"f","arguments":"{"}}]}`, `{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}`,
		}, `A:f({}) B:f({})`},
		"the same index in one event": {[]string{
			`{"tool_calls":[{"index":0,"id":"A","function":{"name":"f","arguments":"{}"}},{"index":0,"id":"B","function":{"name":"g","arguments":"{}"}}]}`,
		}, `A:f({}) B:g({})`},
		"no ids": {[]string{
			`{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}`, `{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}`,
		}, `:f({}) :f({})`},
		"an id and a name again": {[]string{
			`{"tool_calls":[{"index":0,"id":"A","function":{"name":"f","arguments":"{"}}]}`, `{"tool_calls":[{"index":0,"id":"A","function":{"name":"f","arguments":"}"}}]}`,
		}, `A:f({})`},
		"another id without a name": {[]string{
			`{"tool_calls":[{"index":0,"id":"A","function":{"name":"f","arguments":"{"}}]}`, `{"tool_calls":[{"index":0,"id":"B","function":{"arguments":"}"}}]}`,
		}, `A:f({})`},
		"by turns": {[]string{
			`{"tool_calls":[{"index":0,"id":"A","function":{"name":"f"}},{"index":1,"id":"B","function":{"name":"g"}}]}`,
			`{"tool_calls":[{"index":1,"function":{"arguments":"{"}},{"index":0,"function":{"arguments":"{"}}]}`,
			`{"tool_calls":[{"index":0,"function":{"arguments":"}"}},{"index":1,"function":{"arguments":"}"}}]}`,
		}, `A:f({}) B:g({})`},
		"a name in pieces": {[]string{
			`{"tool_calls":[{"index":0,"id":"A","function":{"name":"read_"}}]}`, `{"tool_calls":[{"index":0,"function":{"name":"file","arguments":""}}]}`, `{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}`,
		}, `A:read_file({})`},
		"a name in pieces without an index": {[]string{
			`{"tool_calls":[{"id":"A","function":{"name":"read_"}}]}`, `{"tool_calls":[{"function":{"name":"file"}}]}`, `{"tool_calls":[{"id":"B","function":{"name":"g"}}]}`,
		}, `A:read_file() B:g()`},
		"arguments before the name": {[]string{
			`{"tool_calls":[{"index":0,"id":"A","function":{"arguments":"{\"a\""}}]}`, `{"tool_calls":[{"index":0,"function":{"arguments":":1"}}]}`, `{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"}"}}]}`,
		}, `A:f({"a":1})`},
		"no name at all":               {[]string{`{"tool_calls":[{"index":0,"id":"A","function":{"arguments":"{}"}}]}`}, `A:({})`},
		"a name without arguments":     {[]string{`{"tool_calls":[{"index":0,"id":"A","function":{"name":"f"}}]}`, `{"content":"x"}`}, `A:f() x`},
		"an empty call beside another": {[]string{`{"tool_calls":[{"index":0,"id":"A","function":{"name":"f","arguments":"{}"}}],"function_call":{"name":"","arguments":""}}`}, `A:f({})`},
		"the call of older services":   {[]string{`{"function_call":{"name":"f","arguments":""}}`, `{"function_call":{"arguments":"{}"}}`}, `f:f({})`},
		"more than calls may be long":  {[]string{`{"tool_calls":[{"index":0,"function":{"arguments":"` + strings.Repeat("x", maxHeld) + `"}}]}`}, "A call of the reply has no name."},
	} {
		if got := parts(saidOf(t, c.deltas...)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestWholeCalls: of a reply that came whole each entry is a call.
func TestWholeCalls(t *testing.T) {
	said := new(dialect.Said)
	body := `{"choices":[{"message":{"tool_calls":[{"index":0,"id":"A","function":{"name":"f","arguments":"{}"}},{"index":0,"function":{"name":"f","arguments":"{}"}},{"id":"C","function":{"name":"g"}}]}}]}`
	if err := (Dialect{}.NewReader().Whole([]byte(body), said.Add)); err != nil {
		t.Fatal(err)
	}
	if got, want := parts(said), "A:f({}) :f({}) C:g()"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestAfterTheFinish: what a service says after it told why it ended is told all the same, with
// the reason at the end.
func TestAfterTheFinish(t *testing.T) {
	stream := "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"length\"}]}\n\n" +
		"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"}}]}\n\ndata: [DONE]\n\n"
	again, _ := through(t, []byte(stream))
	c := summarize(t, again).Choices[0]
	if c.Text != "ab" || c.Finish != "length" || strings.LastIndex(string(again), `"content"`) > strings.Index(string(again), `"length"`) {
		t.Errorf("%s", again)
	}
}
