package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"

	"sluice/internal/llm"
	"sluice/internal/sse"
)

// maxBody is the largest JSON body that is read, in bytes.
const maxBody = 64 << 20

const (
	typeJSON        = "application/json"
	typeEventStream = "text/event-stream"
)

// route is one path of the API: how to answer it, by method.
type route map[string]func(*exchange) (answer, error)

// routes are the paths that end where they are written. A path that holds an
// id stands under the part before the id, with its slash.
func routes() map[string]route {
	every := route{}
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		every[m] = echo
	}
	return map[string]route{
		"/v1/chat/completions":     {http.MethodPost: chat},
		"/v1/completions":          {http.MethodPost: completion},
		"/v1/responses":            {http.MethodPost: responses},
		"/v1/embeddings":           {http.MethodPost: embeddings},
		"/v1/models":               {http.MethodGet: listModels},
		"/v1/models/":              {http.MethodGet: getModel},
		"/v1/moderations":          {http.MethodPost: moderation},
		"/v1/audio/transcriptions": {http.MethodPost: transcription},
		"/v1/audio/speech":         {http.MethodPost: speech},
		"/v1/files":                {http.MethodPost: upload, http.MethodGet: listFiles},
		"/v1/files/":               {http.MethodGet: lostFile, http.MethodDelete: lostFile},
		"/v1/sim/echo":             every,
	}
}

// exchange is one request on its way to its answer.
type exchange struct {
	server *Server
	w      http.ResponseWriter
	r      *http.Request
	model  string // as the client wrote it
	base   string // without the faults behind it
	fault  Fault
	items  int // inputs or prompts, of a call that has several
	room   room
	struck bool // it is decided whether the fault strikes
}

// event is one server-sent event; one without a name is a plain data event.
type event struct {
	name string
	data []byte
	last bool // it says that the stream is complete
}

// answer is a reply that has not met its faults yet: a body, or the events of
// a stream. An event's data is valid until the next is asked for.
type answer struct {
	status      int // 0 is 200
	contentType string
	header      map[string]string
	body        []byte
	events      iter.Seq[event]
	errorEvent  *event // what an error looks like in events; nil is an error body
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.begin() {
		panic(http.ErrAbortHandler)
	}
	defer s.end()
	c := &exchange{server: s, w: w, r: r, fault: noFault(), room: room{account: s.account}}
	w.Header().Set("X-Request-Id", fmt.Sprintf("req_sim_%d", s.requests.Load()))
	w.Header().Set("Openai-Version", "2020-10-01")

	defer func() {
		c.room.end()
		if r.Context().Err() != nil {
			s.cancelled.Add(1)
		}
	}()
	var ans answer
	fault, err := parseFault(r.Header.Get("X-Sim-Fault"), ",", c.fault)
	if err == nil {
		c.fault = fault
		ans, err = c.answer()
	}
	c.deliver(ans, err)
}

// answer finds the route and asks it.
func (c *exchange) answer() (ans answer, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *llm.Error:
			err, c.fault.WrongLength, c.fault.Encoding = p, 0, ""
		default:
			panic(p)
		}
	}()
	path := c.r.URL.Path
	rt, ok := c.server.routes[path]
	if !ok {
		// "/v1/models/a/b": ids may hold slashes, so the shortest prefix owns it.
		if parts := strings.SplitAfterN(path, "/", 4); len(parts) == 4 && parts[3] != "" {
			rt, ok = c.server.routes[strings.Join(parts[:3], "")]
		}
	}
	if !ok {
		return answer{}, unknownURL(c.r)
	}
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h, ok := rt[method]
	if !ok {
		e := llm.Errorf(http.StatusMethodNotAllowed, "method_not_supported", "Not allowed to %s on %s.", c.r.Method, path)
		return answer{}, e
	}
	ans, err = h(c)
	f := &c.fault
	c.strike()
	c.room.take(len(": processing\r\n\r\n") * 2 * f.Comments)
	if f.Encoding != "" {
		c.room.take(encoderSize + maxCoded)
	}
	if f.WrongLength != 0 && ans.events != nil {
		// Its length has to be known.
		ans.events(func(e event) bool {
			c.room.take(3 * (len(e.data) + 64)) // while a buffer grows
			ans.body = sse.AppendEvent(ans.body, e.name, e.data)
			return true
		})
		ans.events = nil
	}
	return ans, err
}

