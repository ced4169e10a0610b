package replay

// arguments makes the events of a function call.
func (r *response) arguments(arguments, name []byte) bool {
	if !isString(arguments) {
		return false
	}
	const kind = "function_call_arguments"
	r.begin(kind, ".delta")
	r.field("item_id", r.id)
	r.at("output_index", r.output)
	r.field("delta", arguments)
	r.end()
	r.begin(kind, ".done")
	r.field("item_id", r.id)
	r.at("output_index", r.output)
	if isString(name) {
		r.field("name", name)
	}
	r.field("arguments", arguments)
	r.end()
	return true
}

// parts makes the events of the parts of an item, which events place by index.
// No parts at all are as good as none.
func (r *response) parts(index string, list []byte) bool {
	return null(list) || elements(list, func(n int, part []byte) bool { return r.part(index, n, part) })
}

func (r *response) part(index string, n int, part []byte) bool {
	frame := "content_part"
	if index == "summary_index" {
		frame = "reasoning_summary_part"
	}
	var kind, name string // of the events that tell the text, and where that is
	t := find(part, "type")
	if !isString(t) {
		return false
	}
	switch string(t) {
	case `"output_text"`:
		kind, name = "output_text", "text"
	case `"refusal"`:
		kind, name = "refusal", "refusal"
	case `"reasoning_text"`:
		kind, name = "reasoning_text", "text"
	case `"summary_text"`:
		kind, name = "reasoning_summary_text", "text"
	}
	r.beginPart(frame, ".added", index, n)
	if kind == "" {
		r.field("part", part)
	} else {
		r.changed("part", part, begunPart)
	}
	r.end()
	if kind != "" && !r.told(kind, name, index, n, part) {
		return false
	}
	r.beginPart(frame, ".done", index, n)
	r.field("part", part)
	r.end()
	return true
}

// told makes the events that tell the text of a part.
func (r *response) told(kind, name, index string, n int, part []byte) bool {
	text, logprobs := find(part, name), find(part, "logprobs")
	if !isString(text) {
		return false
	}
	r.beginPart(kind, ".delta", index, n)
	r.field("delta", text)
	r.logprobs(kind, logprobs)
	r.end()
	if annotations := find(part, "annotations"); kind == "output_text" && !null(annotations) {
		if !elements(annotations, func(i int, annotation []byte) bool {
			r.beginPart(kind, ".annotation.added", index, n)
			r.at("annotation_index", i)
			r.field("annotation", annotation)
			r.end()
			return true
		}) {
			return false
		}
	}
	r.beginPart(kind, ".done", index, n)
	r.field(name, text)
	r.logprobs(kind, logprobs)
	r.end()
	return true
}

// logprobs appends a member that only events of output text have.
func (r *response) logprobs(kind string, list []byte) {
	if kind == "output_text" {
		r.text(`,"logprobs":`)
		r.jsonOr(list, "[]")
	}
}

func begunPart(key []byte) string {
	switch string(key) {
	case "text", "refusal":
		return `""`
	case "annotations", "logprobs":
		return "[]"
	default:
		return ""
	}
}
