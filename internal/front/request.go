package front

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/textproto"
	"slices"
	"strings"

	"sluice/internal/dialect/known"
	"sluice/internal/front/engine"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/perf"
	"sluice/internal/spool"
)

// request is the reading of a request: whose it is, where it goes, its header and its
// body.
type request struct {
	*given
	req        llm.Request  // what the handlers are given
	fields     [6]llm.Field // backs req.Header, of usual size
	turn       llm.Turn     // req's
	streamSeen bool
	body       body
	lent       *lent          // to the handlers; nil for a body that is held
	buf        *memory.Buffer // backs req.Body
	reserved   int64          // bytes of memory, without those of the body
	shared     int64          // bytes of memory that count for the key
	bodyRoom   memory.Claim   // for the body
	spool      *spool.Spool   // of a form; nil for none
	tenant     *tenant        // whose key it is; nil before that is known
	own        *Route         // answers instead of the handlers
	key        string         // that stood in the query
	form       streamForm
	trace      perf.Trace
}

// reset forgets the request.
func (in *request) reset() {
	clear(in.fields[:])
	in.turn.Reset()
	in.req, in.body, in.trace = llm.Request{}, body{}, perf.Trace{}
	in.buf, in.spool, in.tenant, in.own, in.streamSeen, in.key, in.form = nil, nil, nil, nil, false, "", eventForm
	in.reserved, in.shared, in.bodyRoom = 0, 0, memory.Claim{}
}

// readRequest reads and checks what the handlers need of the request.
func (in *request) readRequest() error {
	in.forwardHeader()
	in.req.Method, in.req.RawQuery = in.q.Method, in.q.RawQuery
	in.req.Cache = cachePolicy(in.q.Header)
	in.body.open(in.given)
	switch in.req.Op {
	case llm.ListModels, llm.GetModel:
		boundUnread(in.e, in.st.cfg.BodyTimeout)
		return nil
	case llm.Passthrough:
		boundUnread(in.e, in.st.cfg.BodyTimeout) // upstreams may answer before they take it
		return in.readPassthrough()
	}
	if err := checkContentType(in.q.Header); err != nil {
		return err
	}
	if err := in.hold(in.st.cfg.MaxBodyBytes); err != nil {
		return err
	}
	return in.scan()
}

// checkContentType accepts JSON. A body without a type is taken for JSON too.
func checkContentType(h engine.Header) error {
	if values := h.Values("Content-Encoding"); len(values) > 0 && values[0] != "identity" {
		return llm.Errorf(415, "unsupported_content_encoding", "The body's Content-Encoding %q is not supported. Send it as it is.", values[0])
	}
	values := h.Values("Content-Type")
	if len(values) == 0 || values[0] == "application/json" || isJSON(values[0]) {
		return nil
	}
	return llm.Errorf(415, "unsupported_content_type", "The Content-Type %q is not supported here. Send the header Content-Type: application/json", values[0])
}

// isJSON goes by the media type alone: JSON has no parameters, and those that
// clients send all the same, such as charset, mean nothing (RFC 8259 section 11).
func isJSON(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.Trim(kind, " \t"), "application/json")
}

// refuseBody has err be the answer to a body that is not read to its end.
func (in *request) refuseBody(err error) error {
	boundUnread(in.e, in.st.cfg.BodyTimeout)
	return in.body.fail(llm.AsError(err))
}

// scan validates the body and finds the members that decide where it goes.
func (in *request) scan() error {
	body := in.req.Body
	names, named := known.NamesOf(in.req.Op), false // by a member that the model may be in
	inPath := in.req.Op.NamesInPath()
	err := jsonscan.Members(body, in.st.cfg.MaxJSONDepth, func(key []byte, value llm.Span) error {
		if inPath {
			return nil
		}
		switch string(key) {
		case "model":
			return in.setModel(body, value)
		case "stream":
			return in.setStream(body[value.Start:value.End])
		default:
			named = named || names != "" && string(key) == names
		}
		return nil
	})
	if fault, ok := errors.AsType[*jsonscan.Error](err); ok {
		return errJSON(body, fault)
	}
	if err != nil {
		return err
	}
	if in.req.Model == "" && !named {
		return errParam("missing_required_parameter", "model", "The request names no model. Give one as \"model\".")
	}
	return nil
}

