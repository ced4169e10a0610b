package chat

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/sse"
)

// reader reads replies. It is used again, with the room of its lists.
type reader struct {
	event  dialect.Event
	buf    []byte // of data in several fields
	opened bool   // the reply's id is known
	calls  calls

	thoughts []thought // of the choice that is being read
}

// keptRoom is how much room in bytes is kept for use again.
const keptRoom = 64 << 10

// Reset implements dialect.Reader.
func (r *reader) Reset() {
	r.opened = false
	r.calls.reset()
	r.event.Reset()
	if clear(r.thoughts[:cap(r.thoughts)]); cap(r.thoughts) > keptCalls {
		r.thoughts = nil
	}
	if cap(r.buf) > keptRoom {
		r.buf = nil
	}
}

// Event implements dialect.Reader.
func (r *reader) Event(raw []byte, say func(*dialect.Event) error) error {
	data, ok := sse.Data(raw, r.buf[:0])
	if !ok {
		return nil
	}
	if sse.IsDone(data) {
		return r.rest(say)
	}
	if data = bytes.TrimSpace(data); len(data) == 0 {
		return nil
	}
	if jsonscan.Validate(data, maxDepth) != nil {
		return dialect.ErrBroken
	}
	return r.say(data, streamed, say)
}

// Whole implements dialect.Reader.
func (r *reader) Whole(body []byte, say func(*dialect.Event) error) error {
	return r.say(body, whole, say)
}

// The members in which a choice has what it says.
const (
	streamed = "delta"
	whole    = "message"
)

// say reads an object that has choices, each with what it says in a member of its own.
func (r *reader) say(v []byte, inner string, say func(*dialect.Event) error) error {
	e := &r.event
	e.Reset()
	says := false
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "id":
			if !r.opened {
				e.ID = dialect.LabelOf(v)
			}
		case "model":
			if !r.opened {
				e.Model = dialect.LabelOf(v)
			}
		case "choices":
			for c := range jsonscan.ElementsOf(v) {
				if len(e.Choices) >= dialect.MaxChoices {
					break
				}
				r.choice(c, inner)
				says = true
			}
		case "usage":
			e.Usage, says = usage(v), true
		case "error":
			e.Error, says = failure(v), true
		}
	}
	if says = says || e.ID != nil; !says {
		return nil
	}
	r.opened = r.opened || e.ID != nil
	return say(e)
}

func failure(v []byte) *dialect.Failure {
	if dialect.IsText(v) {
		return &dialect.Failure{Message: v}
	}
	f := new(dialect.Failure)
	for name, v := range jsonscan.MembersOf(v) {
		if !dialect.IsText(v) {
			continue
		}
		switch string(name) {
		case "message":
			f.Message = v
		case "type":
			f.Type = v
		case "code":
			f.Code = v
		}
	}
	return f
}

func usage(v []byte) (u dialect.Usage) {
	total := int64(0)
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "prompt_tokens":
			u.Prompt = dialect.Int(v)
		case "completion_tokens":
			u.Completion = dialect.Int(v)
		case "total_tokens":
			total = dialect.Int(v)
		case "prompt_tokens_details":
			u.Cached = dialect.Int(jsonscan.Member(v, "cached_tokens"))
		case "completion_tokens_details":
			u.Reasoning = dialect.Int(jsonscan.Member(v, "reasoning_tokens"))
		case "prompt_cache_hit_tokens": // DeepSeek's
			u.Cached = max(u.Cached, dialect.Int(v))
		}
	}
	u.Cached = min(u.Cached, u.Prompt)                                                              // a few services count it beside
	if beside := total == u.Prompt+u.Completion+u.Reasoning; beside || u.Reasoning > u.Completion { // as xAI counts it
		u.Completion += u.Reasoning
	}
	return u
}

func (r *reader) choice(v []byte, inner string) {
	index, finish := 0, dialect.Going
	var says, logprobs, stopped []byte
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "index":
			index = int(dialect.Int(v))
		case inner:
			says = v
		case "logprobs":
			logprobs = dialect.ObjectOf(v)
		case "finish_reason":
			finish = finishOf(v)
		case "stop_reason": // vLLM's: the sequence, or a token
			stopped = dialect.TextOf(v)
		}
	}
	if r.calls.waiting > 0 && jsonscan.Member(says, "tool_calls") == nil && jsonscan.Member(says, "function_call") == nil {
		r.calls.tell(r.event.Choice(index), nil, false) // before what comes now
	}
	c := r.event.Choice(index)
	c.Logprobs, c.Finish, c.Stopped = logprobs, finish, stopped
	c = r.said(c, says, inner == whole)
	if finish != dialect.Going {
		r.calls.tell(c, nil, true)
	}
}

