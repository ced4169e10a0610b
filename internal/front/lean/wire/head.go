package wire

import (
	"bytes"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
)

// Head is the head of a request. Reset makes it ready for one, Parse fills it in.
// One Head can serve many requests, one after the other. Its strings share one
// allocation, the only one that a usual request takes, and outlive the buffer.
type Head struct {
	Method string
	Target string // as it came

	// Path, RawPath and RawQuery are as net/url has them. Path is "*" for OPTIONS *.
	Path, RawPath, RawQuery string

	// Host is that of an absolute target, else that of the field. "" is for HTTP/1.0
	// alone.
	Host string

	Major, Minor int // 1, and 0 to 9; what is above 1 is to be taken for 1

	// Length is the body's length in bytes, -1 where it comes in chunks. Without a
	// word of it there is none.
	Length int64

	// Persistent says that the client wants to keep the connection, and that it can.
	Persistent bool

	// Last says that where the next request begins is open to doubt, since this one
	// had both a length and chunks: it can be answered, but nothing after it. It is
	// not Persistent then.
	Last bool

	// Continue says that the client waits for 100 before it sends its body.
	Continue bool

	// Upgrade says that the client asks for another protocol: Upgrade, with Connection.
	Upgrade bool

	fields
	parser
}

// parser is what is known of a head while it comes. All offsets are in bytes from
// the beginning of what Parse is given.
type parser struct {
	limits Limits
	start  int    // of the request line
	at     int    // of the line under way
	looked int    // up to here it has no end
	phase  phase  // what the line under way is
	spots  []spot // the target, as a value, and the fields
	space  [usualFields]spot
	host   spot // of the value of Host

	hosts, lengths, codings uint8 // how often they came, at most 2
	trailer, upgrade        bool  // came
	closes, keeps, switches bool  // Connection: close, keep-alive, upgrade
	expects                 bool  // Expect: 100-continue
}

type phase uint8

const (
	begins phase = iota // nothing but empty lines has come
	inLine              // the request line
	inFields
)

// spot is where a field stands.
type spot struct{ name, colon, value, end uint32 }

// usualFields is how many fields take no memory of their own.
const usualFields = 32

// emptyLines is how many may come before a request. Some old clients end a body with
// a line's end that they do not count (RFC 9112 section 2.2).
const emptyLines = 2

// Reset makes h ready for a request and forgets the last one.
func (h *Head) Reset(l Limits) {
	h.Method, h.Target, h.Path, h.RawPath, h.RawQuery, h.Host = "", "", "", "", "", ""
	h.Major, h.Minor, h.Length = 0, 0, 0
	h.Persistent, h.Last, h.Continue, h.Upgrade = false, false, false, false
	h.fields.clear()
	spots := h.spots[:0]
	if cap(spots) != usualFields {
		spots = h.space[:0]
	}
	h.parser.reset(l, spots)
}

func (p *parser) reset(l Limits, spots []spot) {
	p.limits, p.spots = l.withDefaults(), spots
	p.start, p.at, p.looked, p.phase, p.host = 0, 0, 0, begins, spot{}
	p.hosts, p.lengths, p.codings = 0, 0, 0
	p.trailer, p.upgrade, p.closes, p.keeps, p.switches, p.expects = false, false, false, false, false, false
}

// Begun reports whether anything of a request has come, besides empty lines.
func (h *Head) Begun() bool { return h.phase != begins }

