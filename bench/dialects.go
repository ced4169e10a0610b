package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/llm"
)

// dialectCosts prints what it costs to turn a request of about 2 kB from each dialect into
// each other, and an event of a stream back: CPU time of reading and writing, the least of
// some rounds.
func dialectCosts(w io.Writer, args []string) error {
	flags := flag.NewFlagSet("dialects", flag.ExitOnError)
	rounds := flags.Int("rounds", 7, "rounds; the least is printed")
	flags.Parse(args)
	var ops []llm.Operation
	for op := range llm.Operations {
		if known.Of(op) != nil {
			ops = append(ops, op)
		}
	}
	fmt.Fprintln(w, "| from → to | a request of | µs | an event back, µs |")
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: |")
	for _, from := range ops {
		for _, to := range ops {
			if from == to {
				continue
			}
			body, err := aRequest(from)
			if err != nil {
				return err
			}
			request, err := translation(from, to, body)
			if err != nil {
				return err
			}
			event, err := anEvent(from, to)
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "| %s → %s | %d B | %.1f | %.2f |\n", known.Of(from).Name(), known.Of(to).Name(), len(body), least(*rounds, 2000, request), least(*rounds, 20000, event))
		}
	}
	return nil
}

// least is the CPU time in µs of a call of f: the least of some rounds, of so many calls each.
func least(rounds, calls int, f func()) float64 {
	var all []float64
	for range rounds {
		before := ownCPU()
		for range calls {
			f()
		}
		all = append(all, float64(ownCPU()-before)/float64(time.Microsecond)/float64(calls))
	}
	return slices.Min(all)
}

// aRequest is a conversation of an agent in a dialect.
func aRequest(op llm.Operation) ([]byte, error) {
	text := func(s string) []dialect.Part {
		return []dialect.Part{{Kind: dialect.Text, Text: []byte(`"` + s + `"`)}}
	}
	c := &dialect.Conversation{Model: "m", Stream: true, MaxTokens: []byte("500"), Temperature: []byte("0.5")}
	c.Messages = []dialect.Message{
		{Role: dialect.System, Parts: text(strings.Repeat("You are careful. ", 25))},
		{Role: dialect.User, Parts: text(strings.Repeat(`What does the file say?\n`, 16))},
		{Role: dialect.Assistant, Parts: []dialect.Part{{Kind: dialect.ToolUse, ID: []byte(`"call_1"`), Name: []byte(`"read_file"`), Arguments: []byte(`{"path":"a.txt"}`)}}},
		{Role: dialect.User, Parts: []dialect.Part{{Kind: dialect.ToolResult, ID: []byte(`"call_1"`), Result: text(strings.Repeat(`colour: red\n`, 30))}}},
	}
	for _, name := range []string{"read_file", "write_file"} {
		c.Tools = append(c.Tools, dialect.Tool{Name: []byte(`"` + name + `"`), Description: []byte(`"Does what its name says, with the path that it is given."`), Schema: []byte(`{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}`)})
	}
	asked, err := known.Of(op).WriteRequest(nil, c, dialect.Options{MaxTokens: 4096})
	return asked.Body, err
}

// translation turns a request into another dialect.
func translation(from, to llm.Operation, body []byte) (func(), error) {
	c, in, out := new(dialect.Conversation), known.Of(from), known.Of(to)
	var dst []byte
	once := func() error {
		c.Reset()
		c.Model, c.Stream = "m", true
		if err := in.ReadRequest(c, body); err != nil {
			return err
		}
		asked, err := out.WriteRequest(dst[:0], c, dialect.Options{MaxTokens: 4096})
		dst = asked.Body
		return err
	}
	return func() { _ = once() }, once()
}

// anEvent turns an event of a service's stream into the client's dialect.
func anEvent(from, to llm.Operation) (func(), error) {
	said := &dialect.Event{Choices: []dialect.Choice{{Text: []byte(`" and so on"`)}}}
	service := known.Of(to).NewWriter()
	service.Reset(dialect.Reply{ID: "1", Model: "m", Request: []byte("{}")})
	service.Event(nil, said) // with which the stream begins
	stream := service.Event(nil, said)
	raw, _, ok := bytes.Cut(stream, []byte("\n\n"))
	if !ok {
		return nil, fmt.Errorf("%s writes no event", known.Of(to).Name())
	}
	raw = append(slices.Clone(raw), "\n\n"...)
	reader, client := known.Of(to).NewReader(), known.Of(from).NewWriter()
	reader.Reset()
	request := []byte("{}")
	n := 0
	var dst []byte
	say := func(e *dialect.Event) error {
		// A reply of usual length, since some hold it.
		if n%200 == 0 {
			client.Reset(dialect.Reply{ID: "1", Model: "m", Request: request})
		}
		n++
		dst = client.Event(dst[:0], e)
		return nil
	}
	if err := reader.Event(raw, say); err != nil || n != 1 {
		return nil, fmt.Errorf("%s reads no event of its own: %w", known.Of(to).Name(), err)
	}
	return func() { _ = reader.Event(raw, say) }, nil
}
