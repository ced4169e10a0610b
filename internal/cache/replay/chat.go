package replay

// delta appends all that a message says as one delta.
func (w *writer) delta(message []byte) bool {
	w.text(`,"delta":{"role":`)
	w.jsonOr(find(message, "role"), `"assistant"`)
	if !members(message, func(key, value []byte) bool {
		switch {
		case string(key) == "role":
		case string(key) == "tool_calls" && !null(value):
			return w.toolCalls(value)
		default:
			w.member(key, value)
		}
		return true
	}) {
		return false
	}
	w.text("}")
	return true
}

// toolCalls appends the calls of a message. In a stream each has its index.
func (w *writer) toolCalls(calls []byte) bool {
	w.text(`,"tool_calls":[`)
	if !elements(calls, func(n int, call []byte) bool {
		if n > 0 {
			w.text(",")
		}
		w.text(`{"index":`)
		if index := find(call, "index"); isNumber(index) {
			w.json(index)
		} else {
			w.number(n)
		}
		ok := members(call, func(key, value []byte) bool {
			if string(key) != "index" {
				w.member(key, value)
			}
			return true
		})
		w.text("}")
		return ok
	}) {
		return false
	}
	w.text("]")
	return true
}
