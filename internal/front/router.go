package front

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case path == "/healthz", path == "/readyz", path == "/metrics", s.pages != nil && isPage(path), isPreflight(r):
		s.watchAside(w, r)
	default:
		x := s.begin(w, r)
		defer x.end()
		x.finish(x.serve())
	}
}

// serveAside answers what is no API request: what a browser asks first, and
// probes, which have no key; the figures, for which Prometheus has one; and the
// pages, for which a browser has no key to send with an address that was typed
// in, and which hold no data.
func (s *Server) serveAside(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Server"] = s.server
	st := s.state.Load()
	err, asks := st.admit(r), isPreflight(r)
	if r.ProtoMajor > 1 {
		lighten(r)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	if asks {
		s.servePreflight(w, r, st)
		return
	}
	if !reads(r.Method) {
		h.Set("Allow", "GET, HEAD")
		writePlain(w, http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	switch r.URL.Path {
	case "/healthz":
		writePlain(w, http.StatusOK, "ok")
	case "/readyz":
		switch err := s.readiness(); {
		case s.draining.Load():
			writePlain(w, http.StatusServiceUnavailable, "draining")
		case err != nil:
			writePlain(w, http.StatusServiceUnavailable, llm.AsError(err).Message)
		default:
			writePlain(w, http.StatusOK, "ok")
		}
	case "/metrics":
		if s.metrics == nil {
			writePlain(w, http.StatusNotFound, "no metrics")
			return
		}
		if err := st.mayReadFigures(r.Header); err != nil {
			refuse(w, err)
			return
		}
		s.endings.wait(endingPatience)
		s.serveMetrics(w, r)
	default:
		s.servePages(w, r)
	}
}

// isPage reports whether a path belongs to Options.Pages.
func isPage(path string) bool {
	rest, ok := strings.CutPrefix(path, "/dashboard")
	return ok && (rest == "" || rest[0] == '/')
}

// reads reports whether a method is GET or HEAD, which is where GET is.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

func (s *Server) readiness() error {
	if s.ready == nil {
		return nil
	}
	return s.ready()
}

func writePlain(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	body := []byte(text + "\n")
	h.Set("Content-Length", strconv.Itoa(len(body))) // it leaves before the handler ends
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// serve takes one request to the chain of handlers.
func (x *exchange) serve() error {
	r := x.r
	if err := x.st.admit(r); err != nil {
		return err
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/v1/"); !ok || rest == "v1" || strings.HasPrefix(rest, "v1/") {
		return x.unknownURL() // a base URL without its /v1, or a client that adds one to it
	}
	if x.s.draining.Load() {
		return errDraining()
	}
	var err error
	if x.tenant, err = x.st.keys.tenant(r.Header); err != nil {
		return err
	}
	x.req.Tenant = x.tenant.name
	if err := x.route(); err != nil {
		return err
	}
	if err := x.readUpgrade(); err != nil {
		return err
	}
	if x.own != nil {
		return x.serveOwn()
	}
	if err := x.mayPassOn(); err != nil {
		return err
	}
	if x.req.Upgrade != "" {
		return x.serveTunnel()
	}
	err = x.readRequest()
	x.record.Receiving = time.Since(x.begun)
	if err != nil {
		return err
	}
	x.startHeartbeat()
	return x.st.handler.Serve(r.Context(), &x.req, x)
}

// route finds the operation.
func (x *exchange) route() error {
	r := x.r
	path := r.URL.Path
	post, get := r.Method == http.MethodPost, reads(r.Method)
	var (
		op    llm.Operation
		allow string
	)
	switch path {
	case "/v1/chat/completions":
		// GET lists stored completions.
		if op, allow = llm.Chat, "GET, HEAD, POST"; get {
			op, post = llm.Passthrough, true
		}
	case "/v1/completions":
		op, allow = llm.Completion, "POST"
	case "/v1/embeddings":
		op, allow = llm.Embedding, "POST"
	case "/v1/responses":
		op, allow = llm.Response, "POST"
	case "/v1/models":
		op, allow, post = llm.ListModels, "GET, HEAD", get
	default:
		return x.routeOther()
	}
	if !post {
		return x.wrongMethod(allow)
	}
	x.req.Op, x.req.Path = op, path
	return nil
}

func (x *exchange) routeOther() error {
	r := x.r
	path := r.URL.Path
	if unclean(path) {
		return x.unknownURL()
	}
	if routes := x.s.ownRoutes(path); routes != nil {
		return x.routeAdmin(routes)
	}
	x.req.Op, x.req.Path = llm.Passthrough, r.URL.EscapedPath()
	if id, ok := strings.CutPrefix(path, "/v1/models/"); ok && id != "" {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			x.req.Op = llm.GetModel
		case http.MethodDelete:
		default:
			return x.wrongMethod("GET, HEAD, DELETE")
		}
		x.req.Model = id
		return nil
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete, http.MethodPut, http.MethodPatch:
		return nil
	default:
		return x.wrongMethod("GET, HEAD, POST, PUT, PATCH, DELETE")
	}
}

// unclean reports whether a decoded path has empty or dot segments, which an
// upstream could resolve to another path than the one that was checked here.
func unclean(path string) bool {
	for path != "" {
		var segment string
		path = path[1:]
		segment, path = path, ""
		if i := strings.IndexByte(segment, '/'); i >= 0 {
			segment, path = segment[:i], segment[i:]
		}
		if segment == "." || segment == ".." || segment == "" && path != "" {
			return true
		}
	}
	return false
}
