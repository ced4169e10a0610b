package front

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"sluice/internal/dialect/known"
	"sluice/internal/front/engine"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/spool"
)

// errDraining answers requests that come after the end was asked for.
func errDraining() error {
	e := llm.Errorf(503, "shutting_down", "The gateway is shutting down. Send the request again.")
	e.Fault, e.RetryAfter = llm.ShuttingDown, time.Second
	return e
}

// checkHops refuses a request that the gateway of a name has sent itself, or one that has passed
// too many. values are those of llm.LoopField. Sending it again leads nowhere else.
func checkHops(values []string, hop string) error {
	if len(values) == 0 {
		return nil // as a rule
	}
	said := ""
	if llm.Passed(values, hop) {
		said = "The request has come back to the gateway that sent it: the base_url of one of its upstreams leads to the gateway itself."
	} else if _, ok := llm.Hops(values); !ok {
		said = "The request has passed more gateways than one is sent through, as its CDN-Loop says."
	}
	if said == "" {
		return nil
	}
	e := llm.Errorf(508, "loop_detected", "%s", said)
	e.Advice = llm.DoNotRetry
	return e
}

func (in *request) unknownURL() error {
	return llm.Errorf(404, "unknown_url", "Unknown request URL: %s %s. The API's routes begin with /v1/, once: "+
		"the base URL to give a client is %s, with no slash at its end.", shown(in.q.Method), shown(in.q.EscapedPath()), baseURL(in.q))
}

// baseURL is what a client has to be given, as far as can be seen from here.
func baseURL(q *engine.Request) string {
	switch {
	case q.Host == "": // HTTP/1.0
		return "http://ADDRESS/v1"
	case q.TLS || engine.Get(q.Header, "X-Forwarded-Proto") == "https":
		return "https://" + shown(q.Host) + "/v1"
	default:
		return "http://" + shown(q.Host) + "/v1"
	}
}

func (in *request) wrongMethod(allow string) error {
	e := llm.Errorf(405, "method_not_supported", "%s is not supported by %s. It takes %s.",
		shown(in.q.Method), shown(in.q.EscapedPath()), allow)
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
	return llm.Errorf(413, "request_too_large", "The request's body is larger than the %d bytes that the gateway takes.", limit)
}

// errNoModelYet refuses a form whose model has not come while what came before could not
// be kept any more, for a fault that spool.Spool has.
func errNoModelYet(fault error) error {
	const advice = "Put the form's field \"model\" before the file: then none of it has to be kept"
	e := llm.Errorf(503, "gateway_overloaded", "The gateway has no room now to keep a form until its model comes. %s. Or try again shortly.", advice)
	e.Fault, e.RetryAfter = llm.Lacking, time.Second
	if errors.Is(fault, spool.ErrTooLarge) {
		e = llm.Errorf(413, "request_too_large", "The form is larger than what the gateway keeps until its model comes. %s.", advice)
		e.Param = "model"
	}
	e.Err = fault
	return e
}

// errJSON says where in body a fault is.
func errJSON(body []byte, fault *jsonscan.Error) error {
	line, column := fault.Position(body)
	return llm.Errorf(400, "invalid_json", "The request's body is not a valid JSON object: %s at line %d, column %d (byte %d).",
		fault.Msg, line, column, fault.Offset)
}

func errParam(code, param, format string, args ...any) error {
	e := llm.Errorf(400, code, "%s", fmt.Sprintf(format, args...))
	e.Param = param
	return e
}

// appendErrorEvent appends the event that ends a broken stream, of which so many went before.
func appendErrorEvent(dst []byte, op llm.Operation, e *llm.Error, before uint64) []byte {
	return known.ErrorsOf(op, "").AppendErrorEvent(dst, e, before)
}

// forget lets go of a request that is refused to a client that has shown no key.
// One connection may have hundreds of them, each with a head of max_header_bytes,
// and take the refusals as slowly as it can.
func (in *request) forget() {
	in.req.Path = strings.Clone(shown(in.q.EscapedPath())) // what observers are told
	in.e.Forget(func(string, []string) bool { return false })
	in.q.Path, in.q.RawPath, in.q.RawQuery, in.q.Host = "", "", "", ""
}
