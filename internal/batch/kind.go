package batch

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/embeddings"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// kind is an operation whose items can share a call.
type kind struct {
	place  int    // among all
	name   string // in the configuration
	member string // of a request: its items
	list   string // of a reply: what became of them
	// choices says that a request's n says how many elements of the list an item has.
	choices bool
}

const (
	embeds = iota
	completes
	moderates
	kinds
)

var all = [kinds]kind{
	embeds:    {place: embeds, name: "embeddings", member: "input", list: "data"},
	completes: {place: completes, name: "completions", member: "prompt", list: "choices", choices: true},
	moderates: {place: moderates, name: "moderations", member: "input", list: "results"},
}

// moderations is a route of the OpenAI API that is passed through.
const moderations = "/v1/moderations"

// kindOf tells the kind of a request, nil for one whose items share no call, by what
// is known without a look at the body.
func kindOf(req *llm.Request) *kind {
	var k *kind
	switch req.Op {
	case llm.Embedding:
		k = &all[embeds]
	case llm.Completion:
		k = &all[completes]
	case llm.Passthrough:
		if req.Path != moderations {
			return nil
		}
		k = &all[moderates]
	default:
		return nil
	}
	if req.Stream || req.Method != "POST" || req.Upgrade != "" || len(req.Body) == 0 || req.Get("Content-Encoding") != "" || req.Get("Range") != "" {
		return nil
	}
	return k
}

const (
	// maxKey bounds what a call is joined by, in bytes. One with more beside its
	// items than that goes alone.
	maxKey = 8 << 10
	// maxInputs bounds the items of a call that is looked into. One with more passes
	// as it is, for the upstream to judge.
	maxInputs = maxWaiting
	// maxDepth bounds the nesting of a body that nobody has looked at yet.
	maxDepth = 512
	// maxChoices bounds the elements that one item has.
	maxChoices = 128
	// bytesPerToken is about what a token of text takes.
	bytesPerToken = 4
)

// asked is what a request asks for. It can be used again.
type asked struct {
	kind   *kind
	inputs embeddings.Inputs
	per    int    // elements of the reply that an item has
	tokens int    // of all items, about
	key    []byte // that calls have to have in common to be one
	course int    // bytes of key that say how long calls take, about
}

// read looks into a request. It is false where its items can share no call: because
// they are not what is known, or something beside them asks for a call of its own.
func (a *asked) read(k *kind, req *llm.Request, scope string) bool {
	a.kind, a.per = k, 1
	if req.Op == llm.Passthrough && jsonscan.Validate(req.Body, maxDepth) != nil {
		return false
	}
	value, ok := a.members(req.Body)
	if !ok || !a.inputs.SplitAt(req.Body, value, maxInputs) {
		return false
	}
	a.tokens = 0
	for _, at := range a.inputs.Items {
		if k.place == moderates && req.Body[at.Start] != '"' {
			return false // no service takes tokens
		}
		a.tokens += tokensOf(req.Body[at.Start:at.End])
	}
	return a.makeKey(req, scope)
}

// tokensOf is about how many tokens an item has.
func tokensOf(raw []byte) int {
	if raw[0] == '"' {
		return len(raw)/bytesPerToken + 1
	}
	return bytes.Count(raw, []byte{','}) + 1
}

// members finds the items. ok is false where there are none, or where some member
// asks for a call of its own.
func (a *asked) members(body []byte) (items llm.Span, ok bool) {
	i := space(body, 0)
	if i >= len(body) || body[i] != '{' {
		return items, false
	}
	for i = space(body, i+1); i < len(body) && body[i] == '"'; i = space(body, i+1) {
		end := jsonscan.TextEnd(body, i+1)
		if end < 0 {
			return items, false
		}
		name := body[i+1 : end-1]
		i = space(body, end) + 1 // past the colon
		i = space(body, i)
		end = jsonscan.ValueEnd(body, i)
		if end < 0 {
			return items, false
		}
		v := llm.Span{Start: i, End: end}
		switch {
		case slices.Contains(name, '\\'): // nobody spells one like that
			return items, false
		case string(name) == a.kind.member:
			if items.End > 0 {
				return items, false // an upstream may take either
			}
			items = v
		case !a.shares(name, body[v.Start:v.End]):
			return items, false
		}
		if i = space(body, end); i >= len(body) || body[i] != ',' {
			break
		}
	}
	return items, items.End > 0
}

// shares reports whether a call with a member can share one.
func (a *asked) shares(name, value []byte) bool {
	if !a.kind.choices || string(value) == "null" {
		return true
	}
	switch string(name) {
	case "n":
		n, err := strconv.Atoi(string(value))
		a.per = n
		return err == nil && n >= 1 && n <= maxChoices
	case "seed":
		// What an upstream draws depends on the place in a call then.
		return false
	}
	return true
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// makeKey puts together all that a call depends on but its items, and who asks. It
// is false where the call is not to be joined with another one.
func (a *asked) makeKey(req *llm.Request, scope string) bool {
	v := a.inputs.Value
	if len(req.Body)-(v.End-v.Start) > maxKey {
		return false
	}
	k := appendText(a.key[:0], req.Path)
	k = appendText(k, req.Model)
	a.course = len(k)
	tenant := req.Tenant
	if scope == ScopeGlobal {
		tenant = ""
	}
	k = appendText(appendText(k, tenant), req.RawQuery)
	for i := range req.Header {
		f := &req.Header[i]
		switch {
		case f.Name == "Idempotency-Key":
			return false // it names this very call
		case !llm.Passing(f.Name): // of those that are, the call has the first one's
			k = appendText(appendText(k, f.Name), f.Value)
		}
	}
	k = append(k, 0)
	k = append(appendText(k, ""), req.Body[:v.Start]...)
	k = append(k, 0) // which stands in no JSON
	k = append(k, req.Body[v.End:]...)
	a.key = k
	return len(k) <= 2*maxKey
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// origin is what is kept of a request while its items gather: it is the caller's
// only until that has left, and its call may go on for others.
type origin struct {
	req    llm.Request
	inputs embeddings.Inputs
	kind   *kind
	per    int
	next   llm.Handler
}

// keep makes the origin of a request, which shares no memory with it.
func (a *asked) keep(req *llm.Request, next llm.Handler) *origin {
	o := &origin{req: *req, kind: a.kind, per: a.per, next: next}
	o.inputs.Value, o.inputs.Items = a.inputs.Value, slices.Clone(a.inputs.Items)
	r := &o.req
	r.Urgency = llm.Urgency{} // the call's own counts, that the items are in
	r.Body = slices.Clone(req.Body)
	for _, s := range [...]*string{&r.ID, &r.Tenant, &r.Method, &r.Path, &r.RawQuery, &r.Model} {
		*s = strings.Clone(*s)
	}
	r.Header = slices.Clone(req.Header)
	for i := range r.Header {
		f := &r.Header[i]
		f.Name, f.Value = strings.Clone(f.Name), strings.Clone(f.Value)
	}
	return o
}
