package protobuf

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"sluice/internal/chattemplate"
	"sluice/internal/llm"
	"sluice/internal/protobuf/mapping"
	"sluice/internal/protobuf/presets"
	"sluice/internal/protobuf/schema"
	"sluice/internal/upstream"
	"sluice/internal/upstream/credentials"
)

// Config is what an upstream needs to be told that is spoken to in protobuf.
type Config struct {
	// BaseURL is where the service is. A path goes before those of the methods.
	BaseURL string `yaml:"base_url"`

	// APIKey is sent as "authorization: Bearer"; none is sent when it is empty.
	APIKey llm.Secret `yaml:"api_key"`

	// Headers are further fields of every call, which gRPC calls metadata.
	Headers map[string]string `yaml:"headers" identity:"fold"`

	// Mapping is the path of a file of mappings, with "#name" behind it where it has
	// several.
	Mapping string `yaml:"mapping"`

	// Schema is where the messages are declared: .proto files, folders of them, or files
	// with a FileDescriptorSet; or "reflection", which asks the upstream itself.
	Schema Locations `yaml:"schema"`

	// Preset is the name of a mapping that Sluice brings with its schema, in place of
	// both.
	Preset string `yaml:"preset"`

	// ChatTemplate is the path of a template that makes a prompt of a chat: as text, or a
	// model's tokenizer_config.json, which has its tokens too. BOSToken and EOSToken are
	// the tokens that begin and end a text there.
	ChatTemplate string `yaml:"chat_template"`
	BOSToken     string `yaml:"bos_token"`
	EOSToken     string `yaml:"eos_token"`

	// MaxMessageBytes bounds a message of a reply, once it is decompressed.
	MaxMessageBytes int `yaml:"max_message_bytes" identity:"-"`

	// Text is the file of mappings, and Descriptors the schema as a FileDescriptorSet,
	// empty where the upstream is to be asked. ReadFiles fills them in.
	Text        string `yaml:"-"`
	Descriptors string `yaml:"-"`
	Template    string `yaml:"-"` // that ChatTemplate names
}

// Locations are one, or a list of them.
type Locations []string

// Lone lets one stand without the brackets of a list.
func (Locations) Lone() {}

// reflection is the location that is the upstream itself.
const reflection = "reflection"

// GRPC are the keys of the protocol grpc.
type GRPC struct {
	Config `yaml:",inline"`

	// Compression is the coding of the messages that are sent: identity or gzip. What
	// is read may be in either.
	Compression string `yaml:"compression" identity:"-"`
}

const codingGzip = "gzip"

// Protocol is gRPC as an upstream's entry names it.
func Protocol() upstream.Protocol {
	return upstream.Protocol{Name: "grpc", HTTP2: true, Settings: func() upstream.Settings {
		return &GRPC{Config: defaults(), Compression: "identity"}
	}}
}

// HTTP are the keys of the protocol protobuf-http.
type HTTP struct {
	Config `yaml:",inline"`

	// Paths are those of the calls, below base_url; where one is empty it is
	// "/package.Service/Method".
	Paths Paths `yaml:"paths"`

	// UnaryReply and StreamReply are how the messages of a reply are carried, one of
	// binary, delimited, sse-base64 and sse-hex: a body that is one message; each with
	// its length as a varint before it; the data of server-sent events. It is never
	// guessed: a text in base64 can be one in hex too.
	UnaryReply  string `yaml:"unary_reply"`
	StreamReply string `yaml:"stream_reply"`
}

// Paths are where the calls of a mapping are made.
type Paths struct {
	Unary  string `yaml:"unary"`
	Stream string `yaml:"stream"`
	Embed  string `yaml:"embed"`
	Abort  string `yaml:"abort"`
}

// ProtocolHTTP is protobuf over HTTP, without gRPC, as an upstream's entry names it.
func ProtocolHTTP() upstream.Protocol {
	return upstream.Protocol{Name: "protobuf-http", Settings: func() upstream.Settings {
		return &HTTP{Config: defaults(), UnaryReply: formBinary, StreamReply: formDelimited}
	}}
}

