package responses

import "sluice/internal/dialect"

// arguments makes the events of a function call.
func (r *replay) arguments(arguments, name []byte) bool {
	if !dialect.IsText(arguments) {
		return false
	}
	const kind = "function_call_arguments"
	r.begin(kind, ".delta")
	r.Field("item_id", r.id)
	r.at("output_index", r.output)
	r.Field("delta", arguments)
	r.end()
	r.begin(kind, ".done")
	r.Field("item_id", r.id)
	r.at("output_index", r.output)
	if dialect.IsText(name) {
		r.Field("name", name)
	}
	r.Field("arguments", arguments)
	r.end()
	return true
}

// parts makes the events of the parts of an item, which events place by index.
// No parts at all are as good as none.
func (r *replay) parts(index string, list []byte) bool {
	return dialect.OrNil(list) == nil || dialect.EachElement(list, func(n int, part []byte) bool { return r.part(index, n, part) })
}

func (r *replay) part(index string, n int, part []byte) bool {
	frame := "content_part"
	if index == "summary_index" {
		frame = "reasoning_summary_part"
	}
	var kind, name string // of the events that tell the text, and where that is
	t := dialect.Find(part, "type")
	if !dialect.IsText(t) {
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
		r.Field("part", part)
	} else {
		r.changed("part", part, begunPart)
	}
	r.end()
	if kind != "" && !r.told(kind, name, index, n, part) {
		return false
	}
	r.beginPart(frame, ".done", index, n)
	r.Field("part", part)
	r.end()
	return true
}

// told makes the events that tell the text of a part.
func (r *replay) told(kind, name, index string, n int, part []byte) bool {
	text, logprobs := dialect.Find(part, name), dialect.Find(part, "logprobs")
	if !dialect.IsText(text) {
		return false
	}
	r.beginPart(kind, ".delta", index, n)
	r.Field("delta", text)
	r.logprobs(kind, logprobs)
	r.end()
	if annotations := dialect.Find(part, "annotations"); kind == "output_text" && dialect.OrNil(annotations) != nil {
		if !dialect.EachElement(annotations, func(i int, annotation []byte) bool {
			r.beginPart(kind, ".annotation.added", index, n)
			r.at("annotation_index", i)
			r.Field("annotation", annotation)
			r.end()
			return true
		}) {
			return false
		}
	}
	r.beginPart(kind, ".done", index, n)
	r.Field(name, text)
	r.logprobs(kind, logprobs)
	r.end()
	return true
}

// logprobs appends a member that only events of output text have.
func (r *replay) logprobs(kind string, list []byte) {
	if kind == "output_text" {
		r.Text(`,"logprobs":`)
		r.JSONOr(list, "[]")
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
