package chattemplate

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"sluice/internal/jsonscan"
)

const (
	maxTemplate = 256 << 10 // bytes of a template
	maxBytes    = 32 << 20  // and 32 for each byte of the request

	// A step takes some hundred ns, so that all of them are about a second at most.
	maxSteps = 1 << 19 // and one for each byte of the request,
	allSteps = 1 << 21 // but no more than that
)

// Template is a chat template, compiled. It is safe for concurrent use.
type Template struct {
	body []stmt
}

// Parse compiles a template. Its fault is an *Error.
func Parse(text string) (t *Template, err error) {
	if len(text) > maxTemplate {
		return nil, &Error{Msg: "the template is longer than 256 KiB"}
	}
	defer caught(&err)
	p := &parser{tokens: lex(text)}
	return &Template{p.body()}, nil
}

// caught makes an error of a panic with an *Error.
func caught(err *error) {
	switch r := recover().(type) {
	case nil:
	case *Error:
		*err = r
	case lacking:
		*err = r.error
	default:
		panic(r)
	}
}

// Options say what a template is given beside the request.
type Options struct {
	BOS, EOS string    // the model's tokens that begin and end a text
	Now      time.Time // for strftime_now

	// Reserve is asked before more than a little is held, with n bytes, and given them back
	// as -n but what the prompt takes. Its error ends the work; nil is without bound.
	Reserve func(n int) error
}

// AppendPrompt appends the prompt for the chat request body, which is valid JSON. The
// template has messages, tools, documents and the members of chat_template_kwargs. The
// content of messages is made a text: of parts, those of the type text with a newline
// between; an image is an error. The arguments of calls are made mappings. The error is
// an *Error, or what Reserve says, and dst comes back as it was.
func (t *Template) AppendPrompt(dst []byte, body []byte, o Options) (out []byte, err error) {
	e := &exec{now: o.Now, steps: min(maxSteps+len(body), allSteps), bytes: maxBytes + 32*len(body), out: dst, reserve: o.Reserve}
	defer func() {
		if err != nil {
			out = dst
		}
		e.settle(cap(out) - cap(dst))
	}()
	defer caught(&err)
	f := &frame{}
	chat := func(name string) value {
		at, ok := jsonscan.Get(body, name)
		if !ok {
			return nil
		}
		return e.decode(body[at.Start:at.End])
	}
	if kwargs, ok := chat("chat_template_kwargs").(*dict); ok {
		for i, k := range kwargs.keys {
			f.set(k, kwargs.values[i])
		}
	}
	messages, ok := chat("messages").(*list)
	if !ok {
		return dst, &Error{Msg: "the request has no list of messages"}
	}
	for i, m := range messages.items {
		e.message(i, m)
	}
	f.set("messages", messages)
	for _, name := range []string{"tools", "documents"} {
		f.set(name, chat(name))
	}
	f.set("bos_token", o.BOS)
	f.set("eos_token", o.EOS)
	if _, ok := e.firstOf(f, "add_generation_prompt"); !ok {
		f.set("add_generation_prompt", true)
	}
	e.frame = f
	e.run(t.body)
	return e.out, nil
}

func (e *exec) firstOf(f *frame, name string) (value, bool) {
	for i, n := range f.names {
		if n == name {
			return f.values[i], true
		}
	}
	return nil, false
}

// message makes of the message number i what templates expect.
func (e *exec) message(i int, v value) {
	m, ok := v.(*dict)
	if !ok {
		panic(&Error{Msg: fmt.Sprintf("messages[%d] is no object", i)})
	}
	switch content, _ := m.get("content"); c := content.(type) {
	case nil:
		m.set("content", "")
	case *list:
		var text strings.Builder
		for k, part := range c.items {
			p, _ := part.(*dict)
			if p == nil {
				p = &dict{}
			}
			kind, _ := p.get("type")
			s, _ := p.get("text")
			said, isText := s.(string)
			if kind != "text" || !isText {
				panic(&Error{Msg: fmt.Sprintf("messages[%d].content[%d] is no text, and a prompt has nothing else", i, k)})
			}
			if k > 0 {
				text.WriteByte('\n')
			}
			e.spend(2 * len(said)) // the text, and what it grows by
			text.WriteString(said)
		}
		m.set("content", text.String())
	case string:
	default:
		panic(&Error{Msg: fmt.Sprintf("messages[%d].content is neither a string nor a list", i)})
	}
	calls, _ := m.get("tool_calls")
	l, ok := calls.(*list)
	if !ok {
		return
	}
	for _, c := range l.items {
		call, _ := c.(*dict)
		if call == nil {
			continue
		}
		fn, _ := call.get("function")
		if fn, ok := fn.(*dict); ok {
			args, _ := fn.get("arguments")
			if s, ok := args.(string); ok && jsonscan.Validate([]byte(s), maxDepth/2) == nil {
				fn.set("arguments", e.decode([]byte(s)))
			}
		}
	}
}

// IsRefusal reports whether a template itself refused a chat.
func IsRefusal(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Raised
}
