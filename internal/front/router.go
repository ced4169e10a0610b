package front

import (
	"strings"
	"time"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
)

// isPage reports whether a path belongs to Options.Pages.
func isPage(path string) bool {
	rest, ok := strings.CutPrefix(path, "/dashboard")
	return ok && (rest == "" || rest[0] == '/')
}

// isDebug reports whether a path is of one of the routes that are not below /v1/.
func (s *Server) isDebug(path string) bool {
	return strings.HasPrefix(path, "/debug/") && !unclean(path) && s.ownRoutes(path) != nil
}

// reads reports whether a method is GET or HEAD, which is where GET is.
func reads(method string) bool { return method == "GET" || method == "HEAD" }

// serve takes one request to the chain of handlers. What it has on the stack is there as long
// as a stream is.
func (x *exchange) serve() error {
	switch err := x.prepare(); {
	case err != nil:
		return err
	case x.in.own != nil:
		return x.serveOwn()
	case x.in.req.Upgrade != "":
		return x.serveTunnel()
	}
	return x.st.handler.Serve(x.e.Context(), &x.in.req, &x.out)
}

// prepare reads a request and finds out who answers it.
func (x *exchange) prepare() error {
	in := &x.in
	in.takeKey()
	in.readForm()
	if err := checkHops(x.q.Header.Values(llm.LoopField), x.s.hop); err != nil {
		return err
	}
	if err := x.st.admit(x.q); err != nil {
		return err
	}
	if rest, ok := strings.CutPrefix(x.q.Path, "/v1/"); (!ok || rest == "v1" || strings.HasPrefix(rest, "v1/")) && !x.s.isDebug(x.q.Path) && !in.isGemini() {
		return in.unknownURL() // a base URL without its /v1, or a client that adds one to it
	}
	if x.s.draining.Load() {
		return errDraining()
	}
	var err error
	if in.tenant, err = x.st.keys.tenant(x.q.Header, in.key); err != nil {
		return err
	}
	in.req.Tenant, in.req.Meter = in.tenant.name, in.tenant.meter
	if err := in.route(); err != nil {
		return err
	}
	if err := in.readUpgrade(); err != nil {
		return err
	}
	if in.own != nil {
		return nil
	}
	if err := in.mayPassOn(); err != nil {
		return err
	}
	if err := in.readWishes(); err != nil {
		return err
	}
	if err := in.begin(); err != nil {
		return err
	}
	if in.req.Upgrade != "" {
		return nil
	}
	err = in.readRequest()
	x.rec.Receiving = time.Since(x.begun)
	if err != nil {
		return err
	}
	x.out.startHeartbeat()
	return nil
}

// route finds the operation.
func (in *request) route() error {
	path := in.q.Path
	op, lists := known.At(path)
	fits, allow := in.q.Method == "POST", "POST"
	switch {
	case path == llm.ListModels.Route():
		op, fits, allow = llm.ListModels, reads(in.q.Method), "GET, HEAD"
	case op == llm.Passthrough:
		return in.routeOther()
	case lists:
		if allow = "GET, HEAD, POST"; reads(in.q.Method) {
			op, fits = llm.Passthrough, true
		}
	}
	if !fits {
		return in.wrongMethod(allow)
	}
	in.req.Op, in.req.Path = op, path
	return nil
}

func (in *request) routeOther() error {
	path := in.q.Path
	if unclean(path) {
		return in.unknownURL()
	}
	if in.isGemini() {
		return in.routeGemini()
	}
	if routes := in.s.ownRoutes(path); routes != nil {
		return in.routeAdmin(routes)
	}
	in.req.Op, in.req.Path = llm.Passthrough, in.q.EscapedPath()
	if id, ok := strings.CutPrefix(path, "/v1/models/"); ok && id != "" {
		switch in.q.Method {
		case "GET", "HEAD":
			in.req.Op = llm.GetModel
		case "DELETE":
		default:
			return in.wrongMethod("GET, HEAD, DELETE")
		}
		in.req.Model = id
		return nil
	}
	switch in.q.Method {
	case "GET", "HEAD", "POST", "DELETE", "PUT", "PATCH":
		return nil
	default:
		return in.wrongMethod("GET, HEAD, POST, PUT, PATCH, DELETE")
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