func (in *request) setModel(body []byte, value llm.Span) error {
	if in.req.ModelSpan.End > 0 {
		return errParam("duplicate_parameter", "model", "\"model\" is given twice.")
	}
	model, err := jsonscan.String(body[value.Start:value.End])
	if err != nil {
		return errParam("invalid_type", "model", "\"model\" is not a string.")
	}
	in.req.Model, in.req.ModelSpan = model, value
	return nil
}

func (in *request) setStream(value []byte) error {
	if in.streamSeen {
		return errParam("duplicate_parameter", "stream", "\"stream\" is given twice.")
	}
	in.streamSeen = true
	on, ok := jsonscan.Bool(value)
	if !ok && string(value) != "null" {
		return errParam("invalid_type", "stream", "\"stream\" is neither true nor false.")
	}
	in.req.Stream = on && known.Generates(in.req.Op)
	return nil
}

// requestID returns the client's id for the request if it is fit for a header
// and a log, else a new one.
func requestID(h engine.Header) string {
	if values := h.Values("X-Request-Id"); len(values) == 1 && saneID(values[0]) {
		return values[0]
	}
	const prefix = "req_"
	var raw [16]byte
	var text [len(prefix) + 2*len(raw)]byte
	copy(text[:], prefix)
	for i := 0; i < len(raw); i += 8 {
		n := rand.Uint64()
		for j := range 8 {
			raw[i+j] = byte(n >> (8 * j))
		}
	}
	hex.Encode(text[len(prefix):], raw[:])
	return string(text[:])
}

func saneID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// forwarding says which further request fields upstreams may see.
type forwarding struct {
	names    []string // canonical
	prefixes []string // canonical, without the "*"
}

func newForwarding(list []string) forwarding {
	var f forwarding
	for _, name := range list {
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			f.prefixes = append(f.prefixes, textproto.CanonicalMIMEHeaderKey(prefix))
		} else if name = textproto.CanonicalMIMEHeaderKey(name); !slices.Contains(forwarded(), name) {
			f.names = append(f.names, name)
		}
	}
	return f
}

// forwarded are the fields that upstreams always see.
func forwarded() []string {
	return append(llm.PassingFields(), "Openai-Beta", llm.LoopField)
}

// withheld reports whether no upstream may see a field: the client's
// credentials, what belongs to its connection, and what the gateway itself is told,
// of which an upstream would not know what is left or allowed.
func withheld(name string) bool {
	switch name {
	case "Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "X-Goog-Api-Key", "Api-Key", "X-Priority", "X-Request-Timeout", dedupHeader,
		"Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol":
		return true
	}
	return llm.OfTransport(name)
}

// forwardHeader copies the fields that an upstream may see.
func (in *request) forwardHeader() {
	h := in.q.Header
	in.req.Header = in.fields[:0]
	in.forwardTrace()
	for _, name := range in.s.forwarded {
		in.forwardField(h, name)
	}
	for _, name := range known.HeaderOf(in.req.Op) {
		in.forwardField(h, name)
	}
	if in.req.Op == llm.Passthrough {
		in.forwardField(h, "Content-Encoding")
		in.forwardField(h, "Range")
	}
	f := &in.st.forward
	for _, name := range f.names {
		in.forwardField(h, name)
	}
	if len(f.prefixes) == 0 {
		return
	}
	h.Each(func(name string, _ []string) bool {
		if slices.ContainsFunc(f.prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) &&
			!withheld(name) && in.req.Get(name) == "" {
			in.forwardField(h, name)
		}
		return true
	})
}

func (in *request) forwardField(h engine.Header, name string) {
	values := h.Values(name)
	if len(values) == 0 || name == "X-Request-Id" && values[0] != in.req.ID || in.dropsTrace(name) {
		return
	}
	for _, options := range h.Values("Connection") {
		if llm.Nominates(options, name) {
			return
		}
	}
	if name == llm.LoopField {
		if hops, _ := llm.Hops(values); hops != "" {
			in.req.Header = append(in.req.Header, llm.Field{Name: name, Value: hops})
		}
		return
	}
	for _, v := range values {
		in.req.Header = append(in.req.Header, llm.Field{Name: name, Value: v})
	}
}
