package simulator

import "strings"

// responseEvent is every event of a response stream: each has the fields of
// its type only.
type responseEvent struct {
	Type     string    `json:"type"`
	Sequence int       `json:"sequence_number"`
	Response *response `json:"response,omitempty"`
	ItemID   string    `json:"item_id,omitempty"`
	Output   *int      `json:"output_index,omitempty"`
	Content  *int      `json:"content_index,omitempty"`
	Summary  *int      `json:"summary_index,omitempty"`
	Item     any       `json:"item,omitempty"`
	Part     *textPart `json:"part,omitempty"`
	Delta    *string   `json:"delta,omitempty"`
	Text     *string   `json:"text,omitempty"`
	Name     string    `json:"name,omitempty"`
	Args     *string   `json:"arguments,omitempty"`
	Logprobs *[]string `json:"logprobs,omitempty"`
}

// responseStream numbers events and stops at the first that is not wanted.
type responseStream struct {
	emit     func(string, any) bool
	sequence int
	stopped  bool
}

func (s *responseStream) send(e responseEvent) {
	if s.stopped {
		return
	}
	e.Sequence = s.sequence
	s.sequence++
	s.stopped = !s.emit(e.Type, e)
}

// stream sends the response in progress, its items piece by piece, and the
// response as it is in the end.
func (w *responseWriter) stream(input int, emit func(string, any) bool) {
	s := &responseStream{emit: emit}
	s.send(responseEvent{Type: "response.created", Response: &w.reply})
	s.send(responseEvent{Type: "response.in_progress", Response: &w.reply})
	if len(w.out.reasoning) > 0 {
		w.streamReasoning(s)
	}
	if len(w.out.calls) == 0 {
		w.streamMessage(s)
	}
	for i := range w.out.calls {
		w.streamCall(s, i)
	}
	w.finish(input)
	s.send(responseEvent{Type: "response." + w.reply.Status, Response: &w.reply})
}

func (w *responseWriter) streamReasoning(s *responseStream) {
	item, output, summary := w.reasoning(), 0, 0
	text := strings.Join(w.out.reasoning, "")
	begun := item
	begun.Status, begun.Summary = "in_progress", []textPart{}
	s.send(responseEvent{Type: "response.output_item.added", Output: &output, Item: begun})
	at := responseEvent{ItemID: item.ID, Output: &output, Summary: &summary}
	send := func(kind string, fill func(e *responseEvent)) {
		e := at
		e.Type = "response." + kind
		fill(&e)
		s.send(e)
	}
	part := func(text string) func(*responseEvent) {
		return func(e *responseEvent) { e.Part = &textPart{Type: "summary_text", Text: text} }
	}
	send("reasoning_summary_part.added", part(""))
	for i := range w.out.reasoning {
		send("reasoning_summary_text.delta", func(e *responseEvent) { e.Delta = &w.out.reasoning[i] })
	}
	send("reasoning_summary_text.done", func(e *responseEvent) { e.Text = &text })
	send("reasoning_summary_part.done", part(text))
	s.send(responseEvent{Type: "response.output_item.done", Output: &output, Item: item})
}

func (w *responseWriter) streamMessage(s *responseStream) {
	item, output, index := w.message(), w.index(0), 0
	begun := item
	begun.Status, begun.Content = "in_progress", []textPart{}
	s.send(responseEvent{Type: "response.output_item.added", Output: &output, Item: begun})
	at := responseEvent{ItemID: item.ID, Output: &output, Content: &index}
	send := func(kind string, fill func(e *responseEvent)) {
		e := at
		e.Type = "response." + kind
		fill(&e)
		s.send(e)
	}
	empty := outputText("")
	send("content_part.added", func(e *responseEvent) { e.Part = &empty })
	for i := range w.out.text {
		send("output_text.delta", func(e *responseEvent) { e.Delta, e.Logprobs = &w.out.text[i], &[]string{} })
	}
	send("output_text.done", func(e *responseEvent) { e.Text, e.Logprobs = &item.Content[0].Text, &[]string{} })
	send("content_part.done", func(e *responseEvent) { e.Part = &item.Content[0] })
	s.send(responseEvent{Type: "response.output_item.done", Output: &output, Item: item})
}

func (w *responseWriter) streamCall(s *responseStream, i int) {
	item, output := w.call(i), w.index(i)
	begun := item
	begun.Status, begun.Arguments = "in_progress", ""
	s.send(responseEvent{Type: "response.output_item.added", Output: &output, Item: begun})
	for k := range w.out.calls[i].pieces {
		s.send(responseEvent{Type: "response.function_call_arguments.delta", ItemID: item.ID, Output: &output, Delta: &w.out.calls[i].pieces[k]})
	}
	s.send(responseEvent{Type: "response.function_call_arguments.done", ItemID: item.ID, Output: &output, Name: item.Name, Args: &item.Arguments})
	s.send(responseEvent{Type: "response.output_item.done", Output: &output, Item: item})
}