func finishOf(v []byte) dialect.Finish {
	switch dialect.String(v) {
	case "": // of services that have no null
		return dialect.Going
	case "length":
		return dialect.Length
	case "tool_calls", "function_call":
		return dialect.ToolsCalled
	case "content_filter":
		return dialect.ContentFilter
	default:
		return dialect.Stop
	}
}

// said reads what a choice says, and returns where the rest of it is to be told.
func (r *reader) said(c *dialect.Choice, v []byte, whole bool) *dialect.Choice {
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil || dialect.IsEmpty(v) {
			continue
		}
		switch string(name) {
		case "content":
			c.Text = content(v)
		case "refusal":
			c.Refusal = dialect.TextOf(v)
		case "reasoning_content", "reasoning":
			if dialect.IsText(v) {
				c.Thinking = v
			}
		case "reasoning_details":
			for d := range jsonscan.ElementsOf(v) {
				r.thought(d)
			}
		case "images": // of services whose models make them
			for p := range jsonscan.ElementsOf(v) {
				if m := image(jsonscan.Member(p, "image_url")); (m.Data != nil || m.URL != nil) && len(c.Images) < dialect.MaxImages {
					c.Images = append(c.Images, m)
				}
			}
		case "annotations":
			for a := range jsonscan.ElementsOf(v) {
				if len(c.Citations) < dialect.MaxCitations {
					annotation(c, a)
				}
			}
		case "tool_calls":
			n := 0
			for call := range jsonscan.ElementsOf(v) {
				if n == dialect.MaxCalls {
					r.event.Error = dialect.TooManyCalls()
					break
				}
				r.toolCall(c, call, whole)
				n++
			}
		case "function_call":
			t := dialect.ToolCall{}
			function(&t, v)
			t.ID = t.Name
			r.piece(c, &t, whole)
		}
	}
	return r.think(c)
}

// content is a text, or in replies of a few services (Mistral) a list with one.
func content(v []byte) []byte {
	if !dialect.IsList(v) {
		return dialect.TextOf(v)
	}
	var texts [][]byte
	for p := range jsonscan.ElementsOf(v) {
		if t := jsonscan.Member(p, "text"); dialect.IsText(t) {
			texts = append(texts, t)
		}
	}
	switch len(texts) {
	case 0:
		return nil
	case 1:
		return texts[0]
	}
	return dialect.AppendJoined(nil, texts, "")
}

func annotation(c *dialect.Choice, v []byte) {
	u := jsonscan.Member(v, "url_citation")
	if u == nil {
		return
	}
	one := dialect.Citation{}
	for name, v := range jsonscan.MembersOf(u) {
		switch string(name) {
		case "url":
			one.URL = dialect.TextOf(v)
		case "title":
			one.Title = dialect.TextOf(v)
		case "content":
			one.Cited = dialect.TextOf(v)
		case "start_index":
			one.Start = int(dialect.Int(v))
		case "end_index":
			one.End = int(dialect.Int(v))
		}
	}
	c.Citations = append(c.Citations, one)
}

// toolCall reads one of a list of calls, or of pieces of calls.
func (r *reader) toolCall(c *dialect.Choice, v []byte, whole bool) {
	t := dialect.ToolCall{Index: noNumber}
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "index":
			if dialect.IsNumber(v) {
				t.Index = int(dialect.Int(v))
			}
		case "id":
			if dialect.IsText(v) && !dialect.IsEmpty(v) {
				t.ID = v
			}
		case "function", "custom":
			function(&t, v)
		}
	}
	r.piece(c, &t, whole)
}

func function(t *dialect.ToolCall, v []byte) {
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "name":
			if dialect.IsText(v) && !dialect.IsEmpty(v) {
				t.Name = v
			}
		case "arguments", "input":
			if dialect.IsText(v) {
				t.Arguments = v
			} else if dialect.IsObject(v) { // of a few services
				t.Arguments = dialect.AppendQuoted(nil, v)
			}
		}
	}
}
