package replay

// response makes the events of the Responses API.
type response struct {
	writer
	sequence int    // of the next event
	output   int    // which item is told
	id       []byte // of that item
}

// reply makes the events of a response.
func (r *response) reply(body []byte) bool {
	var status, output, fault []byte
	if !members(body, func(key, value []byte) bool {
		switch string(key) {
		case "status":
			status = value
		case "output":
			output = value
		case "error":
			fault = value
		}
		return true
	}) || !null(fault) {
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
	if !elements(output, r.tell) {
		return false
	}
	r.begin(last, "")
	r.field("response", body)
	r.end()
	return true
}

// tell makes the events of item n of the output. Those of a type that it does
// not know come without their parts.
func (r *response) tell(n int, raw []byte) bool {
	r.output, r.id = n, find(raw, "id")
	kind := find(raw, "type")
	if !isString(kind) {
		return false
	}
	begun := begunItem
	switch string(kind) {
	case `"message"`, `"reasoning"`, `"function_call"`:
		if !isString(r.id) {
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
		ok = r.parts("content_index", find(raw, "content"))
	case `"reasoning"`:
		ok = r.parts("summary_index", find(raw, "summary")) && r.parts("content_index", find(raw, "content"))
	case `"function_call"`:
		ok = r.arguments(find(raw, "arguments"), find(raw, "name"))
	}
	r.begin("output_item", ".done")
	r.at("output_index", n)
	r.field("item", raw)
	r.end()
	return ok
}

// begin begins an event, whose type is given in two halves.
func (r *response) begin(kind, step string) {
	for _, s := range [...]string{"event: response.", kind, step, "\ndata: {\"type\":\"response.", kind, step, `","sequence_number":`} {
		r.text(s)
	}
	r.number(r.sequence)
	r.sequence++
}

// beginPart begins an event about part n of the item.
func (r *response) beginPart(kind, step, index string, n int) {
	r.begin(kind, step)
	r.field("item_id", r.id)
	r.at("output_index", r.output)
	r.at(index, n)
}

// at appends a member that says where something stands.
func (r *response) at(name string, n int) {
	r.dst = append(append(append(r.dst, `,"`...), name...), `":`...)
	r.number(n)
}

func (r *response) end() {
	r.text("}")
	r.endEvent()
}

// changed appends a member that is an object as it was in the beginning: with
// those of its members changed that begun gives a text for.
func (r *response) changed(name string, object []byte, begun func(key []byte) string) {
	r.field(name, nil)
	start := len(r.dst)
	members(object, func(key, value []byte) bool {
		if text := begun(key); text != "" {
			r.member(key, nil)
			r.text(text)
		} else {
			r.member(key, value)
		}
		return true
	})
	if len(r.dst) == start {
		r.text("{")
	}
	r.dst[start] = '{' // for a comma
	r.text("}")
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
