package responses

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// complete reports whether a call has all of its arguments.
func (w *Writer) complete(c *call) bool {
	text := w.argumentsOf(c)
	return dialect.IsObject(bytes.TrimSpace(text)) && jsonscan.Validate(text, maxDepth) == nil
}

// argumentsOf is what the arguments of a call say, until w.text is used again.
func (w *Writer) argumentsOf(c *call) []byte {
	w.text = jsonscan.AppendText(w.text[:0], append(c.arguments, '"'))
	return w.text
}

// call writes a piece of a call.
func (w *Writer) call(dst []byte, from *dialect.ToolCall) []byte {
	c := w.find(from.Index)
	if c == nil {
		if from.Name == nil && from.ID == nil && from.Arguments == nil {
			return dst
		}
		var output int
		dst, output = w.newItem(dst)
		c = w.newCall(from, output)
		if !w.silent {
			dst = w.endEvent(w.callItem(w.itemEvent(dst, "response.output_item.added", output), c, "in_progress", false))
		}
	}
	if c.ended || from.Arguments == nil || dialect.IsEmpty(from.Arguments) {
		return dst
	}
	c.arguments = w.hold(c.arguments, from.Arguments)
	if c.kind != functionItem {
		return dst
	}
	dst = w.ofItem(dst, "response.function_call_arguments.delta", functionItem, c.output)
	return w.endEvent(w.value(dst, "delta", from.Arguments))
}

func (w *Writer) find(index int) *call {
	for i := len(w.calls) - 1; i >= 0; i-- {
		if w.calls[i].index == index {
			return &w.calls[i]
		}
	}
	return nil
}

func (w *Writer) newCall(from *dialect.ToolCall, output int) *call {
	n := len(w.calls)
	if n < cap(w.calls) {
		w.calls = w.calls[:n+1]
	} else {
		w.calls = append(w.calls, call{})
	}
	c := &w.calls[n]
	*c = call{index: from.Index, output: output, kind: functionItem, id: append(c.id[:0], from.ID...), name: append(c.name[:0], from.Name...), arguments: append(c.arguments[:0], '"')}
	if len(c.id) == 0 {
		c.id = append(w.itemID(append(c.id, `"call_`...), otherItem, output), '"')
	}
	if len(c.name) == 0 {
		c.name = append(c.name, `""`...)
	}
	w.held += len(c.id) + len(c.name)
	for i := range w.others {
		if sameText(w.others[i].name, c.name) {
			c.kind = w.others[i].kind
		}
	}
	return c
}

// callItem appends the item that a call is; its arguments are empty until it is whole.
func (w *Writer) callItem(dst []byte, c *call, status string, whole bool) []byte {
	dst = append(dst, `{"id":"`...)
	dst = w.itemID(dst, c.kind, c.output)
	dst = append(dst, `","type":"`...)
	switch c.kind {
	case customItem:
		dst = append(dst, `custom_tool_call","input":`...)
		if whole {
			dst = w.customInput(dst, c)
		} else {
			dst = append(dst, `""`...)
		}
	case shellItem:
		dst = append(append(append(dst, `local_shell_call","status":"`...), status...), `","action":`...)
		dst = w.shellAction(dst, c)
		return append(append(append(dst, `,"call_id":`...), c.id...), '}')
	default:
		dst = append(append(dst, `function_call","status":"`...), status...)
		dst = append(dst, `","arguments":`...)
		if whole {
			dst = append(append(dst, c.arguments...), '"')
		} else {
			dst = append(dst, `""`...)
		}
	}
	dst = append(append(dst, `,"call_id":`...), c.id...)
	return append(append(append(dst, `,"name":`...), c.name...), '}')
}

// customInput appends the input of a custom tool, as a text: what the arguments give for it,
// or all of them where they do not.
func (w *Writer) customInput(dst []byte, c *call) []byte {
	if text := w.argumentsOf(c); jsonscan.Validate(text, maxDepth) == nil {
		if input := dialect.TextOf(jsonscan.Member(text, "input")); input != nil {
			return append(dst, input...)
		}
	}
	return append(append(dst, c.arguments...), '"')
}

// shellAction appends the action that the arguments of a shell's call give.
func (w *Writer) shellAction(dst []byte, c *call) []byte {
	var command []byte
	env := []byte("{}")
	dst = append(dst, `{"type":"exec"`...)
	if text := w.argumentsOf(c); jsonscan.Validate(text, maxDepth) == nil {
		for name, v := range jsonscan.MembersOf(text) {
			switch string(name) {
			case "command":
				command = v
			case "env":
				if dialect.IsObject(v) {
					env = v
				}
			case "timeout_ms":
				if dialect.IsNumber(v) {
					dst = append(append(dst, `,"timeout_ms":`...), v...)
				}
			case "working_directory":
				if dialect.IsText(v) {
					dst = append(append(dst, `,"working_directory":`...), v...)
				}
			case "user":
				if dialect.IsText(v) {
					dst = append(append(dst, `,"user":`...), v...)
				}
			}
		}
	}
	switch {
	case dialect.IsText(command): // a line, which only a shell can part
		dst = append(append(append(dst, `,"command":["bash","-lc",`...), command...), ']')
	case dialect.IsList(command):
		dst = dialect.AppendLine(append(dst, `,"command":`...), command)
	default:
		dst = append(dst, `,"command":[]`...)
	}
	return append(dialect.AppendLine(append(dst, `,"env":`...), env), '}')
}

// endCall ends a call.
func (w *Writer) endCall(dst []byte, c *call, status string) []byte {
	c.ended = true
	if len(c.arguments) == len(`"`) && c.kind == functionItem && status == "completed" { // clients parse them
		c.arguments = w.hold(c.arguments, []byte(`"{}"`))
		dst = w.ofItem(dst, "response.function_call_arguments.delta", functionItem, c.output)
		dst = w.endEvent(w.value(dst, "delta", []byte(`"{}"`)))
	}
	from := len(w.output)
	w.output = w.callItem(w.output, c, status, true)
	switch c.kind {
	case customItem:
		if !w.silent {
			input := jsonscan.Member(w.output[from:], "input")
			if !dialect.IsEmpty(input) {
				dst = w.ofItem(dst, "response.custom_tool_call_input.delta", customItem, c.output)
				dst = w.endEvent(w.value(dst, "delta", input))
			}
			dst = w.ofItem(dst, "response.custom_tool_call_input.done", customItem, c.output)
			dst = w.endEvent(w.value(dst, "input", input))
		}
	case functionItem:
		dst = w.ofItem(dst, "response.function_call_arguments.done", functionItem, c.output)
		dst = w.quoted(dst, "arguments", c.arguments[1:])
		dst = w.endEvent(w.value(dst, "name", c.name))
	}
	return w.itemDone(dst, c.output, from)
}

// argumentsText are arguments as a text, nil for none.
func argumentsText(v []byte) []byte {
	if v == nil || dialect.IsText(v) {
		return v
	}
	return dialect.AppendQuoted(nil, v)
}
