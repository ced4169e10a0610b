package responses

import (
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// objects begins the paths of replies.
const objects = "/v1/responses/"

// object answers a request for a reply: GET, DELETE, and GET …/input_items.
//
//go:noinline
func (r *Responses) object(req *llm.Request, out llm.Sink) error {
	id, rest, _ := strings.Cut(req.Path[len(objects):], "/")
	reads := req.Method == "GET" || req.Method == "HEAD"
	allow := "GET, HEAD"
	switch {
	case rest == "" && reads:
		return r.retrieve(req, id, out)
	case rest == "" && req.Method == "DELETE":
		found, err := r.forget(req.Tenant, id)
		if err != nil {
			return err
		}
		if !found {
			return notFound(id)
		}
		body := jsonscan.AppendString([]byte(`{"id":`), id)
		return llm.SendWhole(out, "application/json", append(body, `,"object":"response","deleted":true}`...))
	case rest == "":
		allow += ", DELETE"
	case rest == "input_items" && reads:
		return r.list(req, id, out)
	case rest == "input_items":
	case rest == "cancel" && req.Method == "POST":
		kept, err := r.find(req.Tenant, id)
		if err != nil {
			return err
		}
		if kept == nil {
			return notFound(id)
		}
		r.store.letGo(kept.turn)
		return llm.Errorf(400, "", "Cannot cancel a synchronous response.")
	case rest == "cancel":
		allow = "POST"
	default:
		return llm.Errorf(404, "unknown_url", "Unknown request URL: %s %s.", req.Method, req.Path)
	}
	e := llm.Errorf(405, "method_not_supported", "%s is not supported by %s. It takes %s.", req.Method, req.Path, allow)
	e.Allow = allow
	return e
}

func notFound(id string) error {
	return llm.Errorf(404, "", "Response with id '%s' not found.", shown(id))
}

// retrieve answers with a reply as it was given.
func (r *Responses) retrieve(req *llm.Request, id string, out llm.Sink) error {
	if query, err := url.ParseQuery(req.RawQuery); err != nil || query.Get("stream") == "true" {
		e := llm.Errorf(400, "unsupported_parameter", "Unsupported parameter: 'stream' is supported for responses in the background alone, and none are kept by the gateway.")
		e.Param = "stream"
		return e
	}
	kept, err := r.find(req.Tenant, id)
	if err != nil {
		return err
	}
	if kept == nil {
		return notFound(id)
	}
	defer r.store.letGo(kept.turn)
	parts := []llm.Event{{Raw: kept.head}, {Raw: kept.turn.output}, {Raw: kept.tail}}
	n := 0
	for i := range parts {
		n += len(parts[i].Raw)
	}
	h := llm.Head{Status: 200, Kind: llm.Pieces, Length: int64(n), Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}}
	if err := out.Start(&h); err != nil {
		return err
	}
	return out.Send(slices.DeleteFunc(parts, func(e llm.Event) bool { return len(e.Raw) == 0 }))
}

// page is which items of a list are asked for.
type page struct {
	limit     int
	ascending bool
	after     string
}

// The bounds of a page.
const (
	usualPage = 20
	mostPage  = 100
)

func parsePage(query string) (p page, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return p, llm.Errorf(400, "invalid_query", "The query cannot be read: %v.", err)
	}
	p = page{limit: usualPage, after: values.Get("after")}
	if s := values.Get("limit"); s != "" {
		if p.limit, err = strconv.Atoi(s); err != nil || p.limit < 1 || p.limit > mostPage {
			return p, refuse("invalid_value", "limit", "Invalid 'limit': expected a whole number from 1 to %d.", mostPage)
		}
	}
	switch order := values.Get("order"); order {
	case "asc":
		p.ascending = true
	case "", "desc":
	default:
		return p, refuse("invalid_value", "order", "Invalid value: '%s'. Supported values are: 'asc' and 'desc'.", shown(order))
	}
	return p, nil
}

