package protobuf

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// protoscope assembles what is used of the language of that name: it writes
// wire as fields, and lets one write what is no sound message.
type protoscope struct {
	tokens []string
	longer int // bytes that the next varint is longer than it must be
}

var tokenOf = regexp.MustCompile("^(?:#[^\n]*|\\s+|\"(?:[^\"\\\\]|\\\\.)*\"|`[0-9a-fA-F]*`|!?\\{|\\}|long-form:[0-9]+|[-0-9a-zA-Z.]+(?::[A-Z0-9]*)?)")

func assemble(source string) (wire []byte, err error) {
	var p protoscope
	for source != "" {
		token := tokenOf.FindString(source)
		if token == "" {
			return nil, fmt.Errorf("no protoscope: %.20q", source)
		}
		source = source[len(token):]
		if token = strings.TrimSpace(token); token != "" && token[0] != '#' {
			p.tokens = append(p.tokens, token)
		}
	}
	wire, err = p.sequence(0)
	if err == nil && len(p.tokens) > 0 {
		err = errors.New("no protoscope: a bracket too many")
	}
	return wire, err
}

func (p *protoscope) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

// sequence assembles up to a closing bracket; num is the group that it is in.
func (p *protoscope) sequence(num int64) (b []byte, err error) {
	for p.peek() != "" && p.peek() != "}" {
		token := p.tokens[0]
		p.tokens = p.tokens[1:]
		if n, ok := strings.CutPrefix(token, "long-form:"); ok {
			if p.longer, err = strconv.Atoi(n); err != nil {
				return nil, err
			}
			continue
		}
		if tag, typ, ok := strings.Cut(token, ":"); ok && token[0] != '"' {
			if num, err = strconv.ParseInt(tag, 0, 64); err != nil {
				return nil, err
			}
			b = p.varint(b, uint64(num)<<3|uint64(p.wireType(typ)))
			continue
		}
		if b, err = p.value(b, token, num); err != nil {
			return nil, err
		}
	}
	return b, nil
}

var explicit = map[string]protowire.Type{
	"VARINT": 0, "I64": 1, "LEN": 2, "SGROUP": 3, "EGROUP": 4, "I32": 5,
	"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7,
}

// wireType is what stands behind the colon of a tag, or follows from the value.
func (p *protoscope) wireType(name string) protowire.Type {
	switch next := p.peek(); {
	case name != "":
		return explicit[name]
	case next == "{":
		return protowire.BytesType
	case next == "!{":
		return protowire.StartGroupType
	case strings.HasSuffix(next, "i32"):
		return protowire.Fixed32Type
	case strings.HasSuffix(next, "i64"):
		return protowire.Fixed64Type
	}
	return protowire.VarintType
}

func (p *protoscope) varint(b []byte, v uint64) []byte {
	b = protowire.AppendVarint(b, v)
	for ; p.longer > 0; p.longer-- {
		b[len(b)-1] |= 0x80
		b = append(b, 0)
	}
	return b
}

func (p *protoscope) value(b []byte, token string, num int64) ([]byte, error) {
	switch {
	case token == "{" || token == "!{":
		longer := p.longer
		p.longer = 0
		inner, err := p.sequence(0)
		if err != nil || p.peek() != "}" {
			return nil, fmt.Errorf("no protoscope: an open bracket (%w)", err)
		}
		p.tokens, p.longer = p.tokens[1:], longer
		if token == "!{" {
			return p.varint(append(b, inner...), uint64(num)<<3|uint64(protowire.EndGroupType)), nil
		}
		return append(p.varint(b, uint64(len(inner))), inner...), nil
	case token[0] == '"':
		text, err := strconv.Unquote(token)
		return append(b, text...), err
	case token[0] == '`':
		raw, err := hex.DecodeString(token[1 : len(token)-1])
		return append(b, raw...), err
	case token == "true" || token == "false":
		return p.varint(b, uint64(strings.Count(token, "true"))), nil
	}
	return p.number(b, token)
}

func (p *protoscope) number(b []byte, token string) ([]byte, error) {
	digits, size := token, ""
	for _, s := range []string{"i32", "i64", "z"} {
		if d, ok := strings.CutSuffix(token, s); ok {
			digits, size = d, s
		}
	}
	if strings.Contains(digits, ".") {
		v, err := strconv.ParseFloat(digits, 64)
		if size == "i32" {
			return binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v))), err
		}
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(v)), err
	}
	v, err := strconv.ParseInt(digits, 0, 64)
	switch size {
	case "i32":
		return binary.LittleEndian.AppendUint32(b, uint32(v)), err
	case "i64":
		return binary.LittleEndian.AppendUint64(b, uint64(v)), err
	case "z":
		return p.varint(b, protowire.EncodeZigZag(v)), err
	}
	return p.varint(b, uint64(v)), err
}
