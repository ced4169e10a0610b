package mapping

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"sluice/internal/cel"
	"sluice/internal/jsonscan"
)

// Writer writes the reply to one request as OpenAI's API has it. It is used by one
// goroutine at a time.
type Writer struct {
	ID           string // of the reply
	Model        string // as the client named it
	Created      int64  // seconds since 1970
	Text         bool   // of a completion, not a chat
	IncludeUsage bool   // the client asked for stream_options.include_usage

	choices []progress
	calls   int // in all of them
}

// progress is how far a choice is.
type progress struct {
	index    int
	begun    bool
	finished bool
	calls    []call
}

// call is one of the calls that a choice has made.
type call struct {
	id    uint64 // a hash of it, which takes no room; 0 for none
	index int    // at the service, -1 where it does not tell
}

// seed is one that no service knows, so that none finds two ids of one hash.
var seed = maphash.MakeSeed() //nolint:gochecknoglobals // a constant that cannot be one

func hashed(id []byte) uint64 {
	if id == nil {
		return 0
	}
	return maphash.Bytes(seed, id) | 1
}

// progress finds a choice's.
func (w *Writer) progress(index int) *progress {
	for i := range w.choices {
		if w.choices[i].index == index {
			return &w.choices[i]
		}
	}
	w.choices = append(w.choices, progress{index: index})
	return &w.choices[len(w.choices)-1]
}

// place finds which of the calls c is a part of, and whether it begins one. A service
// may tell by an index or by an id; what has neither goes on, unless it has a name. all
// counts those of all choices: from the bound on what there is goes on.
func (p *progress) place(c *ToolCall, all *int) (n int, begins bool) {
	if last := len(p.calls) - 1; last >= 0 && (c.Index < 0 && c.ID == nil && c.Name == nil || *all >= maxCalls) {
		return last, false
	}
	id := hashed(c.ID)
	for i := range p.calls {
		if c.Index >= 0 && p.calls[i].index == c.Index || c.Index < 0 && id != 0 && p.calls[i].id == id {
			return i, false
		}
	}
	*all++
	p.calls = append(p.calls, call{id, c.Index})
	return len(p.calls) - 1, true
}

// finish gives why a choice ended. Services that say that it stopped where it waits
// for its calls mean them.
func (p *progress) finish(why []byte) []byte {
	if len(p.calls) > 0 && string(why) == `"stop"` {
		return []byte(`"tool_calls"`)
	}
	return why
}

// AppendChunks appends the server-sent events that tell of e: one for what each choice
// says, the first of a choice with its role, and one for why it ended.
func (w *Writer) AppendChunks(dst []byte, e *Event) []byte {
	for i := range e.Choices {
		c := &e.Choices[i]
		p := w.progress(c.Index)
		if !p.begun || c.Text != nil || c.Reasoning != nil || c.Refusal != nil || len(c.ToolCalls) > 0 || c.Logprobs != nil {
			dst = w.begin(dst, p.index)
			if w.Text {
				dst = append(append(dst, `,"text":`...), orEmpty(c.Text)...)
			} else {
				dst = w.delta(dst, p, c)
			}
			p.begun = true
			dst = w.end(dst, c.Logprobs, nil)
		}
		if c.Finish != nil && !p.finished {
			dst = w.finish(dst, p, c.Finish)
		}
	}
	return dst
}

// Finished reports whether the service said of each choice why it ended.
func (w *Writer) Finished() bool {
	return len(w.choices) > 0 && !slices.ContainsFunc(w.choices, func(p progress) bool { return !p.finished })
}

// AppendEnd appends what ends a stream that came to its end: "stop" for a choice of
// which the service did not say why it ended, and the usage where it was asked for.
// The client still awaits "data: [DONE]".
func (w *Writer) AppendEnd(dst []byte, u Usage) []byte {
	for i := range w.choices {
		if p := &w.choices[i]; !p.finished {
			dst = w.finish(dst, p, []byte(`"stop"`))
		}
	}
	if w.IncludeUsage {
		dst = w.head(append(dst, "data: "...), ".chunk")
		dst = append(dst, `,"choices":[],"usage":`...)
		dst = append(u.appendJSON(dst), "}\n\n"...)
	}
	return dst
}

