package simulator

type chatChunk struct {
	ID          string        `json:"id"`
	Object      string        `json:"object"`
	Created     int64         `json:"created"`
	Model       string        `json:"model"`
	ServiceTier string        `json:"service_tier"`
	Fingerprint string        `json:"system_fingerprint"`
	Choices     []chunkChoice `json:"choices"`
}

// countedChunk is a chunk of a stream that was asked to include usage: there
// every chunk but the last says null.
type countedChunk struct {
	chatChunk
	Usage *usage `json:"usage"`
}

type chunkChoice struct {
	Index    int       `json:"index"`
	Delta    delta     `json:"delta"`
	Logprobs *chatLogs `json:"logprobs"`
	Finish   *string   `json:"finish_reason"`
}

type delta struct {
	Role      string     `json:"role,omitempty"`
	Reasoning *string    `json:"reasoning_content,omitempty"`
	Content   *string    `json:"content,omitempty"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

// streamChat cuts outs into chunks, one token each; several choices take
// turns.
func streamChat(req *chatRequest, head chatReply, outs []output) answer {
	return eventAnswer(true, func(emit func(string, any) bool) {
		chunk := chatChunk{
			ID: head.ID, Object: "chat.completion.chunk", Created: head.Created, Model: head.Model,
			ServiceTier: head.ServiceTier, Fingerprint: head.Fingerprint, Choices: make([]chunkChoice, 1),
		}
		send := func(u *usage) bool {
			if req.Options.IncludeUsage {
				return emit("", countedChunk{chunk, u})
			}
			return emit("", chunk)
		}
		// Turn by turn, so that memory does not grow with the text.
		for step, open := 0, len(outs); open > 0; step++ {
			for i := range outs {
				d, tokens, finish, ok := outs[i].step(step)
				if !ok {
					continue
				}
				chunk.Choices[0] = chunkChoice{Index: i, Delta: d, Logprobs: req.logs(tokens), Finish: finish}
				if len(tokens) == 0 {
					chunk.Choices[0].Logprobs = nil
				}
				if finish != nil {
					open--
				}
				if !send(nil) {
					return
				}
			}
		}
		if req.Options.IncludeUsage {
			chunk.Choices = []chunkChoice{}
			send(head.Usage)
		}
	})
}

// step gives the delta number n of an output: the role, then the reasoning,
// the text, the calls, then the finish reason. It is false past the end.
// tokens are the text tokens in it.
func (o *output) step(n int) (d delta, tokens []string, finish *string, ok bool) {
	if n == 0 {
		d.Role = "assistant"
		if len(o.calls) == 0 {
			d.Content = new(string)
		}
		return d, nil, nil, true
	}
	n--
	if n < len(o.reasoning) {
		d.Reasoning = &o.reasoning[n]
		return d, nil, nil, true
	}
	n -= len(o.reasoning)
	if n < len(o.text) {
		d.Content = &o.text[n]
		return d, o.text[n : n+1], nil, true
	}
	n -= len(o.text)
	for i := range o.calls {
		pieces := o.calls[i].pieces
		if n <= len(pieces) {
			t := toolCall{Index: &i}
			if n == 0 {
				t.ID, t.Type, t.Function.Name = o.calls[i].id, "function", o.calls[i].name
			} else {
				t.Function.Arguments = pieces[n-1]
			}
			d.ToolCalls = []toolCall{t}
			return d, nil, nil, true
		}
		n -= len(pieces) + 1
	}
	return d, nil, &o.finish, n == 0
}
