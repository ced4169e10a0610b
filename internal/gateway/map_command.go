package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/nearest"
	"sluice/internal/protobuf/mapping"
	"sluice/internal/protobuf/schema"
	"sluice/internal/upstream"
	"sluice/internal/upstream/credentials"
	"sluice/internal/upstream/protobuf"
)

// MapTest is what `sluice map test` is asked for.
type MapTest struct {
	Upstream string // by its name; "" for the only one with a mapping
	Reply    string // the file with the service's messages; "" for none
}

// tried is an upstream with a mapping.
type tried interface {
	Try(ctx context.Context, name string, way *upstream.TLS, body []byte, upstreamModel func(model string) (string, error)) (*protobuf.Trial, error)
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
	t, err := u.Try(ctx, name, way, body, func(model string) (string, error) { return upstreamModel(cfg, name, model) })
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

// upstreamModel gives the name that a request's model has at an upstream, as routing does:
// what an alias stands for, without the upstream's own name before it.
func upstreamModel(cfg *config.Config, name, model string) (string, error) {
	end := cfg.Route.Follow(model)
	if rest, ok := strings.CutPrefix(end, name+"/"); ok {
		return rest, nil
	}
	for _, u := range cfg.Upstreams {
		if u.Name != name && strings.HasPrefix(end, u.Name+"/") {
			return "", fmt.Errorf("the model %q is asked of the upstream %q (%s)", model, u.Name, end)
		}
	}
	return end, nil
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
	Reflect string   // host:port, or a URL with the scheme http, https, grpc or grpcs
	Schemas []string // files, in place of a server
	Methods []string // as package.Service/Method, or the end of that; none lists all
	Embed   string   // one more for embeddings
	Abort   string   // one more that stops the work for a request

	TLS     upstream.TLS // of the server
	Headers []string     // that go with what it is asked, as "name: value"
}

// source says where the schema is.
func (o *MapNew) source() (schema.Source, error) {
	s := schema.Source{Name: "new", Locations: o.Schemas}
	secured := o.TLS != (upstream.TLS{})
	switch {
	case o.Reflect == "" && len(o.Schemas) == 0:
		return s, errors.New("say where the schema is: --schema FILE or --reflect HOST:PORT")
	case o.Reflect == "" && (secured || len(o.Headers) > 0):
		return s, errors.New("--ca, --cert, --key and --header are for --reflect")
	case o.Reflect == "":
		return s, nil
	}
	address, overTLS, err := reflecting(o.Reflect)
	if err != nil {
		return s, err
	}
	s.Locations = []string{address}
	if secured && !overTLS {
		return s, errors.New("--ca, --cert and --key are for TLS: write the address as https://HOST:PORT")
	}
	if (o.TLS.Cert == "") != (o.TLS.Key == "") {
		return s, errors.New("--cert and --key go together")
	}
	if s.Header, err = headers(o.Headers); err != nil {
		return s, err
	}
	s.TLS, err = o.TLS.Client()
	return s, err
}

// reflecting gives the address of a server as package schema has it.
func reflecting(address string) (location string, overTLS bool, err error) {
	if !strings.Contains(address, "://") {
		address = "grpc://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", false, fmt.Errorf("--reflect: %q is no address, as HOST:PORT or https://HOST:PORT", address)
	}
	port := "80"
	switch u.Scheme {
	case "http", "grpc":
	case "https", "grpcs":
		port, overTLS = "443", true
	default:
		return "", false, fmt.Errorf("--reflect: unknown scheme %q: http, https, grpc and grpcs are known", u.Scheme)
	}
	location = "grpc://" + net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	if overTLS {
		location = strings.Replace(location, "grpc", "grpcs", 1)
	}
	return location, overTLS, nil
}

// headers reads fields that are written as "name: value".
func headers(list []string) (map[string]string, error) {
	all := make(map[string]string, len(list))
	for _, line := range list {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("--header: %q is not as \"name: value\"", name)
		}
		all[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
	}
	return all, credentials.Validate(llm.Secret{}, all)
}

// NewMapping lists the methods of a schema, or writes the beginning of a mapping for some.
func NewMapping(ctx context.Context, o MapNew, out io.Writer) error {
	from, err := o.source()
	if err != nil {
		return err
	}
	s, err := schema.Load(ctx, from, schema.Limits{MaxBytes: 16 << 20})
	if err != nil {
		return err
	}
	var all methods
	for _, service := range s.Services() {
		for i := range service.Methods().Len() {
			all = append(all, service.Methods().Get(i))
		}
	}
	if len(o.Methods) == 0 && o.Embed == "" {
		if o.Abort != "" {
			return errors.New("--abort stops the work of a call: say which with --method")
		}
		for _, m := range all {
			if _, err := fmt.Fprintln(out, mapping.Describe(m)); err != nil {
				return err
			}
		}
		return nil
	}
	chosen, err := all.choose(o)
	if err != nil {
		return err
	}
	_, err = out.Write(mapping.Skeleton(chosen))
	return err
}

// methods are those of a schema.
type methods []protoreflect.MethodDescriptor

// choose finds the methods that are asked for.
func (all methods) choose(o MapNew) (c mapping.Chosen, err error) {
	taken := make(map[protoreflect.MethodDescriptor]bool)
	find := func(name string) (m protoreflect.MethodDescriptor) {
		if name == "" || err != nil {
			return nil
		}
		if m, err = all.find(name); m != nil {
			taken[m] = true
		}
		return m
	}
	for _, name := range o.Methods {
		if m := find(name); m != nil {
			c.Methods = append(c.Methods, m)
		}
	}
	c.Embed, c.Abort = find(o.Embed), find(o.Abort)
	for _, m := range all {
		if !taken[m] {
			c.Others = append(c.Others, m)
		}
	}
	if err == nil {
		err = once(c)
	}
	return c, err
}

// once refuses methods of which a mapping takes one message, and that answer in many.
func once(c mapping.Chosen) error {
	if c.Embed != nil && c.Embed.IsStreamingServer() {
		return fmt.Errorf("%s answers in a stream, and embeddings come at once", mapping.Describe(c.Embed))
	}
	if c.Abort != nil && c.Abort.IsStreamingServer() {
		return fmt.Errorf("%s answers in a stream, and what stops a call at once", mapping.Describe(c.Abort))
	}
	return nil
}

// find finds a method by its name, or the end of that.
func (all methods) find(want string) (protoreflect.MethodDescriptor, error) {
	var found, names []string
	var last protoreflect.MethodDescriptor
	for _, m := range all {
		name := string(m.Parent().FullName()) + "/" + string(m.Name())
		names = append(names, name)
		if name == want {
			return m, nil
		}
		if strings.HasSuffix(name, "/"+want) || strings.HasSuffix(name, "."+want) {
			found, last = append(found, name), m
		}
	}
	switch {
	case len(found) == 1:
		return last, nil
	case len(found) > 1:
		return nil, fmt.Errorf("the schema has several methods %s: %s", want, strings.Join(found, ", "))
	}
	return nil, fmt.Errorf("the schema has no method %s; it has %s", want, strings.Join(names[:min(len(names), 20)], ", "))
}