func (w *Writer) finish(dst []byte, p *progress, why []byte) []byte {
	p.finished = true
	dst = w.begin(dst, p.index)
	if w.Text {
		dst = append(dst, `,"text":""`...)
	} else {
		dst = append(dst, `,"delta":{}`...)
	}
	return w.end(dst, nil, p.finish(why))
}

func (w *Writer) begin(dst []byte, index int) []byte {
	dst = w.head(append(dst, "data: "...), ".chunk")
	dst = append(dst, `,"choices":[{"index":`...)
	return strconv.AppendInt(dst, int64(index), 10)
}

func (w *Writer) end(dst, logprobs, finish []byte) []byte {
	dst = appendRest(dst, logprobs, finish)
	dst = append(dst, "}]"...)
	if w.IncludeUsage {
		dst = append(dst, `,"usage":null`...)
	}
	return append(dst, "}\n\n"...)
}

func appendRest(dst, logprobs, finish []byte) []byte {
	dst = append(append(dst, `,"logprobs":`...), orNull(logprobs)...)
	return append(append(dst, `,"finish_reason":`...), orNull(finish)...)
}

func (w *Writer) head(dst []byte, suffix string) []byte {
	dst = append(dst, `{"id":`...)
	dst = jsonscan.AppendString(dst, w.ID)
	if w.Text {
		dst = append(dst, `,"object":"text_completion"`...)
	} else {
		dst = append(append(append(dst, `,"object":"chat.completion`...), suffix...), '"')
	}
	dst = strconv.AppendInt(append(dst, `,"created":`...), w.Created, 10)
	return jsonscan.AppendString(append(dst, `,"model":`...), w.Model)
}

func orNull(raw []byte) []byte {
	if raw == nil {
		return []byte("null")
	}
	return raw
}

func orEmpty(raw []byte) []byte {
	if raw == nil {
		return []byte(`""`)
	}
	return raw
}

