package front

import (
	"context"
	"io"
	"strings"

	"sluice/internal/llm"
)

// Route is a request that only administrators may make, such as DELETE /v1/cache.
type Route struct {
	// Method and Path are the request's; GET stands for HEAD too, to which no body
	// is sent. Path is decoded, begins with "/v1/" or "/debug/" and
	// is none that leads to a handler of models. One that ends in "/" stands for
	// every path with one more segment.
	Method, Path string

	// MaxBody bounds the request's body, in bytes. With 0 it is read and thrown
	// away before Handler is asked; else it is the request's BodyReader, whose errors
	// become replies.
	MaxBody int64

	// Handler answers, called from any goroutine. The request's Header has what an
	// upstream would see of it.
	Handler llm.Handler

	// Live says that it answers with an event stream, of which each Send is written at
	// once. It returns soon after its context is done, which is when the client
	// leaves, when the Server drains, and when its configuration changes, as the key
	// may then be nobody's: the client comes again. No drain waits for it.
	Live bool
}

// JSON makes a Handler for a Route of a function that returns the body of a reply
// with status 200.
func JSON(serve func(context.Context, *llm.Request) ([]byte, error)) llm.Handler {
	return llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
		body, err := serve(ctx, req)
		if err != nil {
			return err
		}
		return llm.SendWhole(out, "application/json", body)
	})
}

// maxIgnored bounds a body that nobody wants, in bytes.
const maxIgnored = 64 << 10

func routesByPath(list []Route) map[string][]Route {
	routes := make(map[string][]Route)
	for _, r := range list {
		routes[r.Path] = append(routes[r.Path], r)
	}
	return routes
}

// ownRoutes gives the routes of a path that is clean.
func (s *Server) ownRoutes(path string) []Route {
	name := path[strings.LastIndexByte(path, '/')+1:]
	if name == "" {
		return nil
	}
	if routes, ok := s.routes[path]; ok {
		return routes
	}
	return s.routes[path[:len(path)-len(name)]]
}

// routeAdmin finds the one of a path's routes that has the request's method.
func (in *request) routeAdmin(routes []Route) error {
	// The methods, too, are for those only who may use them.
	if err := in.checkAdmin(); err != nil {
		return err
	}
	var allow []string
	for i := range routes {
		if method := routes[i].Method; method == in.q.Method || method == "GET" && reads(in.q.Method) {
			in.own = &routes[i]
			in.s.asking.Add(1)
			return nil
		}
		if allow = append(allow, routes[i].Method); routes[i].Method == "GET" {
			allow = append(allow, "HEAD")
		}
	}
	return in.wrongMethod(strings.Join(allow, ", "))
}

// checkAdmin lets administrators pass. With no key configured that is who runs
// programs on this machine, even where --insecure has others served too.
func (in *request) checkAdmin() error {
	const code = "admin_key_required"
	switch {
	case in.tenant.admin:
		return nil
	case len(in.st.keys.sums) > 0:
		return llm.Errorf(403, code, "%s %s takes the key of an administrator, which that of %q is not. "+
			"A key becomes one with admin: true beside its hash, under server.api_keys.", in.q.Method, in.q.EscapedPath(), in.req.Tenant)
	case senderOf(in.q) != ownMachine: // who is served for --insecure
		return llm.Errorf(403, code, "%s %s is for administrators. With no API key configured it is answered only to programs on the gateway's own machine "+
			"that ask for localhost. For others configure a key with admin: true under server.api_keys (sluice key hash).", in.q.Method, in.q.EscapedPath())
	}
	return nil
}

// serveOwn answers with the route that was found.
func (x *exchange) serveOwn() error {
	in := &x.in
	in.forwardHeader()
	in.req.Method, in.req.Path, in.req.RawQuery = x.q.Method, x.q.EscapedPath(), x.q.RawQuery
	in.body.open(in.given)
	if in.body.limit = in.own.MaxBody; in.own.MaxBody > 0 {
		in.req.BodyReader, in.req.BodyLen = &in.body, x.q.Length
	} else {
		in.body.limit = maxIgnored
		if _, err := io.Copy(io.Discard, &in.body); err != nil {
			return err
		}
	}
	if reads(x.q.Method) {
		x.s.endings.wait() // what it tells of may just have ended
	}
	switch {
	case !in.own.Live:
		return in.own.Handler.Serve(x.e.Context(), &in.req, &x.out)
	case x.q.Method == "HEAD":
		x.out.startLive()
		return nil
	default:
		return x.serveLive()
	}
}