// Validate reports every fault at once, each as "key: what is wrong".
func (c *HTTP) Validate() error {
	faults := []error{c.Config.Validate()}
	for _, one := range []struct{ key, value string }{{"unary_reply", c.UnaryReply}, {"stream_reply", c.StreamReply}} {
		if !slices.Contains(forms, one.value) {
			faults = append(faults, fmt.Errorf("%s: %q is none of %s", one.key, one.value, strings.Join(forms, ", ")))
		}
	}
	for _, one := range []struct{ key, value string }{{"unary", c.Paths.Unary}, {"stream", c.Paths.Stream}, {"embed", c.Paths.Embed}, {"abort", c.Paths.Abort}} {
		if u, err := url.Parse(one.value); err != nil || one.value != "" && (one.value[0] != '/' || u.Host != "" || u.Fragment != "" || u.RequestURI() != one.value) {
			faults = append(faults, fmt.Errorf("paths.%s: %q is no path, as /v1/chat, with what has to be escaped in it escaped", one.key, one.value))
		}
	}
	return errors.Join(faults...)
}

// Handler implements upstream.Settings.
func (c *HTTP) Handler(s upstream.Setup) (llm.Handler, error) {
	r, err := c.rpcs(s)
	if err != nil {
		return nil, err
	}
	r.http = &plain{unary: c.UnaryReply, stream: c.StreamReply}
	return newHandler(c.Config, c.Paths, r, s)
}

func defaults() Config { return Config{MaxMessageBytes: 4 << 20} }

// Validate reports every fault at once, each as "key: what is wrong".
func (c *GRPC) Validate() error {
	faults := []error{c.Config.Validate()}
	if c.Compression != "identity" && c.Compression != codingGzip {
		faults = append(faults, fmt.Errorf("compression: %q is neither identity nor gzip", c.Compression))
	}
	return errors.Join(faults...)
}

// Handler implements upstream.Settings.
func (c *GRPC) Handler(s upstream.Setup) (llm.Handler, error) {
	r, err := c.rpcs(s)
	if err != nil {
		return nil, err
	}
	r.gzip = c.Compression == codingGzip
	return newHandler(c.Config, Paths{}, r, s)
}

// rpcs makes what makes the calls.
func (c *Config) rpcs(s upstream.Setup) (*rpcs, error) {
	base, err := c.Base()
	if err != nil {
		return nil, err
	}
	return &rpcs{
		name: s.Name, client: s.Client, most: c.MaxMessageBytes, header: credentials.Fields(c.APIKey, c.Headers),
		base: strings.TrimRight(base.EscapedPath(), "/"), secrets: credentials.Of(c.APIKey, c.Headers, base),
	}, nil
}

// Base implements upstream.Settings.
func (c *Config) Base() (*url.URL, error) {
	base, err := upstream.ParseBase(c.BaseURL)
	if err == nil && base.RawQuery != "" {
		return nil, errors.New("base_url: it has a query, which calls of this protocol have not")
	}
	return base, err
}

// Validate reports every fault at once, each as "key: what is wrong".
func (c *Config) Validate() error {
	_, err := c.Base()
	faults := []error{err, credentials.Validate(c.APIKey, c.Headers)}
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		lower := strings.ToLower(name)
		fault(strings.HasPrefix(lower, "grpc-") || lower == "content-type", "headers: %s is set by the protocol and cannot be configured", name)
	}
	fault(c.MaxMessageBytes < 1<<10 || c.MaxMessageBytes > 1<<30, "max_message_bytes: must be from 1KiB to 1GiB, is %d", c.MaxMessageBytes)
	if c.Preset != "" {
		_, err := presets.Get(c.Preset)
		fault(err != nil, "preset: %v", err)
		fault(c.Mapping != "", "mapping: a preset brings its own; give one of them")
		fault(len(c.Schema) > 0, "schema: a preset brings its own; give one of them")
		return errors.Join(faults...)
	}
	file, _, _ := strings.Cut(c.Mapping, "#")
	fault(file == "", "mapping: name the file that says how the service is asked, or a preset; see docs/mapping.md")
	fault(len(c.Schema) == 0, "schema: name the .proto files or the descriptor set of the service, or say reflection")
	for i, location := range c.Schema {
		fault(location == "" || strings.Contains(location, "://"), "schema[%d]: %q is no path; a schema is read from files, or with reflection from the upstream itself", i, location)
		fault(location == reflection && len(c.Schema) > 1, "schema[%d]: reflection stands alone", i)
	}
	return errors.Join(faults...)
}

// reflects reports whether the upstream itself tells the schema.
func (c *Config) reflects() bool { return len(c.Schema) == 1 && c.Schema[0] == reflection }

// maxText bounds a file of mappings, in bytes; package mapping has a lower bound that
// explains itself.
const maxText = 1 << 20

// limits bound a schema: a large public API is some megabytes.
var limits = schema.Limits{MaxBytes: 16 << 20} //nolint:gochecknoglobals // a constant that cannot be one

