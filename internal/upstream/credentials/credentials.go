package credentials

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"sluice/internal/llm"
)

// Validate reports every fault of the keys api_key and headers of an upstream's entry,
// each as "key: what is wrong".
func Validate(key llm.Secret, headers map[string]string) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !visible(key.Reveal()) {
		fault("api_key: it holds a space, a line end or another character that a key cannot have")
	}
	seen := make(map[string]string, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		canonical := Canonical(name)
		switch {
		case !token(name):
			fault("headers: %q is not a header name", name)
		case seen[canonical] != "":
			fault("headers: %s and %s are the same header", seen[canonical], name)
		case llm.OfTransport(canonical):
			fault("headers: %s is set by the transport and cannot be configured", name)
		case canonical == "Authorization" && !key.IsZero():
			fault("headers: %s and api_key set the same header; give one of them", name)
		case !fieldValue(headers[name]):
			fault("headers: the value of %s holds a control character", name)
		}
		seen[canonical] = name
	}
	return errors.Join(faults...)
}

// ValidateIn is Validate for services that take the key in a header field of their own.
func ValidateIn(field string, key llm.Secret, headers map[string]string) error {
	faults := []error{Validate(key, headers)}
	for name := range headers {
		if Canonical(name) == field && !key.IsZero() {
			faults = append(faults, fmt.Errorf("headers: %s and api_key set the same header; give one of them", name))
		}
	}
	return errors.Join(faults...)
}

// In are the headers with the key in a field of its own.
func In(field string, key llm.Secret, headers map[string]string) map[string]string {
	if key.IsZero() {
		return headers
	}
	with := make(map[string]string, len(headers)+1)
	maps.Copy(with, headers)
	with[field] = key.Reveal()
	return with
}

// Fields are the header fields of each request, in the order of their names, and the key
// as "Authorization: Bearer".
func Fields(key llm.Secret, headers map[string]string) (header []llm.Field) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		header = append(header, llm.Field{Name: Canonical(name), Value: headers[name]})
	}
	if !key.IsZero() {
		header = append(header, llm.Field{Name: "Authorization", Value: "Bearer " + key.Reveal()})
	}
	return header
}

// Of collects what no client may see: the key, the fields that are likely to hold one,
// and those parameters of base, which may be nil.
func Of(key llm.Secret, headers map[string]string, base *url.URL) *Secrets {
	all := []string{key.Reveal()}
	for name, value := range headers {
		if !confidential(name) {
			continue
		}
		all = append(all, value)
		scheme, credentials, isScheme := strings.Cut(value, " ")
		if !isScheme {
			continue
		}
		all = append(all, credentials)
		if plain, err := base64.StdEncoding.DecodeString(credentials); err == nil && strings.EqualFold(scheme, "basic") {
			_, password, _ := strings.Cut(string(plain), ":")
			all = append(all, string(plain), password)
		}
	}
	if base != nil {
		for name, values := range base.Query() {
			if confidential(name) {
				all = append(all, values...)
			}
		}
	}
	return newSecrets(all)
}

// Canonical gives a header name in the form of llm.Field.
func Canonical(name string) string {
	b := []byte(name)
	upper := true
	for i, c := range b {
		switch {
		case upper && 'a' <= c && c <= 'z':
			b[i] = c - 'a' + 'A'
		case !upper && 'A' <= c && c <= 'Z':
			b[i] = c - 'A' + 'a'
		}
		upper = c == '-'
	}
	return string(b)
}

// token reports whether s is a header name (RFC 9110 section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// fieldValue reports whether s can be a header's value (RFC 9110 section 5.5).
func fieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}
