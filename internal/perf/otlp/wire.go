package otlp

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of opentelemetry-proto 1.x, which do not change: trace.proto
// (ScopeSpans, Span, Status) and common.proto (KeyValue, AnyValue).
const (
	scopeSpansSpans = 2

	spanTraceID    = 1
	spanSpanID     = 2
	spanParent     = 4
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanStatus     = 15
	spanFlags      = 16

	statusCode = 3

	keyValueKey   = 1
	keyValueValue = 2

	anyString = 1
	anyBool   = 2
	anyInt    = 3
	anyDouble = 4
)

// Values of trace.proto's enumerations.
const (
	kindServer = 2
	kindClient = 3
	codeError  = 2

	// The trace flags of W3C Trace Context, and above them whether the parent is
	// another process's.
	flagSampled, flagKnowsRemote, flagRemote = 0x1, 0x100, 0x200
)

const (
	// maxText bounds attributes that clients have a say in, in bytes.
	maxText = 256
	// maxSpan bounds a span, in bytes. Its length fits in two bytes as a varint.
	maxSpan = 6 << 10
)

// beginSpan appends a span's tag and leaves room for its length.
func beginSpan(b []byte) (out []byte, start int) {
	b = protowire.AppendTag(b, scopeSpansSpans, protowire.BytesType)
	b = append(b, 0, 0)
	return b, len(b)
}

// endSpan writes the length of a span that began at start. It takes two bytes,
// which no span is too short or too long for.
func endSpan(b []byte, start int) []byte {
	n := len(b) - start
	b[start-2], b[start-1] = byte(n)|0x80, byte(n>>7)
	return b
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), uint64(t.UnixNano()))
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

// appendKey appends an attribute up to its value, which takes size bytes as an
// AnyValue.
func appendKey(b []byte, key string, size int) []byte {
	b = protowire.AppendTag(b, spanAttributes, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(1+protowire.SizeBytes(len(key))+1+protowire.SizeBytes(size)))
	b = protowire.AppendTag(b, keyValueKey, protowire.BytesType)
	b = protowire.AppendString(b, key)
	b = protowire.AppendTag(b, keyValueValue, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size))
}

// appendText appends an attribute unless its value is empty.
func appendText(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	value = text(value)
	b = appendKey(b, key, 1+protowire.SizeBytes(len(value)))
	b = protowire.AppendTag(b, anyString, protowire.BytesType)
	return protowire.AppendString(b, value)
}

func appendInt(b []byte, key string, value int64) []byte {
	b = appendKey(b, key, 1+protowire.SizeVarint(uint64(value)))
	return appendVarint(b, anyInt, uint64(value))
}

func appendTrue(b []byte, key string) []byte {
	return appendVarint(appendKey(b, key, 2), anyBool, 1)
}

// appendSeconds appends a duration in seconds.
func appendSeconds(b []byte, key string, d time.Duration) []byte {
	b = appendKey(b, key, 9)
	b = protowire.AppendTag(b, anyDouble, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(d.Seconds()))
}

// text makes a value fit for a span: it is short, and UTF-8 as the field has to
// be, or a collector would refuse the whole batch.
func text(s string) string {
	if len(s) > maxText {
		n := maxText
		for n > maxText-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?") // at most as long
	}
	return s
}