// ReadFiles implements upstream.Reader: it reads the mapping and the schema, and checks
// the one by the other. unasked says what could not be, since the upstream has the
// schema.
func (c *Config) ReadFiles(ctx context.Context) (unasked []string, err error) {
	if err := c.readTemplate(); err != nil {
		return nil, fmt.Errorf("chat_template: %w", err)
	}
	if c.Preset != "" {
		return nil, c.readPreset()
	}
	file, _, _ := strings.Cut(c.Mapping, "#")
	text, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("mapping: %w", err)
	}
	c.Text, c.Descriptors = string(text), ""
	if c.reflects() {
		return []string{"mapping: it is checked at the first call, when the upstream was asked for its schema"}, nil
	}
	s, err := schema.Load(ctx, schema.Source{Name: schemaName, Locations: c.Schema}, limits)
	if err != nil {
		// A compiler's faults, one a line, are of this one key.
		return nil, errors.New("schema: " + strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	c.Descriptors = string(s.Descriptors())
	_, err = c.mapping(s)
	return nil, err
}

func (c *Config) readPreset() error {
	p, err := presets.Get(c.Preset)
	if err != nil {
		return fmt.Errorf("preset: %w", err)
	}
	s, err := schema.Parse(schemaName, "text/plain", p.Schema, limits)
	if err != nil {
		return fmt.Errorf("preset: %w", err)
	}
	c.Text, c.Descriptors = string(p.Mapping), string(s.Descriptors())
	_, err = c.mapping(s)
	return err
}

// readTemplate reads the chat template, and checks it.
func (c *Config) readTemplate() error {
	c.Template = ""
	if c.ChatTemplate == "" {
		return nil
	}
	text, err := readFile(c.ChatTemplate)
	if err != nil {
		return err
	}
	if strings.HasSuffix(c.ChatTemplate, ".json") {
		var tokenizer struct {
			Template string `json:"chat_template"`
			BOS      token  `json:"bos_token"`
			EOS      token  `json:"eos_token"`
		}
		if err := json.Unmarshal(text, &tokenizer); err != nil {
			return fmt.Errorf("%s: %w", c.ChatTemplate, err)
		}
		if tokenizer.Template == "" {
			return fmt.Errorf("%s has no chat_template", c.ChatTemplate)
		}
		text = []byte(tokenizer.Template)
		c.BOSToken, c.EOSToken = cmp.Or(c.BOSToken, string(tokenizer.BOS)), cmp.Or(c.EOSToken, string(tokenizer.EOS))
	}
	c.Template = string(text)
	if _, err := chattemplate.Parse(c.Template); err != nil {
		return fmt.Errorf("%s: %w", c.ChatTemplate, err)
	}
	return nil
}

// token is a token in a tokenizer_config.json: its text, or an object with it.
type token string

// UnmarshalJSON implements json.Unmarshaler.
func (t *token) UnmarshalJSON(b []byte) error {
	var object struct{ Content string }
	if len(b) > 0 && b[0] == '{' {
		err := json.Unmarshal(b, &object)
		*t = token(object.Content)
		return err
	}
	return json.Unmarshal(b, (*string)(t))
}

// schemaName is what a schema is called in errors.
const schemaName = "upstream"

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(b) > maxText {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxText)
	}
	return b, err
}

// mapping compiles the mapping for a schema. Its faults are joined, each as "key: what is
// wrong".
func (c *Config) mapping(s mapping.Schema) (*mapping.Mapping, error) {
	file, name, named := strings.Cut(c.Mapping, "#")
	if c.Preset != "" {
		file = c.Preset + ".yaml"
	}
	var names []string
	list, err := mapping.Load(file, []byte(c.Text), func(one string) (mapping.Schema, error) {
		if names = append(names, one); named && one != name {
			return nil, nil
		}
		return s, nil
	})
	if wrong, ok := errors.AsType[*mapping.LoadError](err); ok {
		faults := make([]error, len(wrong.Faults))
		for i, f := range wrong.Faults {
			faults[i] = errors.New("mapping: " + f)
		}
		return nil, errors.Join(faults...)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("mapping: %w", err)
	case len(list) == 1:
		return list[0], nil
	case named:
		return nil, fmt.Errorf("mapping: %s has no %q; it has %s", file, name, cmp.Or(strings.Join(names, ", "), "none"))
	default:
		return nil, fmt.Errorf("mapping: %s has %s: name one, as %s#%s", file, strings.Join(names, ", "), file, names[0])
	}
}
