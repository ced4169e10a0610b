package schema

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"google.golang.org/protobuf/types/descriptorpb"
)

// Parse makes a schema of an upload. Its content type says what it is, it is
// never guessed:
//
//   - text/plain, text/x-protobuf and application/x-protobuf-text: the text of
//     one .proto file in UTF-8, whose path is the schema's name, with ".proto"
//     if that does not end so. It can import standard files only.
//   - application/x-protobuf, application/protobuf and
//     application/octet-stream: a FileDescriptorSet with all its imports, for
//     schemas of several files.
//
// Parse reads no files. Errors of a text tell line and column.
func Parse(name, contentType string, body []byte, l Limits) (*Schema, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	l = l.withDefaults()
	ctx, cancel := context.WithTimeoutCause(context.Background(), l.Timeout, errTimeout)
	defer cancel()
	s, err := parse(ctx, name, contentType, body, l)
	if err != nil {
		return nil, fmt.Errorf("parse schema %q: %w", name, cause(ctx, err))
	}
	s.Upload = true
	return s, nil
}

var errTimeout = errors.New("it takes too long")

// cause says why ctx ended, if that is what err says.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}

func parse(ctx context.Context, name, contentType string, body []byte, l Limits) (*Schema, error) {
	if len(body) > l.MaxBytes {
		return nil, over("bytes", l.MaxBytes)
	}
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	var err error
	var files []*descriptorpb.FileDescriptorProto
	switch kind {
	case "text/plain", "text/x-protobuf", "application/x-protobuf-text":
		files, err = parseText(ctx, name, body, l)
	case "application/x-protobuf", "application/protobuf", "application/octet-stream":
		d := decoder{limits: l}
		files, err = d.set(body)
	default:
		return nil, fmt.Errorf("%w %.80q: text/plain for a .proto file, application/x-protobuf for a FileDescriptorSet", ErrContentType, kind)
	}
	if err != nil {
		return nil, err
	}
	return build(ctx, name, files, l)
}

func parseText(ctx context.Context, name string, body []byte, l Limits) ([]*descriptorpb.FileDescriptorProto, error) {
	self := strings.TrimSuffix(name, ".proto") + ".proto"
	t := newTexts(l, func(path string, _ int) ([]byte, error) {
		if path != self {
			return nil, fmt.Errorf("import %.200q: %w: an uploaded text can import the standard files google/protobuf/*.proto only; "+
				"upload a FileDescriptorSet for a schema of several files", path, fs.ErrNotExist)
		}
		return body, nil
	})
	return t.compile(ctx, []string{self})
}
