package upstream

import (
	"strings"

	"sluice/internal/llm"
)

// endToEnd reports whether a field may be passed on (RFC 9110 section 7.6.1).
// The fields about a body's framing may not either: bodies are framed anew.
// name is in canonical form.
func endToEnd(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info", "Http2-Settings",
		"Content-Length":
		return false
	}
	return true
}

// requestOnly reports whether a request field is set here and nowhere else.
func requestOnly(name string) bool {
	return name == "Host" || name == "Accept-Encoding" || name == "Expect"
}

// connectionOptions returns the value of the Connection fields: names of
// further fields that concern only the one connection.
func connectionOptions(header []llm.Field) string {
	options := ""
	for i := range header {
		if header[i].Name == "Connection" {
			options += "," + header[i].Value
		}
	}
	return options
}

// nominates reports whether connection options name a field.
func nominates(options, name string) bool {
	if options == "" {
		return false
	}
	for option := range strings.SplitSeq(options, ",") {
		if strings.EqualFold(strings.Trim(option, " \t"), name) {
			return true
		}
	}
	return false
}

// appendRequestHeader appends the fields of a call as they go out.
func appendRequestHeader(dst []llm.Field, call *Call) []llm.Field {
	options := connectionOptions(call.Header)
	for _, f := range call.Header {
		if endToEnd(f.Name) && !requestOnly(f.Name) && !nominates(options, f.Name) {
			dst = append(dst, f)
		}
	}
	return append(dst, llm.Field{Name: "Accept-Encoding", Value: acceptEncoding(call)})
}

func acceptEncoding(call *Call) string {
	if call.Stream {
		return "identity"
	}
	return "gzip, deflate, br, zstd"
}

// replyHeader copies the fields of a reply that may be passed on, and returns
// apart how the body is coded.
func replyHeader(header []llm.Field) (kept []llm.Field, coding string) {
	options := connectionOptions(header)
	kept = make([]llm.Field, 0, len(header))
	for _, f := range header {
		switch {
		case f.Name == "Content-Encoding" && coding == "":
			coding = f.Value
		case f.Name == "Content-Encoding":
			coding += "," + f.Value
		case endToEnd(f.Name) && !nominates(options, f.Name):
			kept = append(kept, f)
		}
	}
	return kept, coding
}
