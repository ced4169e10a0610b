package front

import (
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
)

const webSocket = "websocket"

// readUpgrade looks whether the client asks for another protocol. WebSocket is
// the one that is tunnelled. Whoever offers HTTP/2 or TLS goes on in HTTP/1.1
// where that is passed over (RFC 9110 section 7.8), and so it is: a tunnel for it
// would lead past every check. Who asks for anything else is told.
func (in *request) readUpgrade() error {
	q := in.q
	values := q.Header.Values("Upgrade")
	if len(values) == 0 || q.Major != 1 || q.Minor == 0 {
		return nil
	}
	asked := httpguts.HeaderValuesContainsToken(q.Header.Values("Connection"), "upgrade")
	switch protocol := wanted(values); {
	case protocol == "":
		return nil
	case protocol != webSocket:
		if !asked {
			return nil
		}
		return llm.Errorf(501, "upgrade_not_supported", "The gateway does not go over to the protocol %q. It tunnels WebSocket alone.", clip(protocol, 64))
	case !asked:
		return llm.Errorf(400, "invalid_upgrade", "The request has Upgrade: websocket but not Connection: Upgrade. A proxy on the way may have dropped it.")
	case in.own != nil || in.req.Op != llm.Passthrough || strings.HasPrefix(in.req.Path, codecPaths):
		return llm.Errorf(400, "upgrade_not_supported", "There is no WebSocket at %s.", q.EscapedPath())
	case q.Method != "GET" || q.Length != 0:
		return llm.Errorf(400, "invalid_upgrade", "A WebSocket is asked for with GET and without a body.")
	}
	in.req.Upgrade = webSocket
	query, _ := url.ParseQuery(q.RawQuery) // what of it can be read
	models := query["model"]
	if len(models) > 1 {
		return errParam("duplicate_parameter", "model", "\"model\" is given twice.")
	}
	if len(models) == 1 {
		in.req.Model = models[0]
	}
	return nil
}

// wanted gives the protocol of an Upgrade that is to be answered: websocket, or
// else the first that is no version of HTTP or TLS; "" for none.
func wanted(values []string) (other string) {
	for _, value := range values {
		for protocol := range strings.SplitSeq(value, ",") {
			protocol = strings.ToLower(strings.Trim(protocol, " \t"))
			name, _, _ := strings.Cut(protocol, "/")
			switch name {
			case webSocket:
				return webSocket
			case "", "h2c", "h2", "http", "tls":
			default:
				if other == "" {
					other = protocol
				}
			}
		}
	}
	return other
}

// The subprotocols with which a browser, which can send no other header, says
// whose its WebSocket is.
const (
	keyProtocol     = "openai-insecure-api-key."
	accountProtocol = "openai-organization."
	projectProtocol = "openai-project."
)

// protocolKey gives the key among a WebSocket's subprotocols, "" for none.
func protocolKey(h engine.Header) string {
	if len(h.Values("Upgrade")) == 0 {
		return ""
	}
	for _, value := range h.Values("Sec-Websocket-Protocol") {
		for protocol := range strings.SplitSeq(value, ",") {
			if key, ok := strings.CutPrefix(strings.Trim(protocol, " \t"), keyProtocol); ok {
				return key
			}
		}
	}
	return ""
}

// forwardUpgrade copies the fields of a WebSocket's handshake, which is between
// the client and the upstream, but for what says whose the client is: the
// upstream gets its own key, and the account is that key's.
func (in *request) forwardUpgrade() {
	h := in.q.Header
	in.forwardField(h, "Sec-Websocket-Key")
	in.forwardField(h, "Sec-Websocket-Version")
	in.forwardField(h, "Sec-Websocket-Extensions")
	var kept []string
	for _, value := range h.Values("Sec-Websocket-Protocol") {
		for protocol := range strings.SplitSeq(value, ",") {
			protocol = strings.Trim(protocol, " \t")
			lower := strings.ToLower(protocol)
			if !strings.HasPrefix(lower, keyProtocol) && !strings.HasPrefix(lower, accountProtocol) && !strings.HasPrefix(lower, projectProtocol) {
				kept = append(kept, protocol)
			}
		}
	}
	if len(kept) > 0 {
		in.req.Header = append(in.req.Header, llm.Field{Name: "Sec-Websocket-Protocol", Value: strings.Join(kept, ", ")})
	}
}
