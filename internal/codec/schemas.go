package codec

import (
	"encoding/hex"
	"errors"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/protobuf/catalog"
	"sluice/internal/protobuf/schema"
)

// find finds a message type by its full name, in the schema of that name or, where
// that is "", in all.
func (c *Codec) find(typeName, schemaName string) (target, error) {
	if typeName == "" {
		return target{}, errMissing("type", "The request names no message type. Give one as \"type\", with its package, as in \"pkg.Message\".")
	}
	t, err := c.schemas.Find(schemaName, typeName)
	if err != nil {
		return target{}, c.errFind(schemaName, err)
	}
	return target{plan: t.Plan, digest: t.Digest, name: t.Name}, nil
}

func (c *Codec) errFind(schemaName string, err error) error {
	switch _, e := c.schemas.Get(schemaName); {
	case errors.Is(err, schema.ErrAmbiguous):
		return errParam("ambiguous_type", "schema", "The %v.", err)
	case !errors.Is(err, schema.ErrUnknown):
		return err
	case schemaName != "" && e != nil:
		return errNotFound("unknown_schema", "schema", err)
	default:
		return errNotFound("unknown_type", "type", err)
	}
}

func errNotFound(code, param string, err error) *llm.Error {
	e := llm.Errorf(statusNotFound, code, "There is nothing of this name: %v (GET %sschemas lists what there is).", err, prefix)
	e.Param = param
	return e
}

// PutSchema makes a schema of an upload the one of that name and returns its
// description, JSON. The content type says whether body is the text of a .proto
// file or a FileDescriptorSet. What is wrong with the upload is an *llm.Error.
func (c *Codec) PutSchema(name, contentType string, body []byte) ([]byte, error) {
	s, err := c.schemas.Upload(name, contentType, body)
	if err != nil {
		return nil, errUpload(err)
	}
	return appendSchema(nil, s), nil
}

func errUpload(err error) error {
	if _, ok := errors.AsType[*catalog.InvalidError](err); !ok {
		return errPut(err)
	}
	switch {
	case errors.Is(err, schema.ErrContentType):
		return llm.Errorf(statusUnsupportedMedia, "unsupported_content_type", "The schema cannot be read: %v.", err)
	case errors.Is(err, schema.ErrLimit):
		return errLimit("", "The schema is too large: %v.", err)
	default:
		return errParam("invalid_schema", "", "The schema is not valid: %v.", err)
	}
}

func errPut(err error) error {
	switch {
	case errors.Is(err, schema.ErrConfigured):
		return llm.Errorf(statusConflict, "schema_configured", "The schema is one of the configuration's and cannot be replaced by an upload: choose another name.")
	case errors.Is(err, schema.ErrFull):
		return errLimit("", "There is no room for the schema: %v. Delete one with DELETE %sschemas/NAME.", err, prefix)
	default:
		return err
	}
}

// DeleteSchema removes an uploaded schema and returns what is to be told of it,
// JSON. Its errors are *llm.Error, but for one of the disk.
func (c *Codec) DeleteSchema(name string) ([]byte, error) {
	s, err := c.schemas.Get(name)
	if err == nil && !s.Upload {
		return nil, llm.Errorf(statusConflict, "schema_configured", "The schema is one of the configuration's: take it out of protobuf.schemas.")
	}
	if err == nil {
		err = c.schemas.Remove(name)
	}
	if errors.Is(err, schema.ErrUnknown) {
		return nil, errNotFound("unknown_schema", "name", err)
	}
	if err != nil {
		return nil, err
	}
	b := append([]byte(nil), `{"name":`...)
	return append(jsonscan.AppendString(b, name), `,"deleted":true}`...), nil
}

// serveSchemas answers with all schemas.
func (c *Codec) serveSchemas(out llm.Sink) error {
	b := append([]byte(nil), `{"object":"list","data":[`...)
	for i, s := range c.schemas.List() {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSchema(b, s)
	}
	b = append(b, ']', '}')
	head := &llm.Head{Status: 200, Kind: llm.Unary, Length: int64(len(b)), Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}}
	if err := out.Start(head); err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: b}})
}

// appendSchema appends a description of a schema.
func appendSchema(b []byte, s *schema.Schema) []byte {
	b = jsonscan.AppendString(append(b, `{"name":`...), s.Name)
	b = hex.AppendEncode(append(b, `,"digest":"sha256:`...), s.Digest[:])
	b = strconv.AppendBool(append(b, `","uploaded":`...), s.Upload)
	b = appendList(append(b, `,"files":`...), s.Files(), func(b []byte, f protoreflect.FileDescriptor) []byte {
		return jsonscan.AppendString(b, f.Path())
	})
	b = appendList(append(b, `,"messages":`...), s.Messages(), func(b []byte, m protoreflect.MessageDescriptor) []byte {
		return jsonscan.AppendString(b, string(m.FullName()))
	})
	b = appendList(append(b, `,"services":`...), s.Services(), appendService)
	return append(b, '}')
}

func appendService(b []byte, s protoreflect.ServiceDescriptor) []byte {
	b = jsonscan.AppendString(append(b, `{"name":`...), string(s.FullName()))
	b = append(b, `,"methods":[`...)
	for i := range s.Methods().Len() {
		if i > 0 {
			b = append(b, ',')
		}
		m := s.Methods().Get(i)
		b = jsonscan.AppendString(append(b, `{"name":`...), string(m.Name()))
		b = jsonscan.AppendString(append(b, `,"input":`...), string(m.Input().FullName()))
		b = jsonscan.AppendString(append(b, `,"output":`...), string(m.Output().FullName()))
		b = strconv.AppendBool(append(b, `,"client_streaming":`...), m.IsStreamingClient())
		b = strconv.AppendBool(append(b, `,"server_streaming":`...), m.IsStreamingServer())
		b = append(b, '}')
	}
	return append(b, ']', '}')
}

func appendList[T any](b []byte, list []T, one func([]byte, T) []byte) []byte {
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, v)
	}
	return append(b, ']')
}
