package front

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
)

// anyOrigin lets every page in that has a key. No credentials of a browser's own
// are at stake: keys travel in Authorization, and there are no cookies.
const anyOrigin = "*"

// checkOrigin says what is wrong with one of Config.CORSOrigins. Browsers send
// origins in one spelling, and only that is compared.
func checkOrigin(text string) error {
	if text == anyOrigin {
		return nil
	}
	if text == "null" {
		return errors.New(`"null" is what any page can make its browser send; give the page's origin`)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "" || u.Hostname() == "" || strings.Contains(text, "*"):
		return fmt.Errorf("%q is no origin, as https://chat.example or http://localhost:3000, nor \"*\" for all", text)
	case u.Scheme+"://"+u.Host != text:
		return fmt.Errorf("%q has more than a scheme, a host and a port; a browser sends %s://%s", text, u.Scheme, u.Host)
	case strings.ToLower(text) != text:
		return fmt.Errorf("%q is not in lower case, as browsers send it", text)
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80", strings.HasSuffix(u.Host, ":"):
		return fmt.Errorf("%q: browsers leave this port out", text)
	}
	return nil
}

// exposed are the fields of a reply that a page may read besides the usual ones.
// The star stands for all of them; older browsers need the names.
const exposed = "*, X-Request-Id, X-Upstream-Request-Id, X-Sluice-Upstream, X-Sluice-Batch-Size, X-Sluice-Dedup, X-Sluice-Lossy, X-Cache, X-Cache-Key, Age, Server-Timing, Retry-After, Retry-After-Ms, X-Should-Retry, " +
	"X-Ratelimit-Limit-Requests, X-Ratelimit-Remaining-Requests, X-Ratelimit-Reset-Requests, X-Ratelimit-Limit-Tokens, X-Ratelimit-Remaining-Tokens, X-Ratelimit-Reset-Tokens, " +
	"Openai-Model, Openai-Organization, Openai-Processing-Ms, Openai-Project, Openai-Version"

const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	// corsHeaders are allowed where a browser does not say which it wants.
	corsHeaders = "Authorization, Content-Type"
	// corsMaxAge is for how long a browser need not ask again, in seconds. An origin
	// that is taken out of the configuration is let in for no longer.
	corsMaxAge = "600"
	// maxAskedHeaders bounds the names that are repeated to a browser, in bytes.
	maxAskedHeaders = 4 << 10
)

// lets reports whether pages of an origin may read replies.
func (st *state) lets(origin string) bool {
	return slices.Contains(st.cfg.CORSOrigins, origin) || slices.Contains(st.cfg.CORSOrigins, anyOrigin)
}

// allowOrigin tells a browser that the page which asks may read the reply, errors
// too. It comes before the upstream's fields, none of which speaks of this.
func (out *reply) allowOrigin() {
	if len(out.st.cfg.CORSOrigins) == 0 || !strings.HasPrefix(out.q.Path, "/v1/") {
		return
	}
	h := &out.head.Fields
	h.Set("Vary", "Origin")
	if origin := out.q.Header.Values("Origin"); len(origin) == 1 && out.st.lets(origin[0]) {
		h.Set("Access-Control-Allow-Origin", origin[0])
		h.Set("Access-Control-Expose-Headers", exposed)
	}
}

// isPreflight reports whether a browser asks if a page may send a request. It
// sends no key with that.
func isPreflight(q *engine.Request) bool {
	return q.Method == "OPTIONS" && len(q.Header.Values("Origin")) > 0 && len(q.Header.Values("Access-Control-Request-Method")) > 0 && strings.HasPrefix(q.Path, "/v1/")
}

// servePreflight answers that question. Which of the headers that a page sends
// reach an upstream is not decided here, so it may send any.
func (a *aside) servePreflight(st *state) {
	asked := a.q.Header
	a.head.Fields.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network")
	origin := asked.Values("Origin")
	if len(origin) != 1 || !st.lets(origin[0]) {
		a.refuse(llm.Errorf(403, "origin_refused", "Web pages of this origin may not use the gateway. To let them name the origin under server.cors_origins; they need a key as well."))
		return
	}
	headers := corsHeaders
	if names := strings.Join(asked.Values("Access-Control-Request-Headers"), ", "); names != "" && len(names) <= maxAskedHeaders {
		headers = names
	}
	h := &a.head.Fields
	h.Set("Access-Control-Allow-Origin", origin[0])
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Max-Age", corsMaxAge)
	h.Set("Access-Control-Allow-Headers", headers)
	if engine.Get(asked, "Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	a.bare(204)
}
