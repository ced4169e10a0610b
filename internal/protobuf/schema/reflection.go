package schema

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/descriptorpb"

	"sluice/internal/grpc"
	"sluice/internal/protobuf/fields"
)

// The reflection service has two names for one protocol: the messages of
// v1alpha are those of v1.
const (
	reflectionV1      = "grpc.reflection.v1.ServerReflection"
	reflectionV1Alpha = "grpc.reflection.v1alpha.ServerReflection"
)

// credentialsFor gives what TLS a scheme, grpc or grpcs, wants: nil for none.
func credentialsFor(scheme string, c *tls.Config) *tls.Config {
	switch {
	case scheme == "grpc":
		return nil
	case c == nil:
		return &tls.Config{MinVersion: tls.VersionTLS12}
	default:
		return c
	}
}

// reflected is what a server has told of its files. They are kept as it sent
// them, so that the digest is that of the files they were made of.
type reflected struct {
	stream  *grpc.Stream
	decoder *decoder
	files   []*descriptorpb.FileDescriptorProto
	have    map[string]bool // paths
	asked   int             // extensions

	types  map[string]string // paths by the types that the first listed files declare
	listed int
}

// fromServer asks a server for the files of all its services, but those of
// reflection itself.
func fromServer(ctx context.Context, target string, o grpc.Options, d *decoder) ([]*descriptorpb.FileDescriptorProto, error) {
	o.Target, o.UserAgent, o.MaxReply = target, "sluice", d.limits.MaxBytes
	client, err := grpc.New(o)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	r := &reflected{decoder: d, have: map[string]bool{}}
	services, err := r.open(ctx, client)
	defer r.stream.Close()
	for i := 0; i < len(services) && err == nil; i++ {
		if name := services[i]; !strings.HasPrefix(name, "grpc.reflection.") {
			err = r.ask(question{symbol: name})
		}
	}
	if err == nil {
		err = r.rest()
	}
	if err != nil {
		return nil, explain(ctx, err)
	}
	return r.files, nil
}

// explain makes a status an error that says when it is the time that is up.
func explain(ctx context.Context, err error) error {
	var s *grpc.Status
	switch {
	case !errors.As(err, &s):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.Code == grpc.Unimplemented:
		return errors.New("the server offers no reflection: load its .proto files or a descriptor set")
	}
	return fmt.Errorf("reflection: %s: %.200s", s.Code, s.Message)
}

// open begins a stream of the version that the server speaks, and lists the
// services.
func (r *reflected) open(ctx context.Context, client *grpc.Client) ([]string, error) {
	var first error
	for _, version := range []string{reflectionV1, reflectionV1Alpha} {
		if r.stream != nil {
			r.stream.Close()
		}
		r.stream = client.Stream(ctx, "/"+version+"/ServerReflectionInfo")
		reply, err := r.call(question{services: true})
		if err == nil {
			if len(reply.services) > r.decoder.limits.MaxMessages {
				return nil, over("services", r.decoder.limits.MaxMessages)
			}
			return reply.services, nil
		}
		first = cmp.Or(first, err)
		var s *grpc.Status
		if !errors.As(err, &s) || s.Code != grpc.Unimplemented {
			return nil, err
		}
	}
	return nil, first
}

// call asks one question.
func (r *reflected) call(q question) (answer, error) {
	_ = r.stream.Send(q.encode()) // Where sending fails, receiving says why.
	b, err := r.stream.Receive()
	if err == io.EOF { //nolint:errorlint // Receive returns it so
		return answer{}, errors.New("the server ended the stream")
	}
	if err != nil {
		return answer{}, err
	}
	a, err := decodeAnswer(b)
	if err == nil && a.refused {
		err = &refusal{q, a.code, a.message}
	}
	return a, err
}

// refusal is a question that the server has no answer to.
type refusal struct {
	question question
	code     grpc.Code
	message  string
}

func (e *refusal) Error() string {
	return fmt.Sprintf("the server does not describe %.200q: %s: %.200s", e.question.what(), e.code, e.message)
}

// ask asks for files, and keeps those that are new.
func (r *reflected) ask(q question) error {
	reply, err := r.call(q)
	if err != nil {
		return err
	}
	for _, b := range reply.files {
		name := pathOf(b)
		if _, ok := standard(name); ok || r.have[name] {
			continue
		}
		f, err := r.decoder.file(b)
		if err != nil {
			return fmt.Errorf("%.200s: %w", name, err)
		}
		r.have[name] = true
		r.files = append(r.files, f)
	}
	return nil
}

// pathOf reads the path of a FileDescriptorProto and nothing else.
func pathOf(b []byte) (path string) {
	const nameField = 1
	_ = fields.Each(b, func(number protowire.Number, _, content []byte) error {
		if number == nameField {
			path = string(content)
		}
		return nil
	})
	return path
}

// rest asks for imports that did not come along, and for extensions.
func (r *reflected) rest() error {
	for i := 0; i < len(r.files); i++ { // it grows
		var none *refusal
		unknown := make(map[string]bool)
		for _, path := range r.files[i].GetDependency() {
			if _, ok := standard(path); ok || r.have[path] {
				continue
			}
			err := r.ask(question{file: path})
			switch {
			case errors.As(err, &none):
				unknown[path] = true
			case err != nil:
				return err
			case !r.have[path]:
				return fmt.Errorf("the server sent another file for %.200q", path)
			}
		}
		if len(unknown) > 0 {
			if err := r.elsewhere(r.files[i], unknown); err != nil {
				return err
			}
		}
		if err := r.extensions(r.files[i].GetMessageType(), r.files[i].GetPackage()); err != nil {
			return err
		}
	}
	return nil
}

// extensions asks for the files that extend those messages. No service refers
// to them.
func (r *reflected) extensions(list []*descriptorpb.DescriptorProto, in string) error {
	for _, m := range list {
		name := fullName(in, m.GetName())
		if len(m.GetExtensionRange()) > 0 {
			if err := r.extending(name); err != nil {
				return err
			}
		}
		if err := r.extensions(m.GetNestedType(), name); err != nil {
			return err
		}
	}
	return nil
}

func (r *reflected) extending(name string) error {
	reply, err := r.call(question{extensions: name})
	var none *refusal
	if errors.As(err, &none) {
		return nil // not every server can tell
	}
	if err != nil {
		return err
	}
	if r.asked += len(reply.numbers); r.asked > r.decoder.limits.MaxFields {
		return over("extensions", r.decoder.limits.MaxFields)
	}
	for _, number := range reply.numbers {
		err := r.ask(question{extended: name, number: number})
		if err != nil && !errors.As(err, &none) {
			return err
		}
	}
	return nil
}
