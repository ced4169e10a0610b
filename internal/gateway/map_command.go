package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/config"
	"sluice/internal/nearest"
	"sluice/internal/protobuf/mapping"
	"sluice/internal/protobuf/schema"
	"sluice/internal/upstream"
	"sluice/internal/upstream/protobuf"
)

// MapTest is what `sluice map test` is asked for.
type MapTest struct {
	Upstream string // by its name; "" for the only one with a mapping
	Reply    string // the file with the service's messages; "" for none
}

// tried is an upstream with a mapping.
type tried interface {
	Try(ctx context.Context, name string, way *upstream.TLS, body []byte) (*protobuf.Trial, error)
}

// TestMapping reads a request and writes the message that the upstream would be sent, or,
// where there is a reply, what a client would get.
func TestMapping(ctx context.Context, cfg *config.Config, o MapTest, in io.Reader, out, people io.Writer) error {
	name, u, way, err := mapped(cfg, o.Upstream)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	t, err := u.Try(ctx, name, way, body)
	if err != nil {
		return err
	}
	if o.Reply == "" {
		var b bytes.Buffer
		if err := json.Indent(&b, t.Message, "", "  "); err != nil {
			return fmt.Errorf("write message: %w", err)
		}
		b.WriteByte('\n')
		_, _ = fmt.Fprintf(people, "%s%s would be sent:\n", name, t.Method)
		_, err = out.Write(b.Bytes())
		return err
	}
	messages, err := os.ReadFile(o.Reply)
	if err != nil {
		return fmt.Errorf("read reply: %w", err)
	}
	reply, err := t.Reply(messages)
	if err != nil {
		return err
	}
	_, err = out.Write(append(bytes.TrimRight(reply, "\n"), '\n'))
	return err
}

// mapped finds the upstream.
func mapped(cfg *config.Config, name string) (string, tried, *upstream.TLS, error) {
	var names []string
	var found tried
	var way *upstream.TLS
	for i, u := range cfg.Upstreams {
		t, ok := u.Settings.(tried)
		if !ok {
			continue
		}
		names = append(names, u.Name)
		if name == u.Name || name == "" {
			found, way = t, &cfg.Upstreams[i].HTTPClient.TLS
		}
	}
	switch {
	case len(names) == 0:
		return "", nil, nil, errors.New("the configuration has no upstream with a mapping")
	case name == "" && len(names) > 1:
		return "", nil, nil, fmt.Errorf("several upstreams have a mapping; say which with --upstream: %s", strings.Join(names, ", "))
	case found == nil && nearest.Name(name, names) != "":
		return "", nil, nil, fmt.Errorf("no upstream %q has a mapping; did you mean %q?", name, nearest.Name(name, names))
	case found == nil:
		return "", nil, nil, fmt.Errorf("no upstream %q has a mapping; there is %s", name, strings.Join(names, ", "))
	case name == "":
		name = names[0]
	}
	return name, found, way, nil
}

// MapNew is what `sluice map new` is asked for.
type MapNew struct {
	Reflect string   // host:port, or grpc:// or grpcs:// before it
	Schemas []string // files, in place of a server
	Methods []string // as package.Service/Method, or the end of that; none lists all
}

// NewMapping lists the methods of a schema, or writes the beginning of a mapping for some.
func NewMapping(ctx context.Context, o MapNew, out io.Writer) error {
	locations := o.Schemas
	if o.Reflect != "" {
		address := o.Reflect
		if !strings.Contains(address, "://") {
			address = "grpc://" + address
		}
		locations = append(slices.Clone(locations), address)
	}
	if len(locations) == 0 {
		return errors.New("say where the schema is: --schema FILE or --reflect HOST:PORT")
	}
	s, err := schema.Load(ctx, schema.Source{Name: "new", Locations: locations}, schema.Limits{MaxBytes: 16 << 20})
	if err != nil {
		return err
	}
	var chosen []protoreflect.MethodDescriptor
	var names []string
	for _, service := range s.Services() {
		for i := range service.Methods().Len() {
			m := service.Methods().Get(i)
			name := string(service.FullName()) + "/" + string(m.Name())
			names = append(names, name)
			if slices.ContainsFunc(o.Methods, func(want string) bool {
				return name == want || strings.HasSuffix(name, "/"+want) || strings.HasSuffix(name, "."+want)
			}) {
				chosen = append(chosen, m)
			}
		}
	}
	if len(o.Methods) == 0 {
		for _, service := range s.Services() {
			for i := range service.Methods().Len() {
				if _, err := fmt.Fprintln(out, mapping.Describe(service.Methods().Get(i))); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if len(chosen) < len(o.Methods) {
		return fmt.Errorf("the schema has no method %s; it has %s", strings.Join(o.Methods, ", "), strings.Join(names[:min(len(names), 20)], ", "))
	}
	_, err = out.Write(mapping.Skeleton(chosen))
	return err
}
