package otlp

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Connection says how a signal reaches its collector.
type Connection struct {
	Endpoint string // a URL for HTTP, for gRPC a target
	Insecure bool   // without TLS, which gRPC's target does not say
	Header   map[string]string
	Timeout  time.Duration // of one try; 0 for none
	Gzip     bool

	// Files, "" for none: authorities, and what the client shows.
	Certificate, ClientCertificate, ClientKey string
}

// Where signals go that have no endpoint, as the specification has it, but over TLS.
const (
	defaultHTTP = "https://localhost:4318"
	defaultGRPC = "localhost:4317"
)

const defaultTimeout = 10 * time.Second // of one try

// setting is a variable for one signal or, where that is not set, for both.
func (e *environment) setting(kind, what string) (name, value string) {
	name = "OTEL_EXPORTER_OTLP_" + kind + "_" + what
	if value = e.text(name); value == "" {
		name = "OTEL_EXPORTER_OTLP_" + what
		value = e.text(name)
	}
	return name, value
}

// connection reads what is set for the connection of TRACES or METRICS.
func (e *environment) connection(kind string, p Protocol) (Connection, error) {
	c := Connection{Timeout: defaultTimeout}
	if err := e.endpoint(kind, p, &c); err != nil {
		return c, err
	}
	if name, v := e.setting(kind, "HEADERS"); v != "" {
		c.Header = e.header(name, v)
	}
	switch name, v := e.setting(kind, "COMPRESSION"); v {
	case "", "none":
	case "gzip":
		c.Gzip = true
	default:
		e.warn(name, fmt.Sprintf("%q is not supported: gzip and none are", v))
	}
	if name, v := e.setting(kind, "TIMEOUT"); v != "" {
		if ms, err := strconv.ParseInt(v, 10, 32); err != nil || ms < 0 {
			e.warn(name, fmt.Sprintf("%q is not a number of milliseconds; %d is used", v, defaultTimeout.Milliseconds()))
		} else {
			c.Timeout = time.Duration(ms) * time.Millisecond
		}
	}
	_, c.Certificate = e.setting(kind, "CERTIFICATE")
	for _, of := range []string{"OTEL_EXPORTER_OTLP_" + kind, "OTEL_EXPORTER_OTLP"} {
		cert, key := e.text(of+"_CLIENT_CERTIFICATE"), e.text(of+"_CLIENT_KEY")
		if cert != "" && key != "" {
			c.ClientCertificate, c.ClientKey = cert, key
			break
		}
	}
	return c, nil
}

// endpoint reads where to. An endpoint of one signal is a whole URL, that of both is
// one to which signals add their paths.
func (e *environment) endpoint(kind string, p Protocol, c *Connection) error {
	name, text := e.setting(kind, "ENDPOINT")
	add := "/v1/" + strings.ToLower(kind)
	switch {
	case text == "" && p == GRPC:
		text = defaultGRPC
	case text == "":
		text = defaultHTTP
	case name == "OTEL_EXPORTER_OTLP_"+kind+"_ENDPOINT":
		add = ""
	}
	u, err := url.Parse(text)
	if err != nil || p == HTTP && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("%s: %q is not a URL such as http://127.0.0.1:4318", name, text)
	}
	scheme := strings.ToLower(u.Scheme)
	c.Insecure = scheme == "http" || scheme == "unix" || scheme == "unix-abstract"
	if _, v := e.setting(kind, "INSECURE"); v != "" {
		c.Insecure = strings.EqualFold(v, "true")
	}
	if p == GRPC {
		c.Endpoint = text
		if scheme == "http" || scheme == "https" {
			c.Endpoint = u.Host
		}
		return nil
	}
	to := url.URL{Scheme: "https", Host: u.Host, Path: path.Join("/", u.Path, add)}
	if add == "" {
		to.Path = "/" + strings.TrimPrefix(u.Path, "/")
	}
	if c.Insecure {
		to.Scheme = "http"
	}
	c.Endpoint = to.String()
	return nil
}

// header reads "name=value,name=value", whose values are percent-encoded.
func (e *environment) header(name, text string) map[string]string {
	header := make(map[string]string)
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		value, err := url.PathUnescape(value)
		value = strings.TrimSpace(value)
		if !ok || err != nil || !httpguts.ValidHeaderFieldName(key) || !httpguts.ValidHeaderFieldValue(value) {
			// Its value may be a secret.
			e.warn(name, fmt.Sprintf("the field that begins with %.20q is not name=value, and is left out", key))
			continue
		}
		header[key] = value
	}
	return header
}
