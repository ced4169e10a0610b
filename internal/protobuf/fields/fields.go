// Package fields reads messages of protobuf whose descriptor is not at hand, or too
// much for what is wanted of them.
package fields

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

var errNumber = errors.New("a field's number is too large")

// Each calls f for each field of a message: with all of it, tag included, and with
// its content where that has a length, else nil. It ends with f's error, or that of
// what is no message.
func Each(b []byte, f func(number protowire.Number, field, content []byte) error) error {
	for len(b) > 0 {
		number, kind, tag := protowire.ConsumeTag(b)
		switch {
		case tag < 0:
			return protowire.ParseError(tag)
		case number > protowire.MaxValidNumber:
			return errNumber
		}
		n := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if n < 0 {
			return protowire.ParseError(n)
		}
		n += tag
		var content []byte
		if kind == protowire.BytesType {
			content, _ = protowire.ConsumeBytes(b[tag:n])
		}
		if err := f(number, b[:n:n], content); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Varint is the value of a field, tag included, and whether it is a varint.
func Varint(field []byte) (v uint64, ok bool) {
	_, kind, tag := protowire.ConsumeTag(field)
	if kind != protowire.VarintType {
		return 0, false
	}
	v, _ = protowire.ConsumeVarint(field[tag:])
	return v, true
}