// list answers with the items that a reply was made of, those of earlier turns among them.
func (r *Responses) list(req *llm.Request, id string, out llm.Sink) error {
	p, err := parsePage(req.RawQuery)
	if err != nil {
		return err
	}
	kept, err := r.find(req.Tenant, id)
	if err != nil {
		return err
	}
	if kept == nil {
		return notFound(id)
	}
	defer r.store.letGo(kept.turn)
	room := int64(0)
	for _, t := range kept.turn.turns() { // a slice header is 24 bytes, and no item is shorter than 2
		room += int64(len(t.input)+len(t.output)) * 2
	}
	if err := r.account.Begin(room); err != nil {
		return err
	}
	defer r.account.Give(room)
	body, err := p.of(kept, id)
	if err != nil {
		return err
	}
	return llm.SendWhole(out, "application/json", body)
}

// of gives the page of a reply's input.
func (p page) of(kept *reply, id string) ([]byte, error) {
	var all [][]byte
	for _, t := range kept.turn.turns() {
		all = slices.AppendSeq(all, items(t.input))
		if t != kept.turn {
			all = slices.AppendSeq(all, items(t.output))
		}
	}
	base := strings.TrimPrefix(id, "resp_")
	at, step := 0, 1
	if !p.ascending {
		at, step = len(all)-1, -1
	}
	if p.after != "" {
		for ; at >= 0 && at < len(all) && idOf(all[at], base, at) != p.after; at += step {
		}
		if at < 0 || at >= len(all) {
			return nil, refuse("invalid_value", "after", "Item with id '%s' not found.", shown(p.after))
		}
		at += step
	}
	b := []byte(`{"object":"list","data":[`)
	first, last := "", ""
	for n := 0; n < p.limit && at >= 0 && at < len(all); n++ {
		if last = idOf(all[at], base, at); n == 0 {
			first = last
		} else {
			b = append(b, ',')
		}
		b = appendItem(b, all[at], last)
		at += step
	}
	b = jsonscan.AppendStringOrNull(append(b, `],"first_id":`...), first)
	b = jsonscan.AppendStringOrNull(append(b, `,"last_id":`...), last)
	return append(strconv.AppendBool(append(b, `,"has_more":`...), at >= 0 && at < len(all)), '}'), nil
}

// items gives the items of a list without brackets.
func items(list []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := 0; i < len(list); {
			end := jsonscan.ValueEnd(list, i)
			if end < 0 || !yield(list[i:end]) {
				return
			}
			for i = end; i < len(list) && (list[i] == ',' || list[i] <= ' '); {
				i++
			}
		}
	}
}

// kindOf gives the type of an item, "message" where it says none.
func kindOf(item []byte) string {
	if v := jsonscan.Member(item, "type"); isText(v) {
		if s, err := jsonscan.String(v); err == nil {
			return s
		}
	}
	return "message"
}

// idOf gives the id of the nth item of a conversation: its own or, where its client gave none,
// one that it always has in this list.
func idOf(item []byte, base string, n int) string {
	if v := jsonscan.Member(item, "id"); isText(v) {
		if s, err := jsonscan.String(v); err == nil && s != "" {
			return s
		}
	}
	prefix := "item_"
	switch kindOf(item) {
	case "message":
		prefix = "msg_"
	case "function_call":
		prefix = "fc_"
	case "reasoning":
		prefix = "rs_"
	}
	return prefix + base + "_in" + strconv.Itoa(n)
}

// appendItem appends an item with the members that it is described to have in a list: an id,
// and of a message a type, a status and a list of parts.
func appendItem(dst, item []byte, id string) []byte {
	dst = jsonscan.AppendString(append(dst, `{"id":`...), id)
	kind := kindOf(item)
	dst = jsonscan.AppendString(append(dst, `,"type":`...), kind)
	part, status := "input_text", kind == "message"
	if v := jsonscan.Member(item, "role"); string(v) == `"assistant"` {
		part = "output_text"
	}
	for name, v := range jsonscan.MembersOf(item) {
		switch string(name) {
		case "id", "type":
			continue
		case "status":
			status = false
		}
		dst = append(jsonscan.AppendString(append(dst, ','), string(name)), ':')
		if kind != "message" || string(name) != "content" || !isText(v) {
			dst = append(dst, v...)
			continue
		}
		dst = append(append(append(dst, `[{"type":"`...), part...), `","text":`...)
		if dst = append(dst, v...); part == "output_text" {
			dst = append(dst, `,"annotations":[]`...)
		}
		dst = append(dst, "}]"...)
	}
	if status {
		dst = append(dst, `,"status":"completed"`...)
	}
	return append(dst, '}')
}
