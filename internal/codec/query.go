package codec

import (
	"net/url"
	"strconv"
	"strings"
)

// parseQuery reads what a query says of the message in the body.
func (a *ask) parseQuery(raw string) error {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		text, err := url.QueryUnescape(value)
		if err != nil {
			return errParam("invalid_parameter", key, "The query's %s=%s is not escaped as it should be.", key, value)
		}
		if err := a.set(key, text); err != nil {
			return err
		}
	}
	return nil
}

func (a *ask) set(key, value string) error {
	switch key {
	case "type":
		a.typeName = value
	case "schema":
		a.schema = value
	case "encoding":
		if value != Base64 && value != Hex {
			return errParam("invalid_parameter", key, "The query's encoding is %s or %s.", Base64, Hex)
		}
		a.encoding = value
	case "envelope":
		on, err := flag(key, value)
		if err != nil {
			return err
		}
		if a.wrap = no; on {
			a.wrap = yes
		}
	default:
		at := option(&a.options, key)
		if at == nil {
			return errParam("unknown_parameter", printable([]byte(key)), "The query's %q is none of type, schema, envelope, encoding, use_proto_names, emit_unpopulated, use_enum_numbers, discard_unknown.", printable([]byte(key)))
		}
		on, err := flag(key, value)
		if err != nil {
			return err
		}
		*at = on
	}
	return nil
}

// flag reads true and false, 1 and 0; nothing is true.
func flag(key, value string) (bool, error) {
	switch value {
	case "", "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	default:
		return false, errParam("invalid_parameter", key, "The query's %s is neither true nor false.", key)
	}
}

// kind is what a body is or a client would like.
type kind uint8

const (
	anyKind kind = iota
	wireKind
	jsonKind
	eventKind
	otherKind
)

// kindOf reads one media type, parameters and all.
func kindOf(mediaType string) kind {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	mediaType = strings.TrimSpace(mediaType)
	switch {
	case mediaType == "", mediaType == "*/*", mediaType == "application/*":
		return anyKind
	case strings.EqualFold(mediaType, "application/x-protobuf"), strings.EqualFold(mediaType, "application/protobuf"),
		strings.EqualFold(mediaType, "application/vnd.google.protobuf"), strings.EqualFold(mediaType, "application/octet-stream"):
		return wireKind
	case strings.EqualFold(mediaType, "application/json"):
		return jsonKind
	case strings.EqualFold(mediaType, "text/event-stream"):
		return eventKind
	default:
		return otherKind
	}
}

// preferred is what an Accept field (RFC 9110, section 12.5.1) likes best, the
// first of those that it likes the same: wireKind, jsonKind, or anyKind when neither
// is named.
func preferred(accept string) kind {
	best, most := anyKind, 0.0
	for accept != "" {
		var part string
		part, accept, _ = strings.Cut(accept, ",")
		k := kindOf(part)
		if q := quality(part); k != otherKind && k != eventKind && q > most {
			best, most = k, q
		}
	}
	return best
}

// quality is the weight of one range of an Accept field.
func quality(part string) float64 {
	_, params, _ := strings.Cut(part, ";")
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		if name, value, _ := strings.Cut(strings.TrimSpace(p), "="); name == "q" || name == "Q" {
			if q, err := strconv.ParseFloat(value, 64); err == nil {
				return q
			}
		}
	}
	return 1
}