func unknownURL(r *http.Request) error {
	return llm.Errorf(http.StatusNotFound, "unknown_url", "Invalid URL (%s %s)", r.Method, r.URL.Path)
}

// strike decides once whether a fault that is to strike some requests only strikes this one.
func (c *exchange) strike() {
	if !c.struck {
		c.struck = true
		c.server.failures.resolve(&c.fault)
	}
}

// decode reads the body into req.
func (c *exchange) decode(req any) error {
	if mt, _, _ := strings.Cut(c.r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(mt), typeJSON) {
		return llm.Errorf(http.StatusUnsupportedMediaType, "unsupported_media_type",
			"Unsupported content type: %q. This API method only accepts 'application/json' requests.", c.r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(reserved{io.LimitReader(c.r.Body, maxBody+1), &c.room})
	if len(body) > maxBody {
		return llm.Errorf(http.StatusRequestEntityTooLarge, "", "The body is larger than %d bytes.", maxBody)
	}
	if err != nil {
		return badRequest("", "", "Could not read the body of your request.")
	}
	// What is written in three bytes may be a value of a hundred.
	c.room.take(112 * (bytes.Count(body, []byte{','}) + bytes.Count(body, []byte{'{'})))
	if err := json.Unmarshal(body, req); err != nil {
		if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && te.Field != "" {
			return badRequest(te.Field, "invalid_type", "Invalid type for '%s': got %s.", te.Field, te.Value)
		}
		if le, ok := errors.AsType[*llm.Error](err); ok {
			return le
		}
		return badRequest("", "", "We could not parse the JSON body of your request: %v", err)
	}
	return nil
}

// use takes the model that a request names, with the faults behind it.
func (c *exchange) use(model, want string) error {
	if model == "" {
		return badRequest("model", "missing_required_parameter", "you must provide a model parameter")
	}
	base, faults, _ := strings.Cut(model, "?")
	f, err := parseFault(faults, "&", c.fault)
	if err != nil {
		return err
	}
	c.model, c.base, c.fault = model, base, f
	m, ok := findModel(base)
	if !ok {
		return unknownModel(model)
	}
	if m.kind != want {
		return badRequest("model", "", "The model `%s` does not support %s.", base, want)
	}
	return nil
}

func unknownModel(model string) error {
	e := llm.Errorf(http.StatusNotFound, "model_not_found", "The model `%s` does not exist or you do not have access to it.", model)
	e.Param = "model"
	return e
}

func badRequest(param, code, format string, args ...any) *llm.Error {
	e := llm.Errorf(http.StatusBadRequest, code, format, args...)
	e.Param = param
	return e
}

// jsonAnswer is a unary reply.
func jsonAnswer(v any) (answer, error) {
	body, err := marshal(nil, v)
	if err != nil {
		return answer{}, err
	}
	return answer{contentType: typeJSON, body: body}, nil
}

// marshal appends v's JSON without escaping <, > and &, as model services
// write it.
func marshal(dst []byte, v any) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode reply: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// eventAnswer is a streamed reply: produce emits values until emit is false.
// done says whether data: [DONE] ends it; otherwise the events' names say so.
func eventAnswer(done bool, produce func(emit func(name string, v any) bool)) answer {
	return answer{contentType: typeEventStream, events: func(yield func(event) bool) {
		var buf []byte
		more := true
		produce(func(name string, v any) bool {
			var err error
			if buf, err = marshal(buf[:0], v); err != nil {
				more = false
				return false
			}
			more = yield(event{name: name, data: buf, last: !done && final(name)})
			return more
		})
		if more && done {
			yield(event{data: []byte("[DONE]"), last: true})
		}
	}}
}

// final reports whether an event of that name ends a response stream.
func final(name string) bool { return name == "response.completed" || name == "response.incomplete" }
