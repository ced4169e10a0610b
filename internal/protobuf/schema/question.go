package schema

import (
	"cmp"
	"errors"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"sluice/internal/grpc"
	"sluice/internal/protobuf/fields"
)

// Fields of reflection.proto, which do not change: ServerReflectionRequest,
// ExtensionRequest, ServerReflectionResponse and the messages in that.
const (
	askFile       = 3
	askSymbol     = 4
	askExtension  = 5
	askExtensions = 6
	askServices   = 7

	extensionType   = 1
	extensionNumber = 2

	tellFiles      = 4
	tellExtensions = 5
	tellServices   = 6
	tellError      = 7

	filesFile       = 1
	extensionsField = 2
	servicesService = 1
	serviceName     = 1
	errorCode       = 1
	errorMessage    = 2
)

// question is a ServerReflectionRequest. One of its fields is set.
type question struct {
	services   bool   // which there are
	symbol     string // the file that declares it
	file       string // of this path
	extensions string // the numbers of those of this message
	extended   string // the file that extends this message, by number
	number     int32
}

func (q question) encode() []byte {
	text := func(b []byte, field protowire.Number, v string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), v)
	}
	switch {
	case q.services:
		return text(nil, askServices, "*")
	case q.symbol != "":
		return text(nil, askSymbol, q.symbol)
	case q.file != "":
		return text(nil, askFile, q.file)
	case q.extensions != "":
		return text(nil, askExtensions, q.extensions)
	default:
		e := text(nil, extensionType, q.extended)
		e = protowire.AppendVarint(protowire.AppendTag(e, extensionNumber, protowire.VarintType), uint64(q.number))
		return protowire.AppendBytes(protowire.AppendTag(nil, askExtension, protowire.BytesType), e)
	}
}

// what names that which was asked about.
func (q question) what() string {
	return cmp.Or(q.symbol, q.file, q.extensions, q.extended, "its services")
}

// answer is a ServerReflectionResponse.
type answer struct {
	files    [][]byte // each a FileDescriptorProto
	numbers  []int32
	services []string
	refused  bool
	code     grpc.Code
	message  string
}

func decodeAnswer(b []byte) (answer, error) {
	var a answer
	err := fields.Each(b, func(number protowire.Number, _, content []byte) error {
		if content == nil {
			return nil
		}
		switch number {
		case tellFiles:
			return fields.Each(content, func(number protowire.Number, _, file []byte) error {
				if number == filesFile && file != nil {
					a.files = append(a.files, file)
				}
				return nil
			})
		case tellExtensions:
			return fields.Each(content, a.extension)
		case tellServices:
			return fields.Each(content, a.service)
		case tellError:
			a.refused = true
			return fields.Each(content, func(number protowire.Number, field, content []byte) error {
				v, isVarint := fields.Varint(field)
				switch {
				case number == errorMessage && content != nil:
					a.message = string(content)
				case number == errorCode && isVarint:
					a.code = grpc.Code(v)
				}
				return nil
			})
		}
		return nil
	})
	return a, err
}

// extension reads a field of an ExtensionNumberResponse: a number, or several
// packed.
func (a *answer) extension(number protowire.Number, field, content []byte) error {
	v, one := fields.Varint(field)
	switch {
	case number != extensionsField:
	case one:
		a.numbers = append(a.numbers, int32(v))
	default:
		for len(content) > 0 {
			v, n := protowire.ConsumeVarint(content)
			if n < 0 {
				return protowire.ParseError(n)
			}
			a.numbers = append(a.numbers, int32(v))
			content = content[n:]
		}
	}
	return nil
}

// service reads a field of a ListServiceResponse.
func (a *answer) service(number protowire.Number, _, content []byte) error {
	if number != servicesService || content == nil {
		return nil
	}
	name := ""
	err := fields.Each(content, func(number protowire.Number, _, content []byte) error {
		if number == serviceName {
			name = string(content)
		}
		return nil
	})
	if err == nil && !utf8.ValidString(name) {
		err = errors.New("a service's name is not valid UTF-8")
	}
	a.services = append(a.services, name)
	return err
}