// Parse reads on in b, which begins with the first byte that came after the last
// request, and has at least all that it had at the last call. It returns how many
// bytes of b the whole head takes, or 0 where more of it has to come, or a
// *Refusal, as soon as there is a reason for one. What was looked at is not looked
// at again. Names of fields are written over with their canonical form.
func (h *Head) Parse(b []byte) (n int, err error) {
	for {
		if h.phase == begins {
			if h.at == len(b) {
				return 0, nil
			}
			if b[h.at] != '\r' && b[h.at] != '\n' {
				// Whoever speaks something else, TLS for example, is told at once.
				if class[b[h.at]]&token == 0 {
					return 0, malformed("The request does not begin with a method.")
				}
				h.phase, h.start = inLine, h.at
			}
		}
		line, r := h.line(b)
		if r == nil && line == nil {
			return 0, nil
		}
		whole := false
		if r == nil {
			whole, r = h.readLine(b, line)
		}
		if r != nil {
			return 0, r
		}
		if whole {
			return h.at, nil
		}
	}
}

// line gives the line under way without its end, nil where that has not come, and
// goes on to the next one.
func (h *Head) line(b []byte) ([]byte, *Refusal) {
	i := bytes.IndexByte(b[h.looked:], '\n')
	end := h.looked + i + 1
	if i < 0 {
		end = len(b) + 1 // at least
	}
	if h.phase == inLine && (end-h.start > h.limits.Line || end > h.limits.Head) {
		return nil, &Refusal{414, "uri_too_long", "The request line is longer than the gateway takes."}
	}
	if end > h.limits.Head {
		return nil, &Refusal{431, "headers_too_large", "The request's head is larger than the gateway takes."}
	}
	if i < 0 {
		h.looked = len(b)
		return nil, nil
	}
	line := b[h.at : end-1]
	h.at, h.looked = end, end
	if len(line) == 0 || line[len(line)-1] != '\r' {
		return nil, malformed("A line ends in LF without CR.")
	}
	return line[:len(line)-1], nil
}

// readLine reads a line, and says whether it was the last.
func (h *Head) readLine(b, line []byte) (whole bool, r *Refusal) {
	switch {
	case h.phase == begins:
		if len(line) > 0 {
			return false, malformed("A line has CR amid it.")
		}
		if h.at > 2*emptyLines {
			return false, malformed("Too many empty lines stand before the request.")
		}
		return false, nil
	case h.phase == inLine:
		h.phase = inFields
		return false, h.requestLine(line)
	case len(line) == 0:
		return true, h.finish(b)
	default:
		return false, h.field(line)
	}
}

// requestLine checks the request line. Its parts are cut out at the end (RFC 9112
// section 3).
func (h *Head) requestLine(line []byte) *Refusal {
	method := bytes.IndexByte(line, ' ')
	if method < 0 {
		return malformed("The request line has no target.")
	}
	for _, c := range line[:method] {
		if class[c]&token == 0 {
			return malformed("The method is no token.")
		}
	}
	target := line[method+1:]
	end := bytes.IndexByte(target, ' ')
	if end < 0 {
		return malformed("The request line has no version.")
	}
	version := target[end+1:]
	target = target[:end]
	for _, c := range target {
		if class[c]&uri == 0 {
			return malformed("The target has a byte that has to be percent-encoded.")
		}
	}
	if len(version) != len("HTTP/1.1") || string(version[:5]) != "HTTP/" || !digit(version[5]) || version[6] != '.' || !digit(version[7]) {
		return malformed("The request line does not end in a version of HTTP.")
	}
	h.Major, h.Minor = int(version[5]-'0'), int(version[7]-'0')
	if h.Major != 1 {
		return &Refusal{505, "http_version_not_supported", "Only HTTP/1.0 and HTTP/1.1 are spoken here, and HTTP/2 by its own rules."}
	}
	h.Method = methodOf(line[:method])
	if h.Method == "CONNECT" {
		return &Refusal{501, "method_not_supported", "The gateway is no proxy that connects."}
	}
	if len(target) == 0 {
		return malformed("The target is empty.")
	}
	if string(target) == "*" && h.Method != "OPTIONS" {
		return malformed("The target * is for OPTIONS alone.")
	}
	at := h.start + method + 1
	h.spots = append(h.spots, spot{value: uint32(at), end: uint32(at + end)})
	return nil
}

