package upstream

import (
	"slices"

	"golang.org/x/net/http/httpguts"

	"sluice/internal/llm"
)

// appendRequestHeader appends the fields of a call as they go out. hop is the gateway's name
// among those whom a request has passed, empty for none.
func appendRequestHeader(dst []llm.Field, call *Call, hop string) []llm.Field {
	options := llm.ConnectionOptions(call.Header)
	for _, f := range call.Header {
		if !llm.OfTransport(f.Name) && !llm.ForProxy(f.Name) && !llm.Nominates(options, f.Name) {
			dst = append(dst, f)
		}
	}
	if hop != "" {
		dst = append(dst, llm.Field{Name: llm.LoopField, Value: hop})
	}
	return append(dst, llm.Field{Name: "Accept-Encoding", Value: acceptEncoding(call)})
}

func acceptEncoding(call *Call) string {
	if call.Stream {
		return "identity"
	}
	return "gzip, deflate, br, zstd"
}

// trailerFields removes, in place, the trailer fields that mean nothing or harm
// behind a body: about its framing, its coding, its routing or who may see it
// (RFC 9110 section 6.5.1).
func trailerFields(trailer []llm.Field) []llm.Field {
	return slices.DeleteFunc(trailer, func(f llm.Field) bool {
		return llm.OfTransport(f.Name) || llm.ForProxy(f.Name) || f.Name == "Set-Cookie" || !httpguts.ValidTrailerHeader(f.Name)
	})
}

// replyHeader appends to kept, which is empty, the fields of a reply that may be
// passed on, and returns apart how the body is coded.
func replyHeader(kept, header []llm.Field) (_ []llm.Field, coding string) {
	options := llm.ConnectionOptions(header)
	kept = slices.Grow(kept, len(header))
	for _, f := range header {
		switch {
		case f.Name == "Content-Encoding" && coding == "":
			coding = f.Value
		case f.Name == "Content-Encoding":
			coding += "," + f.Value
		case f.Name == "Content-Length": // of the body as it came: it may be decoded
		case !llm.HopByHop(f.Name) && !llm.ForProxy(f.Name) && !llm.Nominates(options, f.Name):
			kept = append(kept, f)
		}
	}
	return kept, coding
}