func (w *Writer) delta(dst []byte, p *progress, c *Choice) []byte {
	dst = append(dst, `,"delta":{`...)
	open := len(dst)
	member := func(name string, value []byte) {
		if len(dst) > open {
			dst = append(dst, ',')
		}
		dst = append(append(append(append(dst, '"'), name...), `":`...), value...)
	}
	if !p.begun {
		role := c.Role
		if role == nil {
			role = []byte(`"assistant"`)
		}
		member("role", role)
	}
	switch {
	case c.Text != nil:
		member("content", c.Text)
	case !p.begun && len(c.ToolCalls) > 0:
		member("content", []byte("null"))
	case !p.begun:
		member("content", []byte(`""`))
	}
	if c.Reasoning != nil {
		member("reasoning_content", c.Reasoning)
	}
	if c.Refusal != nil {
		member("refusal", c.Refusal)
	}
	if len(c.ToolCalls) > 0 {
		member("tool_calls", nil)
		dst = append(dst, '[')
		for i := range c.ToolCalls {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = w.toolCall(dst, p, &c.ToolCalls[i], true)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// toolCall appends a call, or in a stream what is new of one.
func (w *Writer) toolCall(dst []byte, p *progress, c *ToolCall, stream bool) []byte {
	n, begins := p.place(c, &w.calls)
	dst = append(dst, '{')
	if stream {
		dst = strconv.AppendInt(append(dst, `"index":`...), int64(n), 10)
		dst = append(dst, ',')
	}
	if begins || !stream {
		dst = append(dst, `"id":`...)
		if c.ID != nil {
			dst = append(dst, c.ID...)
		} else {
			dst = jsonscan.AppendString(dst, "call_"+w.ID+"_"+strconv.Itoa(p.index)+"_"+strconv.Itoa(n))
		}
		dst = append(dst, `,"type":"function","function":{"name":`...)
		dst = append(dst, orEmpty(c.Name)...)
		dst = append(dst, ',')
	} else {
		dst = append(dst, `"function":{`...)
	}
	dst = append(dst, `"arguments":`...)
	return append(append(dst, orEmpty(c.Arguments)...), "}}"...)
}

// names is how many bytes the id and the model take at most.
func (w *Writer) names() int {
	n := 0
	for _, s := range [...]string{w.ID, w.Model} {
		n += len(s)
		for i := range len(s) {
			if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
				n += 5
			}
		}
	}
	return n
}

// What is written at most beside texts and names, in bytes: in a reply, around a choice or
// a call.
const (
	aroundReply  = 512
	aroundChoice = 320
	aroundCall   = 160
)

// Room is how many bytes AppendChunks and AppendReply append at most for e.
func (w *Writer) Room(e *Event) int {
	names := w.names()
	n := aroundReply + names
	for i := range e.Choices {
		c := &e.Choices[i]
		n += aroundChoice + names + len(c.Role) + len(c.Text) + len(c.Reasoning) + len(c.Refusal) + len(c.Finish) + len(c.Logprobs)
		if c.Finish != nil { // in an event of its own
			n += aroundChoice + names
		}
		for k := range c.ToolCalls {
			t := &c.ToolCalls[k]
			n += aroundCall + names + len(t.ID) + len(t.Name) + len(t.Arguments)
		}
	}
	return n
}

// EndRoom is how many bytes AppendEnd appends at most.
func (w *Writer) EndRoom() int {
	return aroundReply + (len(w.choices)+1)*(aroundChoice+w.names())
}

// EmbeddingsRoom is how many bytes AppendEmbeddings appends at most.
func (w *Writer) EmbeddingsRoom(e *Event, base64Format bool) int {
	n := aroundReply + w.names()
	for i := range e.Embeddings {
		v := &e.Embeddings[i]
		n += 80
		switch {
		case base64Format && v.List != nil:
			n += base64.StdEncoding.EncodedLen(2*len(v.List) + 4) // of "1," there are four bytes
		case base64Format:
			n += base64.StdEncoding.EncodedLen(len(v.Packed))
		default:
			n += len(v.List) + 4*len(v.Packed) // a float of four bytes has 15 characters, and a comma
		}
	}
	return n
}

// AppendReply appends a reply that is whole: a chat.completion or a text_completion.
func (w *Writer) AppendReply(dst []byte, e *Event) []byte {
	dst = append(w.head(dst, ""), `,"choices":[`...)
	for i := range e.Choices {
		c := &e.Choices[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(append(dst, `{"index":`...), int64(c.Index), 10)
		p := progress{index: c.Index}
		if w.Text {
			dst = append(append(dst, `,"text":`...), orEmpty(c.Text)...)
		} else {
			dst = w.message(dst, &p, c)
		}
		finish := c.Finish
		if finish == nil {
			finish = []byte(`"stop"`)
		}
		dst = append(appendRest(dst, c.Logprobs, p.finish(finish)), '}')
	}
	dst = append(dst, `],"usage":`...)
	return append(e.Usage.appendJSON(dst), '}')
}

func (w *Writer) message(dst []byte, p *progress, c *Choice) []byte {
	dst = append(dst, `,"message":{"role":"assistant","content":`...)
	if c.Text == nil && len(c.ToolCalls) > 0 {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, orEmpty(c.Text)...)
	}
	dst = append(append(dst, `,"refusal":`...), orNull(c.Refusal)...)
	if c.Reasoning != nil {
		dst = append(append(dst, `,"reasoning_content":`...), c.Reasoning...)
	}
	if len(c.ToolCalls) > 0 {
		dst = append(dst, `,"tool_calls":[`...)
		for i := range c.ToolCalls {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = w.toolCall(dst, p, &c.ToolCalls[i], false)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

func (u Usage) appendJSON(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"prompt_tokens":`...), u.Prompt, 10)
	dst = strconv.AppendInt(append(dst, `,"completion_tokens":`...), u.Completion, 10)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), u.total(), 10)
	if u.Cached != 0 {
		dst = append(strconv.AppendInt(append(dst, `,"prompt_tokens_details":{"cached_tokens":`...), u.Cached, 10), '}')
	}
	if u.Reasoning != 0 {
		dst = append(strconv.AppendInt(append(dst, `,"completion_tokens_details":{"reasoning_tokens":`...), u.Reasoning, 10), '}')
	}
	return append(dst, '}')
}

// errNotFinite says that a vector has a number that JSON does not have, and that nobody
// can search by.
var errNotFinite = errors.New("a vector has a number that is NaN, infinite, or beyond a float of 32 bits")

// finite reports whether all numbers of a vector are. A list has others as texts.
func (e *Embedding) finite() bool {
	for p := e.Packed; len(p) >= 4; p = p[4:] {
		const exponent = 0xff << 23
		if binary.LittleEndian.Uint32(p)&exponent == exponent {
			return false
		}
	}
	return bytes.IndexByte(e.List, '"') < 0
}

// AppendEmbeddings appends a reply of embeddings, as base64 of little-endian floats or
// as lists of numbers. One with a number that is not finite is an error, in either form,
// and dst comes back as it was.
func (w *Writer) AppendEmbeddings(dst []byte, e *Event, base64Format bool) ([]byte, error) {
	mark := len(dst)
	dst = append(dst, `{"object":"list","data":[`...)
	for i := range e.Embeddings {
		v := &e.Embeddings[i]
		if !v.finite() {
			return dst[:mark], errNotFinite
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(append(dst, `{"object":"embedding","index":`...), int64(v.Index), 10)
		dst = append(dst, `,"embedding":`...)
		switch {
		case base64Format:
			dst = append(dst, '"')
			if v.List != nil {
				var ok bool
				if dst, ok = appendPacked(dst, v.List); !ok {
					return dst[:mark], errNotFinite
				}
			} else {
				dst = base64.StdEncoding.AppendEncode(dst, v.Packed)
			}
			dst = append(dst, '"')
		case v.List != nil:
			dst = append(dst, v.List...)
		default:
			dst = appendFloats(dst, v.Packed)
		}
		dst = append(dst, '}')
	}
	dst = jsonscan.AppendString(append(dst, `],"model":`...), w.Model)
	dst = strconv.AppendInt(append(dst, `,"usage":{"prompt_tokens":`...), e.Usage.Prompt, 10)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), e.Usage.total(), 10)
	return append(dst, "}}"...), nil
}

func appendFloats(dst, packed []byte) []byte {
	dst = append(dst, '[')
	for i := 0; i+4 <= len(packed); i += 4 {
		if i > 0 {
			dst = append(dst, ',')
		}
		f := float64(math.Float32frombits(binary.LittleEndian.Uint32(packed[i:])))
		dst = strconv.AppendFloat(dst, f, 'g', -1, 32)
	}
	return append(dst, ']')
}

// appendPacked appends a JSON list of numbers as floats in base64, unless one is beyond
// those.
func appendPacked(dst, list []byte) (_ []byte, ok bool) {
	var room [12]byte // three are 16 characters, without what fills up
	packed := room[:0]
	it := cel.JSON(list).Items(nil)
	for v, more := it.Next(); more; v, more = it.Next() {
		if len(packed) == len(room) {
			dst = base64.StdEncoding.AppendEncode(dst, packed)
			packed = packed[:0]
		}
		f := float32(v.Float())
		if math.IsInf(float64(f), 0) {
			return dst, false
		}
		packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(f))
	}
	return base64.StdEncoding.AppendEncode(dst, packed), true
}
