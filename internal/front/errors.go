package front

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// errDraining answers requests that come after the end was asked for.
func errDraining() error {
	e := llm.Errorf(http.StatusServiceUnavailable, "shutting_down", "The gateway is shutting down. Send the request again.")
	e.Fault, e.RetryAfter = llm.ShuttingDown, time.Second
	return e
}

func (x *exchange) unknownURL() error {
	return llm.Errorf(http.StatusNotFound, "unknown_url", "Unknown request URL: %s %s. The API's routes begin with /v1/, once: "+
		"the base URL to give a client is %s, with no slash at its end.", shown(x.r.Method), shown(x.r.URL.EscapedPath()), baseURL(x.r))
}

// baseURL is what a client has to be given, as far as can be seen from here.
func baseURL(r *http.Request) string {
	switch {
	case r.Host == "": // HTTP/1.0
		return "http://ADDRESS/v1"
	case r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https":
		return "https://" + shown(r.Host) + "/v1"
	default:
		return "http://" + shown(r.Host) + "/v1"
	}
}

func (x *exchange) wrongMethod(allow string) error {
	e := llm.Errorf(http.StatusMethodNotAllowed, "method_not_supported", "%s is not supported by %s. It takes %s.",
		shown(x.r.Method), shown(x.r.URL.EscapedPath()), allow)
	e.Allow = allow
	return e
}

// shown bounds what a reply repeats of its request.
func shown(s string) string {
	const most = 256
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}

func errTooLarge(limit int64) *llm.Error {
	return llm.Errorf(http.StatusRequestEntityTooLarge, "request_too_large", "The request's body is larger than the %d bytes that the gateway takes.", limit)
}

// errJSON says where in body a fault is.
func errJSON(body []byte, fault *jsonscan.Error) error {
	line, column := fault.Position(body)
	return llm.Errorf(http.StatusBadRequest, "invalid_json", "The request's body is not a valid JSON object: %s at line %d, column %d (byte %d).",
		fault.Msg, line, column, fault.Offset)
}

func errParam(code, param, format string, args ...any) error {
	e := llm.Errorf(http.StatusBadRequest, code, "%s", fmt.Sprintf(format, args...))
	e.Param = param
	return e
}

// appendErrorEvent appends the event that ends a broken stream. Streams of
// /v1/responses have a shape of their own, in which events are numbered.
func appendErrorEvent(dst []byte, op llm.Operation, e *llm.Error, number uint64) []byte {
	if op != llm.Response {
		dst = append(dst, "data: "...)
		return append(jsonscan.AppendError(dst, e), "\n\n"...)
	}
	dst = append(dst, "event: error\ndata: {\"type\":\"error\",\"code\":"...)
	dst = jsonscan.AppendStringOrNull(dst, e.Code)
	dst = append(dst, `,"message":`...)
	dst = jsonscan.AppendString(dst, e.Message)
	dst = append(dst, `,"param":`...)
	dst = jsonscan.AppendStringOrNull(dst, e.Param)
	dst = append(dst, `,"sequence_number":`...)
	dst = strconv.AppendUint(dst, number, 10)
	return append(dst, "}\n\n"...)
}

// replyError sends e as the whole reply. Nothing has been written before.
func (x *exchange) replyError(e *llm.Error) {
	if x.many && x.tenant == nil {
		x.s.strangers.enter(&x.reply, x.st.cfg.MaxConnections)
		defer x.s.strangers.leave(&x.reply)
	}
	h := x.w.Header()
	clear(h)
	x.used = 0
	x.set(h, "X-Request-Id", x.req.ID)
	x.allowOrigin(h)
	if e.Upstream != "" {
		x.set(h, "X-Sluice-Upstream", e.Upstream)
	}
	x.attemptsHeader(h, e.Attempts)
	var body []byte
	if e.Reply != nil {
		x.copyHeader(h, e.Reply.Header, e.Status)
		body = e.Reply.Body
	} else {
		body = append(jsonscan.AppendError(nil, e), '\n')
	}
	x.set(h, "Content-Type", "application/json")
	if e.RetryAfter > 0 && h["Retry-After"] == nil {
		x.set(h, "Retry-After", strconv.FormatInt(int64(math.Ceil(e.RetryAfter.Seconds())), 10))
	}
	switch e.Advice { // in place of what the upstream's reply says
	case llm.SendAgain:
		x.set(h, "X-Should-Retry", "true")
	case llm.DoNotRetry:
		x.set(h, "X-Should-Retry", "false")
	}
	switch {
	case e.Status == http.StatusUnauthorized && e.Upstream == "":
		x.set(h, "Www-Authenticate", "Bearer")
	case e.Allow != "":
		x.set(h, "Allow", e.Allow)
	}
	// What is left of a body that was refused is not worth reading.
	x.last = x.last || x.body.err != nil && !x.many
	x.connectionHeader(h)
	if x.body.src == nil {
		boundUnread(x.w, x.r, x.st.cfg.BodyTimeout)
	}
	x.status = e.Status
	x.wrote = true
	x.noteError(e, body)
	if x.many {
		x.set(h, "Content-Length", strconv.Itoa(len(body)))
		x.mayEnd()
		if x.tenant == nil {
			x.forget()
		}
	}
	x.w.WriteHeader(e.Status)
	n, err := x.w.Write(body)
	x.wroteBody(n)
	if x.unsent = err; err != nil {
		x.undelivered()
		x.status = 0
	}
}

// forget lets go of a request that is refused to a client that has shown no key.
// One connection may have hundreds of them, each with a head of max_header_bytes,
// and take the refusals as slowly as it can.
func (x *exchange) forget() {
	r := x.r
	x.req.Path = strings.Clone(shown(r.URL.EscapedPath())) // what observers are told
	clear(r.Header)
	r.URL, r.RequestURI, r.Host, r.Trailer = &url.URL{}, "", "", nil
}

// maxAside bounds the target, and each of the fields, of a request that is no API
// request, in bytes.
const maxAside = 1 << 10

// lighten lets go of what a request that is no API request is not answered by, for
// the same reason.
func lighten(r *http.Request) {
	maps.DeleteFunc(r.Header, func(name string, values []string) bool {
		most := 0
		switch name {
		case "Authorization", "Accept", "Accept-Encoding", "If-None-Match", "Origin", "Access-Control-Request-Method", "Access-Control-Request-Private-Network":
			most = maxAside
		case "Access-Control-Request-Headers":
			most = maxAskedHeaders
		}
		for _, v := range values {
			most -= len(v) + 1
		}
		return most < 0
	})
	r.Host, r.Trailer = "", nil
	if len(r.RequestURI) > maxAside {
		path := r.URL.Path
		r.URL, r.RequestURI = &url.URL{Path: strings.Clone(path[:min(len(path), maxAside)])}, ""
	}
}

// refuse answers a request that is no API request with an error.
func refuse(w http.ResponseWriter, err error) {
	e := llm.AsError(err)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if e.Status == http.StatusUnauthorized {
		h.Set("Www-Authenticate", "Bearer")
	}
	body := append(jsonscan.AppendError(nil, e), '\n')
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(body)
}

// boundUnread bounds the wait for a body that nobody has begun to read, and may
// never: net/http reads what there is of it before it writes the reply. Without
// that a client with no key could hold a connection for as long as it likes.
func boundUnread(w http.ResponseWriter, r *http.Request, timeout time.Duration) {
	if r.ContentLength == 0 {
		return
	}
	if c, ok := w.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = c.SetReadDeadline(time.Now().Add(timeout))
	}
}
