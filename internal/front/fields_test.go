package front

import (
	"context"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// TestSiteFieldsStayBehind: whatever a handler's head holds, which may have been
// stored long ago, a client gets nothing that speaks for another site, in no kind
// of reply.
func TestSiteFieldsStayBehind(t *testing.T) {
	theirs := []llm.Field{
		{Name: "Access-Control-Allow-Origin", Value: "*"}, {Name: "Access-Control-Allow-Credentials", Value: "true"}, {Name: "Www-Authenticate", Value: "Basic realm=x"},
		{Name: "Refresh", Value: "0;url=http://evil.example"}, {Name: "Location", Value: "http://evil.example"}, {Name: "Content-Security-Policy", Value: "default-src *"},
		{Name: "Set-Cookie", Value: "a=b"}, {Name: "Set-Cookie2", Value: "a=b"}, {Name: "Service-Worker-Allowed", Value: "/"}, {Name: "Link", Value: "<http://evil.example/x.css>; rel=stylesheet"},
		{Name: "Cross-Origin-Resource-Policy", Value: "cross-origin"}, {Name: "Timing-Allow-Origin", Value: "*"}, {Name: "X-Accel-Redirect", Value: "/secret"}, {Name: "Authorization", Value: "Bearer x"},
		{Name: "Sourcemap", Value: "x"}, {Name: "X-Sluice-Anything", Value: "x"},
	}
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		head := llm.Head{Status: 200, Kind: llm.Unary, Length: 2, Header: append([]llm.Field{{Name: "Content-Type", Value: "application/json"}, {Name: "X-Theirs", Value: "1"}}, theirs...)}
		switch {
		case req.Stream:
			head.Kind, head.Length = llm.EventStream, -1
		case req.Op == llm.Passthrough:
			head.Kind = llm.Pieces
		case req.Model == "fail":
			return &llm.Error{Status: 401, Upstream: "up", Reply: &llm.ErrorReply{Body: []byte(`{}`), Header: head.Header}}
		}
		if err := out.Start(&head); err != nil {
			return err
		}
		return out.Send(events("{}"))
	})
	client := h1(t, s)
	for _, c := range [][2]string{{chatPath, chatBody}, {chatPath, streamBody}, {"/v1/files", "{}"}, {chatPath, `{"model":"fail"}`}} {
		resp, _ := do(t, client, newRequest(t, t.Context(), "POST", s.url(c[0]), c[1]))
		if resp.Header.Get("X-Theirs") != "1" {
			t.Errorf("%s %s: %d %v", c[0], c[1], resp.StatusCode, resp.Header)
		}
		for _, f := range theirs {
			if got := strings.Join(resp.Header.Values(f.Name), "|"); got != "" {
				t.Errorf("%s %s: %s: %s", c[0], c[1], f.Name, got)
			}
		}
	}
}