// methodOf gives a method without keeping the request's head alive.
func methodOf(b []byte) string {
	for _, m := range [...]string{"POST", "GET", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH"} {
		if string(b) == m {
			return m
		}
	}
	return string(b)
}

// field reads a field (RFC 9112 section 5).
func (h *Head) field(line []byte) *Refusal {
	if len(h.spots) > h.limits.Fields { // the first one is the target's
		return &Refusal{431, "headers_too_large", "The request has more fields than the gateway takes."}
	}
	colon, begin, end, r := cutField(line)
	if r != nil {
		return r
	}
	at := h.at - len("\r\n") - len(line)
	s := spot{uint32(at), uint32(at + colon), uint32(at + begin), uint32(at + end)}
	h.spots = append(h.spots, s)
	value := line[begin:end]
	switch string(line[:colon]) {
	case "Host":
		if h.hosts++; h.hosts > 1 {
			return malformed("The request has more than one Host.")
		}
		h.host = s
	case "Content-Length":
		if h.lengths++; h.lengths > 1 {
			return malformed("The request has more than one Content-Length.")
		}
		h.Length, r = lengthOf(value)
	case "Transfer-Encoding":
		if h.codings++; h.codings > 1 {
			return malformed("The request has more than one Transfer-Encoding.")
		}
		r = codingOf(value)
	case "Connection":
		h.connection(value)
	case "Expect":
		if !equalFold(value, "100-continue") {
			return &Refusal{417, "expectation_failed", "100-continue is all that can be expected of the gateway."}
		}
		h.expects = true
	case "Upgrade":
		h.upgrade = h.upgrade || len(value) > 0
	case "Trailer":
		h.trailer = true
		r = trailerOf(value)
	}
	return r
}

