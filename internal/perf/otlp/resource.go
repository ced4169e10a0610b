package otlp

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
)

const (
	// SchemaURL is the version of the semantic conventions that names of spans,
	// metrics and the resource are of: the last one with GenAI in it, which has
	// moved out since.
	SchemaURL = "https://opentelemetry.io/schemas/1.41.0"

	// scope is the instrumentation scope of all that is sent.
	scope = "sluice"
)

// resource reads what the environment says of this process, which wins over what is
// found out.
func (e *environment) resource() map[string]string {
	attributes := make(map[string]string)
	const name = "OTEL_RESOURCE_ATTRIBUTES"
	if text := e.text(name); text != "" {
		for pair := range strings.SplitSeq(text, ",") {
			key, value, ok := strings.Cut(pair, "=")
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if !ok || key == "" {
				e.warn(name, fmt.Sprintf("%.100q is not name=value, and is left out", pair))
				continue
			}
			if plain, err := url.PathUnescape(value); err == nil {
				value = plain
			}
			attributes[key] = value
		}
	}
	if service := e.text("OTEL_SERVICE_NAME"); service != "" {
		attributes["service.name"] = service
	}
	return attributes
}

// describe says what sends, as a Resource: this process, and what the environment
// says. The instance's id is random, so that the counters of several gateways are
// not taken for one's. With an error the resource has what could be found.
func describe(version string, environment map[string]string) ([]byte, error) {
	attributes := map[string]string{"service.name": "sluice", "service.version": version, "service.instance.id": instanceID()}
	host, err := os.Hostname()
	if err == nil {
		attributes["host.name"] = host
	}
	maps.Copy(attributes, environment)
	var b []byte
	if _, ok := attributes["process.pid"]; !ok {
		pid := appendVarint(nil, anyInt, uint64(os.Getpid()))
		b = appendBytes(b, resourceAttributes, appendKeyValue(nil, "process.pid", pid))
	}
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		b = appendStringAttribute(b, resourceAttributes, strings.ToValidUTF8(key, "\ufffd"), strings.ToValidUTF8(attributes[key], "\ufffd"))
	}
	return b, err
}

// instanceID makes a random UUID (RFC 9562 section 5.4).
func instanceID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // does not fail
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// envelope makes the request that carries spans or metrics, each as field 2 of a
// ScopeSpans or ScopeMetrics: these and the messages around them have the same
// fields.
func envelope(resource []byte, version string, content []byte) []byte {
	who := appendString(nil, scopeName, scope)
	if version != "" {
		who = appendString(who, scopeVersion, version)
	}
	scoped := appendBytes(nil, scopedScope, who)
	scoped = append(scoped, content...)
	scoped = appendString(scoped, scopedSchema, SchemaURL)
	of := appendBytes(nil, resourceOf, resource)
	of = appendBytes(of, resourceScoped, scoped)
	of = appendString(of, resourceSchema, SchemaURL)
	return appendBytes(nil, requestResource, of)
}
