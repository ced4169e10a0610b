package openai

import (
	"bytes"
	"strconv"
	"strings"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/upstream"
	"sluice/internal/upstream/credentials"
)

// told makes the error that a stream's own event tells of, or a whole reply of
// status 200. data is the event's payload, or the reply. The upstream had said 200 and may have acted on the request, so a client
// is not to send it again by itself, as it would not have without a gateway.
func told(data []byte, name string, hidden *credentials.Secrets) *llm.Error {
	data = hidden.Redact(bytes.Clone(data))
	sound := jsonscan.Validate(data, maxErrorDepth) == nil
	e := &llm.Error{
		Fault: llm.Told, Status: toldStatus(data, sound), Code: llm.CodeUpstream, Upstream: name, Advice: llm.DoNotRetry,
		Message: message(data, "", sound),
	}
	e.Type = llm.TypeOf(e.Status)
	if sound && shaped(data) {
		e.Reply = &llm.ErrorReply{Body: data}
	}
	for _, at := range toldPlaces {
		if s, ok := text(data, sound, path(at, "message")...); ok && e.Message == "" {
			e.Message = upstream.Clip(s, maxErrorText)
		}
		if s, ok := text(data, sound, path(at, "code")...); ok && s != "" {
			e.Code = s
		}
		if s, ok := text(data, sound, path(at, "type")...); ok && s != "" && at != "" {
			e.Type = s
		}
		if s, ok := text(data, sound, path(at, "param")...); ok {
			e.Param = s
		}
	}
	if e.Message == "" {
		e.Message = "Upstream `" + name + "` answered with an error and no explanation."
	}
	return e
}

// toldPlaces are where the members of an error stand: OpenAI's chunks and those of
// most others; OpenAI's Responses, of which "error" events are errors themselves
// and those that failed have one.
var toldPlaces = [...]string{"", "response.error", "error"}

func path(at, name string) []string {
	if at == "" {
		return []string{name}
	}
	return append(strings.Split(at, "."), name)
}

// toldStatus is the status that an error would have had in a reply's head: the one
// that it names, or that of what its code or type says; 502 where that is unknown.
func toldStatus(data []byte, sound bool) int {
	if !sound {
		return 502
	}
	named := 0
	for _, at := range toldPlaces {
		for _, name := range [...]string{"status_code", "status", "code"} {
			if v, ok := jsonscan.Get(data, path(at, name)...); ok {
				n, err := strconv.Atoi(string(bytes.Trim(data[v.Start:v.End], `"`)))
				if err == nil && n >= 400 && n <= 599 {
					named = n
				}
			}
		}
	}
	if named != 0 {
		return named
	}
	for _, at := range toldPlaces {
		for _, name := range [...]string{"code", "type", "status"} {
			s, _ := text(data, true, path(at, name)...)
			for _, k := range toldKinds {
				if strings.Contains(strings.ToLower(s), k.word) {
					return k.status
				}
			}
		}
	}
	return 502
}

// toldKinds are words in the codes and types of errors, those of OpenAI and others.
var toldKinds = [...]struct {
	word   string
	status int
}{
	{"rate_limit", 429}, {"quota", 429}, {"resource_exhausted", 429}, {"too_many_requests", 429},
	{"overloaded", 503}, {"unavailable", 503}, {"timeout", 504},
	{"authentication", 401}, {"invalid_api_key", 401}, {"permission", 403}, {"not_found", 404},
	{"invalid_request", 400}, {"invalid_prompt", 400}, {"invalid_argument", 400}, {"context_length", 400}, {"content_filter", 400}, {"content_policy", 400},
}
