package responses

import "sluice/internal/dialect"

// replay makes the events of the Responses API.
type replay struct {
	dialect.Replay
	sequence int    // of the next event
	output   int    // which item is told
	id       []byte // of that item
}

// reply makes the events of a response.
func (r *replay) reply(body []byte) bool {
	var status, output, fault []byte
	if !dialect.EachMember(body, func(key, value []byte) bool {
		switch string(key) {
		case "status":
			status = value
		case "output":
			output = value
		case "error":
			fault = value
		}
		return true
	}) || dialect.OrNil(fault) != nil {
		return false
	}
	var last string
	switch string(status) {
	case `"completed"`:
		last = "completed"
	case `"incomplete"`:
		last = "incomplete"
	default:
		return false
	}
	for _, name := range [...]string{"created", "in_progress"} {
		r.begin(name, "")
		r.changed("response", body, begunResponse)
		r.end()
	}
	if !dialect.EachElement(output, r.tell) {
		return false
	}
	r.begin(last, "")
	r.Field("response", body)
	r.end()
	return true
}

// tell makes the events of item n of the output. Those of a type that it does
// not know come without their parts.
func (r *replay) tell(n int, raw []byte) bool {
	r.output, r.id = n, dialect.Find(raw, "id")
	kind := dialect.Find(raw, "type")
	if !dialect.IsText(kind) {
		return false
	}
	begun := begunItem
	switch string(kind) {
	case `"message"`, `"reasoning"`, `"function_call"`:
		if !dialect.IsText(r.id) {
			return false
		}
	default:
		begun = begunOther
	}
	r.begin("output_item", ".added")
	r.at("output_index", n)
	r.changed("item", raw, begun)
	r.end()
	ok := true
	switch string(kind) {
	case `"message"`:
		ok = r.parts("content_index", dialect.Find(raw, "content"))
	case `"reasoning"`:
		ok = r.parts("summary_index", dialect.Find(raw, "summary")) && r.parts("content_index", dialect.Find(raw, "content"))
	case `"function_call"`:
		ok = r.arguments(dialect.Find(raw, "arguments"), dialect.Find(raw, "name"))
	}
	r.begin("output_item", ".done")
	r.at("output_index", n)
	r.Field("item", raw)
	r.end()
	return ok
}

// begin begins an event, whose type is given in two halves.
func (r *replay) begin(kind, step string) {
	for _, s := range [...]string{"event: response.", kind, step, "\ndata: {\"type\":\"response.", kind, step, `","sequence_number":`} {
		r.Text(s)
	}
	r.Number(r.sequence)
	r.sequence++
}

// beginPart begins an event about part n of the item.
func (r *replay) beginPart(kind, step, index string, n int) {
	r.begin(kind, step)
	r.Field("item_id", r.id)
	r.at("output_index", r.output)
	r.at(index, n)
}

// at appends a member that says where something stands.
func (r *replay) at(name string, n int) {
	r.Dst = append(append(append(r.Dst, `,"`...), name...), `":`...)
	r.Number(n)
}

func (r *replay) end() {
	r.Text("}")
	r.EndEvent()
}

// changed appends a member that is an object as it was in the beginning: with
// those of its members changed that begun gives a text for.
func (r *replay) changed(name string, object []byte, begun func(key []byte) string) {
	r.Field(name, nil)
	start := len(r.Dst)
	dialect.EachMember(object, func(key, value []byte) bool {
		if text := begun(key); text != "" {
			r.Member(key, nil)
			r.Text(text)
		} else {
			r.Member(key, value)
		}
		return true
	})
	if len(r.Dst) == start {
		r.Text("{")
	}
	r.Dst[start] = '{' // for a comma
	r.Text("}")
}

func begunResponse(key []byte) string {
	switch string(key) {
	case "status":
		return `"in_progress"`
	case "output":
		return "[]"
	case "usage", "incomplete_details", "completed_at":
		return "null"
	default:
		return ""
	}
}

func begunItem(key []byte) string {
	switch string(key) {
	case "arguments":
		return `""`
	case "content", "summary":
		return "[]"
	default:
		return begunOther(key)
	}
}

func begunOther(key []byte) string {
	if string(key) == "status" {
		return `"in_progress"`
	}
	return ""
}
