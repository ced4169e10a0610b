package front

import (
	"net/url"
	"slices"
	"strings"

	"sluice/internal/dialect/gemini"
	"sluice/internal/llm"
)

// isGemini reports whether a request is one of Google's Gemini API.
func (in *request) isGemini() bool { return gemini.Is(in.q.Path) }

// takeKey takes the client's credentials out of the query. It does so before anything else
// looks at the query: nobody is shown them, and no upstream. Who the client is they tell of
// requests of that API alone, whose clients may put them there.
func (in *request) takeKey() {
	query := in.q.RawQuery
	if query == "" {
		return
	}
	ofGemini := in.isGemini()
	// The gateway's own routes have a parameter of that name, and hand nothing on.
	own := len(in.s.ownRoutes(in.q.Path)) > 0
	secret := func(part string) bool {
		name, _, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		return err == nil && isCredential(name, ofGemini) && (!own || name != "key")
	}
	var rest []string
	for part := range strings.SplitSeq(query, "&") {
		if !secret(part) {
			if strings.Contains(part, ";") { // at which some services part a query too
				part = strings.Join(slices.DeleteFunc(strings.Split(part, ";"), secret), ";")
			}
			rest = append(rest, part)
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		if key, err := url.QueryUnescape(value); err == nil && ofGemini && in.key == "" && !strings.HasSuffix(name, headerFields) {
			in.key = strings.TrimSpace(key)
		}
	}
	in.q.RawQuery = strings.Join(rest, "&")
}

// headerFields is the parameter of Google's APIs in which fields of the header may stand.
const headerFields = "httpHeaders"

// isCredential reports whether a parameter of a query is one: a token (RFC 6750 section 2.3),
// a key, which no other API has a parameter of these names for, or, of Google's APIs, any that
// all of these have or had, with or without a dollar sign, and fields of a header, among which
// there may be one.
func isCredential(name string, ofGemini bool) bool {
	if ofGemini {
		name = strings.TrimPrefix(name, "$")
	}
	switch name {
	case "access_token", "api_key", "key":
		return true
	case "bearer_token", "oauth_token", headerFields:
		return ofGemini
	}
	return false
}

// routeGemini finds the operation of a request of that API. The model's name is in the path,
// and so is whether a stream is wanted.
func (in *request) routeGemini() error {
	rest, ok := strings.CutPrefix(in.q.Path, gemini.Prefix+"models")
	if !ok || rest != "" && rest[0] != '/' {
		return in.unknownMethod()
	}
	in.req.Path = in.q.EscapedPath()
	if rest == "" {
		in.req.Op = llm.ListModels
		return in.onlyRead()
	}
	model := rest[1:]
	if at := strings.LastIndexByte(model, ':'); at > 0 {
		if in.req.Op, in.req.Stream = gemini.Called(model[at+1:]); in.req.Op != llm.Passthrough {
			in.req.Model = model[:at]
			return in.isPost()
		}
	}
	if in.q.Method == "POST" {
		return in.unknownMethod()
	}
	in.req.Op, in.req.Model = llm.GetModel, model
	return in.onlyRead()
}

func (in *request) unknownMethod() error {
	return llm.Errorf(404, "unknown_url", "Unknown request URL: %s %s. Of the Gemini API there are generateContent, streamGenerateContent, countTokens, embedContent and batchEmbedContents "+
		"of models, and the lists of models.", shown(in.q.Method), shown(in.q.EscapedPath()))
}

func (in *request) onlyRead() error {
	if !reads(in.q.Method) {
		return in.wrongMethod("GET, HEAD")
	}
	return nil
}

// isPost checks a request to a method of a model.
func (in *request) isPost() error {
	if in.q.Method != "POST" {
		return in.wrongMethod("POST")
	}
	if in.req.Stream && in.form == unknownForm {
		return errParam("invalid_value", "alt", "A stream is sent as server-sent events, with ?alt=sse, or as a JSON array, with ?alt=json, which is the default.")
	}
	return nil
}

// streamForm is how a stream is written to the client.
type streamForm uint8

const (
	eventForm   streamForm = iota
	arrayForm              // its events are the elements of a JSON array
	unknownForm            // one that the client wants and that there is not
)

// readForm finds how a client wants its stream, which it takes out of the query where that is
// more than events: whoever comes behind is asked for these, written as they always are, since
// those who share a reply have it as the first of them asked for it. It is known before the request can be
// refused, since that is told in the same form.
func (in *request) readForm() {
	if in.q.Method != "POST" || !in.isGemini() || !strings.HasSuffix(in.q.Path, ":"+gemini.GenerateStream) {
		return
	}
	in.form = arrayForm
	var rest []string
	twice, plain := false, true
	for part := range strings.SplitSeq(in.q.RawQuery, "&") {
		name, value, _ := strings.Cut(part, "=")
		if name, err := url.QueryUnescape(name); err != nil || name != "alt" && name != "$alt" {
			rest = append(rest, part)
			continue
		}
		value, err := url.QueryUnescape(value)
		var more bool
		value, _, more = strings.Cut(value, ";") // what follows says how enumerations are written
		plain = plain && !more
		switch {
		case err != nil || twice || value != "sse" && value != "json":
			in.form = unknownForm
		case value == "sse":
			in.form = eventForm
		}
		twice = true
	}
	if in.form == unknownForm || in.form == eventForm && plain {
		return
	}
	in.req.Closed = true
	if len(rest) == 1 && rest[0] == "" {
		rest = rest[:0]
	}
	in.q.RawQuery = strings.Join(append(rest, "alt=sse"), "&")
}
