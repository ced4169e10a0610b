package openai

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/upstream"
)

const (
	// maxErrorBody bounds the body of an error reply, in bytes.
	maxErrorBody = 1 << 20
	// errorBodyTimeout bounds the wait for each piece of it: the status is
	// known, and a request that can go elsewhere should do so soon.
	errorBodyTimeout = 5 * time.Second
	// maxErrorText bounds the part of an unknown error body that is quoted, in bytes.
	maxErrorText = 1 << 10
	// maxErrorDepth bounds the nesting of an error body.
	maxErrorDepth = 64
)

// failure makes the error of a reply whose status is 400 or above. Of a body
// that cannot be read the status remains.
func (h *Handler) failure(r *upstream.Reply) error {
	contentType := r.Get("Content-Type")
	e := &llm.Error{
		Fault: llm.Answered, Status: min(r.Status, 599), Type: llm.TypeOf(r.Status), Code: llm.CodeUpstream, Upstream: h.name,
		RetryAfter: upstream.RetryAfter(r.Header, time.Now()), Advice: advice(r.Get("X-Should-Retry")),
		// Both say that the request was turned away, not that it failed.
		Unprocessed: r.Status == 429 || r.Status == 503,
	}
	r.SetIdleTimeout(errorBodyTimeout)
	body, err := collect(r, nil, maxErrorBody)
	if err != nil {
		e.Err = fmt.Errorf("read error reply: %w", err)
	}
	body = h.secrets.Redact(body)
	sound := err == nil && jsonscan.Validate(body, maxErrorDepth) == nil
	if sound && shaped(body) {
		e.Reply = &llm.ErrorReply{Header: h.clientFields(slices.Clone(r.Header), r.Status), Body: body}
	}
	e.Message = message(body, contentType, sound)
	if e.Message == "" {
		e.Message = fmt.Sprintf("Upstream `%s` answered with status %d and no explanation.", h.name, r.Status)
	}
	if code, ok := text(body, sound, "error", "code"); ok && code != "" {
		e.Code = code
	}
	if kind, ok := text(body, sound, "error", "type"); ok && kind != "" {
		e.Type = kind
	}
	e.Param, _ = text(body, sound, "error", "param")
	return e
}

// redirected makes the error of a redirection. It is not followed: the
// upstream's key would go where no one configured it to go.
func (h *Handler) redirected(r *upstream.Reply) error {
	to := h.secrets.RedactField(r.Get("Location"))
	return llm.UpstreamError(h.name, llm.Unusable, 502, "upstream_redirect",
		"Upstream %s answered with a redirection, which is not followed. Its base_url may be wrong.",
		fmt.Errorf("status %d, location %q", r.Status, to))
}

// shaped reports whether a body is an error as OpenAI's are: an object whose
// error is an object with a message.
func shaped(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	if len(body) == 0 || body[0] != '{' {
		return false
	}
	_, ok := text(body, true, "error", "message")
	return ok
}

// message finds what an error body says. An HTML page says nothing.
func message(body []byte, contentType string, sound bool) string {
	if sound {
		for _, path := range [...][]string{
			{"error", "message"}, {"message"}, {"error"}, {"detail"}, {"detail", "0", "msg"},
			{"errors", "0", "message"}, {"0", "error", "message"}, {"error_description"}, {"title"},
		} {
			if s, ok := text(body, true, path...); ok && s != "" {
				return upstream.Clip(s, maxErrorText)
			}
		}
		return ""
	}
	if !mediaType(contentType, "text/plain") || !utf8.Valid(body) {
		return ""
	}
	return upstream.Clip(strings.TrimSpace(string(body)), maxErrorText)
}

// text gives the string at a path of a sound JSON body.
func text(body []byte, sound bool, path ...string) (string, bool) {
	if !sound {
		return "", false
	}
	v, ok := jsonscan.Get(body, path...)
	if !ok {
		return "", false
	}
	s, err := jsonscan.String(body[v.Start:v.End])
	return s, err == nil
}

// advice reads an X-Should-Retry.
func advice(value string) llm.Advice {
	switch value = strings.Trim(value, " \t"); {
	case strings.EqualFold(value, "true"):
		return llm.SendAgain
	case strings.EqualFold(value, "false"):
		return llm.DoNotRetry
	}
	return llm.NoAdvice
}
