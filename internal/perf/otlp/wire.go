package otlp

import (
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"sluice/internal/perf"
)

// Field numbers of opentelemetry-proto 1.x, which do not change: what requests, and
// the messages for resources and scopes in them, have alike for traces and metrics;
// trace.proto (Span, Status), metrics.proto and common.proto (KeyValue, AnyValue).
const (
	requestResource    = 1
	resourceOf         = 1
	resourceScoped     = 2
	resourceSchema     = 3
	resourceAttributes = 1
	scopedScope        = 1
	scopedContent      = 2
	scopedSchema       = 3
	scopeName          = 1
	scopeVersion       = 2

	metricName        = 1
	metricDescription = 2
	metricUnit        = 3
	metricGauge       = 5
	metricSum         = 7
	metricHistogram   = 10 // exponential

	dataPoints      = 1
	dataTemporality = 2
	sumMonotonic    = 3

	pointStart       = 2
	pointTime        = 3
	numberDouble     = 4
	numberAttributes = 7

	histogramAttributes    = 1
	histogramCount         = 4
	histogramSum           = 5
	histogramScale         = 6
	histogramZeroCount     = 7
	histogramPositive      = 8
	histogramExemplars     = 11
	histogramZeroThreshold = 14
	bucketsOffset          = 1
	bucketsCounts          = 2

	exemplarTime    = 2
	exemplarDouble  = 3
	exemplarTraceID = 5

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

// The tags of attributes, which are one byte each: field number and type.
const (
	attributeTag = spanAttributes<<3 | byte(protowire.BytesType)
	keyTag       = keyValueKey<<3 | byte(protowire.BytesType)
	valueTag     = keyValueValue<<3 | byte(protowire.BytesType)
	stringTag    = anyString<<3 | byte(protowire.BytesType)
	boolTag      = anyBool<<3 | byte(protowire.VarintType)
	intTag       = anyInt<<3 | byte(protowire.VarintType)
	doubleTag    = anyDouble<<3 | byte(protowire.Fixed64Type)
)

// Values of the enumerations of trace.proto and metrics.proto.
const (
	cumulative = 2

	kindServer = 2
	kindClient = 3
	codeError  = 2

	// The trace flags of W3C Trace Context, and above them whether the parent is
	// another process's.
	flagSampled, flagKnowsRemote, flagRemote = 0x1, 0x100, 0x200
)

// maxSpan bounds a span, in bytes. Its length fits in two bytes as a varint.
const maxSpan = 6 << 10

// beginSpan appends a span's tag and leaves room for its length.
func beginSpan(b []byte) (out []byte, start int) {
	b = protowire.AppendTag(b, scopedContent, protowire.BytesType)
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

func appendString(b []byte, field protowire.Number, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendFixed(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), v)
}

func appendDouble(b []byte, field protowire.Number, v float64) []byte {
	return appendFixed(b, field, math.Float64bits(v))
}

func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	return appendFixed(b, field, uint64(t.UnixNano()))
}

// appendKeyValue appends a KeyValue's fields, its value being an AnyValue's.
func appendKeyValue(b []byte, key string, value []byte) []byte {
	return appendBytes(appendString(b, keyValueKey, key), keyValueValue, value)
}

// appendStringAttribute appends a KeyValue as a field of that number.
func appendStringAttribute(b []byte, field protowire.Number, key, value string) []byte {
	return appendBytes(b, field, appendKeyValue(nil, key, appendString(nil, anyString, value)))
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

// appendKey appends an attribute up to its value, which takes size bytes as an
// AnyValue. Keys are shorter than 100 bytes; most attributes are in all.
func appendKey(b []byte, key string, size int) []byte {
	total := 1 + 1 + len(key) + 1 + protowire.SizeBytes(size)
	if total < 0x80 {
		b = append(b, attributeTag, byte(total), keyTag, byte(len(key)))
		b = append(b, key...)
		return append(b, valueTag, byte(size))
	}
	b = protowire.AppendVarint(append(b, attributeTag), uint64(total))
	b = append(append(b, keyTag, byte(len(key))), key...)
	return protowire.AppendVarint(append(b, valueTag), uint64(size))
}

// appendText appends an attribute unless its value is empty. Most take less than
// 128 bytes, so that all lengths are one byte: these are written at once.
func appendText(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	value = perf.Label(value)
	k, v := len(key), len(value)
	total := k + v + 6
	if total >= 0x80 {
		b = appendKey(b, key, 1+protowire.SizeBytes(v))
		b = protowire.AppendVarint(append(b, stringTag), uint64(v))
		return append(b, value...)
	}
	n := len(b)
	b = slices.Grow(b, total+2)[:n+total+2]
	p := b[n:]
	p[0], p[1], p[2], p[3] = attributeTag, byte(total), keyTag, byte(k)
	copy(p[4:], key)
	p = p[4+k:]
	p[0], p[1], p[2], p[3] = valueTag, byte(v+2), stringTag, byte(v)
	copy(p[4:], value)
	return b
}

func appendInt(b []byte, key string, value int64) []byte {
	b = appendKey(b, key, 1+protowire.SizeVarint(uint64(value)))
	return protowire.AppendVarint(append(b, intTag), uint64(value))
}

func appendTrue(b []byte, key string) []byte {
	return append(appendKey(b, key, 2), boolTag, 1)
}

// appendSeconds appends a duration in seconds.
func appendSeconds(b []byte, key string, d time.Duration) []byte {
	b = append(appendKey(b, key, 9), doubleTag)
	return protowire.AppendFixed64(b, math.Float64bits(d.Seconds()))
}
