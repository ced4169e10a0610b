//go:build !race

package dialect

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func b(s string) []byte { return []byte(s) }

// TestSaid: pieces become parts, in the order in which these began.
func TestSaid(t *testing.T) {
	var s Said
	for _, e := range []Event{
		{ID: b(`"r"`), Model: b(`"m"`), Usage: Usage{Prompt: 9, Completion: 1}},
		{Choices: []Choice{{Thinking: b(`"hm"`)}}},
		{Choices: []Choice{{Thinking: b(`"m."`), Signature: b(`"s1"`)}}},
		{Choices: []Choice{{Thinking: b(`"again"`), Signature: b(`"s2"`), Text: b(`"Hel"`)}}},
		{Choices: []Choice{{Text: b(`"lo"`)}, {Index: 1, Refusal: b(`"no"`)}}},
		{Choices: []Choice{{ToolCalls: []ToolCall{{Index: 0, ID: b(`"a"`), Name: b(`"f"`)}, {Index: 1, ID: b(`"b"`), Name: b(`"g"`), Arguments: b(`"{}"`)}}}}},
		{Choices: []Choice{{ToolCalls: []ToolCall{{Index: 0, Arguments: b(`"{\"x\":"`)}}}}},
		{Choices: []Choice{{ToolCalls: []ToolCall{{Index: 0, Arguments: b(`"1}"`)}}, Text: b(`"and"`), Finish: ToolsCalled}}, Usage: Usage{Completion: 7}},
	} {
		if err := s.Add(&e); err != nil {
			t.Fatal(err)
		}
	}
	var parts []string
	for _, p := range s.Choices[0].Parts {
		parts = append(parts, fmt.Sprintf("%d %s%s%s%s%s", p.Kind, p.Text, p.Signature, p.ID, p.Name, p.Arguments))
	}
	want := `2 "hmm.""s1"|2 "again""s2"|0 "Hello"|6 "a""f""{\"x\":1}"|6 "b""g""{}"|0 "and"`
	if got := strings.Join(parts, "|"); got != want {
		t.Errorf("parts are\n%s, want\n%s", got, want)
	}
	if c := s.Choices[0]; c.Finish != ToolsCalled || s.Usage != (Usage{Prompt: 9, Completion: 7}) || string(s.ID) != `"r"` {
		t.Errorf("%+v", s)
	}
	if len(s.Choices) != 2 || string(s.Choices[1].Parts[0].Text) != `"no"` {
		t.Errorf("%+v", s.Choices)
	}
}

// TestSaidIsBounded: neither texts nor empty entries without end are held.
func TestSaidIsBounded(t *testing.T) {
	for name, e := range map[string]func(i int) Event{
		"text":    func(int) Event { return Event{Choices: []Choice{{Text: b(`"0123456789"`)}}} },
		"choices": func(i int) Event { return Event{Choices: []Choice{{Index: i}}} },
		"calls":   func(i int) Event { return Event{Choices: []Choice{{ToolCalls: []ToolCall{{Index: i}}}}} },
		"thoughts": func(int) Event {
			return Event{Choices: []Choice{{Thinking: b(`"x"`), Signature: b(`"y"`)}}}
		},
		"citations": func(int) Event { return Event{Choices: []Choice{{Citations: []Citation{{}}}}} },
	} {
		s := Said{Max: 10_000}
		var err error
		for i := 0; i < 10_000 && err == nil; i++ {
			one := e(i)
			err = s.Add(&one)
		}
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSaidHoldsSoMany: more choices, or calls of one, than there may be are too large, without a
// bound in bytes too.
func TestSaidHoldsSoMany(t *testing.T) {
	for name, e := range map[string]func(i int) Event{
		"choices": func(i int) Event { return Event{Choices: []Choice{{Index: -i * 1_000_000}}} },
		"calls":   func(i int) Event { return Event{Choices: []Choice{{ToolCalls: []ToolCall{{Index: i * 1_000_000}}}}} },
	} {
		bound := map[string]int{"choices": MaxChoices, "calls": MaxCalls}[name]
		var s Said
		for i := range bound {
			one := e(i)
			if err := s.Add(&one); err != nil {
				t.Fatalf("%s: %v of %d", name, err, i)
			}
		}
		for i := range 3 {
			one := e(bound + i)
			if err := s.Add(&one); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: %v of more than %d", name, err, bound)
			}
		}
		if len(s.Choices) > MaxChoices || len(s.Choices[0].Parts) > MaxCalls {
			t.Errorf("%s: %d choices, %d parts", name, len(s.Choices), len(s.Choices[0].Parts))
		}
	}
}

// TestResetIsBounded: what has grown large is not kept for use again.
func TestResetIsBounded(t *testing.T) {
	var e Event
	for i := range 5000 {
		c := e.Choice(i % 3)
		c.ToolCalls = make([]ToolCall, 1)
	}
	if e.Reset(); cap(e.Choices) > 0 {
		t.Errorf("room for %d choices is kept", cap(e.Choices))
	}
	e.Choice(0).ToolCalls = make([]ToolCall, 5000)
	e.Choice(1).Citations = make([]Citation, 5000)
	e.Choice(2).ToolCalls = make([]ToolCall, 7)
	e.Reset()
	if e.Choice(0).ToolCalls != nil || e.Choice(1).Citations != nil || cap(e.Choice(2).ToolCalls) != 7 {
		t.Error("large lists are kept, or small ones are not")
	}
	c := Conversation{Messages: make([]Message, 5000), Tools: make([]Tool, 5000), Stop: make([][]byte, 7)}
	if c.Reset(); c.Messages != nil || c.Tools != nil || cap(c.Stop) != 7 {
		t.Error("large lists are kept, or small ones are not")
	}
}