// cutField gives where in a line the name of a field ends, which it makes canonical,
// and where its value is.
func cutField(line []byte) (colon, value, end int, r *Refusal) {
	if c := line[0]; c == ' ' || c == '\t' {
		return 0, 0, 0, malformed("A line begins with whitespace: fields that are folded are not taken.")
	}
	upper := true
	for i, c := range line {
		k := class[c]
		if k&token == 0 {
			colon = i
			break
		}
		if upper && k&lower != 0 {
			line[i] = c - 0x20
		} else if !upper && k&capital != 0 {
			line[i] = c + 0x20
		}
		upper = c == '-'
		colon = i + 1
	}
	switch {
	case colon == len(line):
		return 0, 0, 0, malformed("A field has no colon.")
	case line[colon] != ':':
		return 0, 0, 0, malformed("A field's name is no token, or is not followed by a colon at once.")
	case colon == 0:
		return 0, 0, 0, malformed("A field has no name.")
	}
	if !llm.FieldValue(line[colon+1:]) {
		return 0, 0, 0, malformed("A field's value has a control character.")
	}
	value, end = colon+1, len(line)
	for value < end && blank(line[value]) {
		value++
	}
	for value < end && blank(line[end-1]) {
		end--
	}
	return colon, value, end, nil
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

func (h *Head) connection(value []byte) {
	for item := range items(value) {
		switch {
		case equalFold(item, "close"):
			h.closes = true
		case equalFold(item, "keep-alive"):
			h.keeps = true
		case equalFold(item, "upgrade"):
			h.switches = true
		}
	}
}

// finish makes sense of the whole.
func (h *Head) finish(b []byte) *Refusal {
	chunked := h.codings > 0
	if h.hosts == 0 && h.Minor > 0 {
		return malformed("The request has no Host.")
	}
	if chunked && h.Minor == 0 {
		return malformed("HTTP/1.0 has no Transfer-Encoding.")
	}
	h.Last = chunked && h.lengths > 0
	if chunked {
		h.Length = -1
	}
	h.Persistent = !h.closes && !h.Last && (h.Minor > 0 || h.keeps)
	h.Continue = h.expects && h.Minor > 0 && h.Length != 0
	h.Upgrade = h.upgrade && h.switches && h.Minor > 0

	s := string(b[:h.at])
	h.Target = s[h.spots[0].value:h.spots[0].end]
	if h.hosts > 0 {
		h.Host = s[h.host.value:h.host.end]
		if !isHost(h.Host) {
			return malformed("Host is no host.")
		}
	}
	if r := h.cutTarget(); r != nil {
		return r
	}
	for _, f := range h.spots[1:] {
		name := s[f.name:f.colon]
		switch name {
		case "Host", "Transfer-Encoding":
			continue
		case "Content-Length", "Trailer":
			if chunked {
				continue
			}
		}
		h.fields.add(name, s[f.value:f.end])
	}
	return nil
}

// Request fills in what q can be told. What is of the connection, and the body, is
// left to the caller. q.Header is h.
func (h *Head) Request(q *engine.Request) {
	q.Method, q.Path, q.RawPath, q.RawQuery, q.Host = h.Method, h.Path, h.RawPath, h.RawQuery, h.Host
	q.Major, q.Minor, q.Length, q.Last, q.Header = h.Major, h.Minor, h.Length, h.Last, h
}

// Forget lets go of all that it has but the method and the fields that keep says
// are needed, of which it makes copies. What was got from it stays as it is.
func (h *Head) Forget(keep func(name string, values []string) bool) {
	h.Target, h.Path, h.RawPath, h.RawQuery, h.Host = "", "", "", "", ""
	h.fields.keep(keep)
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// lengthOf reads a Content-Length. Digits alone are a length (RFC 9110 section 8.6);
// one that begins with 0 some take for octal, and nobody sends.
func lengthOf(value []byte) (int64, *Refusal) {
	const odd = "Content-Length is no plain number."
	if len(value) == 0 || value[0] == '0' && len(value) > 1 {
		return 0, malformed(odd)
	}
	n := int64(0)
	for i, c := range value {
		if !digit(c) {
			return 0, malformed(odd)
		}
		if i < 18 {
			n = n*10 + int64(c-'0')
		}
	}
	if len(value) > 18 {
		return 0, &Refusal{413, "request_too_large", "Content-Length is more than anybody can send."}
	}
	return n, nil
}

// codingOf takes chunks and nothing else (RFC 9112 sections 6.1 and 7).
func codingOf(value []byte) *Refusal {
	if equalFold(value, "chunked") {
		return nil
	}
	for item := range items(value) {
		if len(item) == 0 {
			return malformed("Transfer-Encoding is no list of codings.")
		}
		if !equalFold(item, "chunked") {
			return &Refusal{501, "transfer_coding_not_supported", "No transfer coding but chunked is understood."}
		}
	}
	return malformed("Transfer-Encoding has chunked more than once.")
}

// trailerOf refuses the announcement of what must not come after a body.
func trailerOf(value []byte) *Refusal {
	for item := range items(value) {
		if frames(item) {
			return malformed("Trailer names a field that frames the request.")
		}
	}
	return nil
}

// frames reports whether a name is one of a field that says where a request ends or
// whom it is for, and so cannot come after it (RFC 9110 section 6.5.1).
func frames(name []byte) bool {
	for _, f := range [...]string{"content-length", "transfer-encoding", "trailer", "host"} {
		if equalFold(name, f) {
			return true
		}
	}
	return false
}

// items goes through a list of values that are separated by commas.
func items(list []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for more := true; more; {
			var item []byte
			item, list, more = bytes.Cut(list, comma[:])
			if !yield(trim(item)) {
				return
			}
		}
	}
}

var comma = [1]byte{','}

// equalFold compares b with s, which has no capital letters.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c+class[c]&capital<<1 != s[i] {
			return false
		}
	}
	return true
}

// trim takes off the whitespace that may stand around a value.
func trim(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
