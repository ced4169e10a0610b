package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"sluice/internal/jsonscan"
)

// maxNodes bounds the values in one invented instance, maxDepth how deep they
// nest. A schema that cannot be satisfied within them is refused.
const (
	maxNodes = 20_000
	maxDepth = 64
	// From this depth on only what is required is invented, so that recursive
	// schemas come to an end.
	spareDepth = 4
	// What a part of a schema takes, in bytes.
	schemaSize = 512
	// maxSchema is how long a schema may be, in bytes, and maxNesting how deep its JSON may
	// nest: a copy of what follows is kept at each level while it is read.
	maxSchema, maxNesting = 128 << 10, 64
)

// schema is the part of JSON Schema that invention understands. Other
// keywords are ignored.
type schema struct {
	never bool // the schema "false"

	Type        types             `json:"type"`
	Enum        []json.RawMessage `json:"enum"`
	Const       json.RawMessage   `json:"const"`
	Properties  properties        `json:"properties"`
	Required    []string          `json:"required"`
	Items       *schema           `json:"items"`
	PrefixItems []*schema         `json:"prefixItems"`
	AnyOf       []*schema         `json:"anyOf"`
	OneOf       []*schema         `json:"oneOf"`
	AllOf       []*schema         `json:"allOf"`
	Ref         string            `json:"$ref"`
	Format      string            `json:"format"`
	Pattern     string            `json:"pattern"`
	MinItems    int               `json:"minItems"`
	MaxItems    *int              `json:"maxItems"`
	MinLength   int               `json:"minLength"`
	MaxLength   *int              `json:"maxLength"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	Above       *float64          `json:"exclusiveMinimum"`
	Below       *float64          `json:"exclusiveMaximum"`
	MultipleOf  float64           `json:"multipleOf"`
}

// UnmarshalJSON takes an object, or true or false.
func (s *schema) UnmarshalJSON(b []byte) error {
	if b[0] == 't' || b[0] == 'f' {
		s.never = b[0] == 'f'
		return nil
	}
	type plain schema
	return json.Unmarshal(b, (*plain)(s))
}

// types is the type keyword: one name or several.
type types []string

// UnmarshalJSON takes both forms.
func (t *types) UnmarshalJSON(b []byte) error { return (*texts)(t).UnmarshalJSON(b) }

// properties keeps the order of an object schema's properties, because
// replies come in that order.
type properties []property

type property struct {
	name   string
	schema *schema
}

// UnmarshalJSON reads the object member by member.
func (p *properties) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("properties are not an object: %w", err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		s := new(schema)
		if err := dec.Decode(s); err != nil {
			return err
		}
		*p = append(*p, property{name.(string), s})
	}
	return nil
}

// instance invents a document that is valid for a schema.
func instance(raw json.RawMessage, r *rand.Rand, room *room) (string, error) {
	if len(raw) > maxSchema || jsonscan.Validate(raw, maxNesting) != nil {
		return "", unsatisfiable("it is longer than %d bytes, or nests deeper than %d levels.", maxSchema, maxNesting)
	}
	room.take(maxNesting*len(raw) + schemaSize*(1+bytes.Count(raw, []byte{','})+bytes.Count(raw, []byte{'{'})))
	root := new(schema)
	if err := json.Unmarshal(raw, root); err != nil {
		return "", badRequest("schema", "invalid_json_schema", "The JSON schema could not be read: %v", err)
	}
	in := inventor{raw: raw, r: r, room: room, refs: map[string]*schema{"#": root}, patterns: map[string]*pattern{}}
	b, err := in.append(nil, root, 0)
	return string(b), err
}

// inventor is the state of one invention.
type inventor struct {
	raw           json.RawMessage
	r             *rand.Rand
	refs          map[string]*schema
	values, nodes int // that were invented, and looked at for it
	patterns      map[string]*pattern
	compiled      int // bytes of patterns
	room          *room
	taken         int // bytes of the instance that there is room for
}

func unsatisfiable(format string, args ...any) error {
	return badRequest("schema", "invalid_json_schema", "Invalid JSON schema: %s", fmt.Sprintf(format, args...))
}

// append adds an instance of s to dst.
func (in *inventor) append(dst []byte, s *schema, depth int) ([]byte, error) {
	if in.values++; in.values > maxNodes || depth > maxDepth {
		return nil, unsatisfiable("its instances are too large or never end.")
	}
	in.room.take(4 * (len(dst) - in.taken))
	in.taken = len(dst)
	s, err := in.resolve(s, depth)
	if err != nil {
		return nil, err
	}
	switch {
	case s.never:
		return nil, unsatisfiable("a value that is required can never be valid.")
	case s.Const != nil:
		return append(dst, s.Const...), nil
	case len(s.Enum) > 0:
		return append(dst, s.Enum[in.r.IntN(len(s.Enum))]...), nil
	}
	switch t := s.kind(depth); t {
	case "object":
		return in.object(dst, s, depth)
	case "array":
		return in.array(dst, s, depth)
	case "string":
		text, err := in.text(s)
		if err != nil {
			return nil, err
		}
		return appendString(dst, text)
	case "integer", "number":
		return in.number(dst, s, t == "integer")
	case "boolean":
		return fmt.Append(dst, in.r.IntN(2) == 0), nil
	case "null":
		return append(dst, "null"...), nil
	default:
		return nil, unsatisfiable("type '%s' is unknown.", t)
	}
}

// kind chooses one of the schema's types: null only where depth asks for an
// end, and what the other keywords hint at where there is no type.
func (s *schema) kind(depth int) string {
	if len(s.Type) > 0 {
		if depth >= spareDepth && slices.Contains(s.Type, "null") {
			return "null"
		}
		return s.Type[0]
	}
	switch {
	case len(s.Properties) > 0 || len(s.Required) > 0:
		return "object"
	case s.Items != nil || len(s.PrefixItems) > 0:
		return "array"
	case s.Minimum != nil || s.Maximum != nil || s.Above != nil || s.Below != nil || s.MultipleOf != 0:
		return "number"
	default:
		return "string"
	}
}

func (in *inventor) object(dst []byte, s *schema, depth int) ([]byte, error) {
	dst = append(dst, '{')
	first := true
	member := func(name string, value *schema) (err error) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if dst, err = appendString(dst, name); err != nil {
			return err
		}
		dst, err = in.append(append(dst, ':'), value, depth+1)
		return err
	}
	for _, p := range s.Properties {
		required := slices.Contains(s.Required, p.name)
		if !required && (depth >= spareDepth || p.schema.never) {
			continue
		}
		if err := member(p.name, p.schema); err != nil {
			return nil, err
		}
	}
	for _, name := range s.Required {
		if slices.ContainsFunc(s.Properties, func(p property) bool { return p.name == name }) {
			continue
		}
		if err := member(name, &schema{}); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func (in *inventor) array(dst []byte, s *schema, depth int) ([]byte, error) {
	n := max(s.MinItems, len(s.PrefixItems))
	if depth < spareDepth {
		n = max(n, 1+in.r.IntN(3))
	}
	if s.MaxItems != nil {
		n = min(n, *s.MaxItems)
	}
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		item := s.Items
		if i < len(s.PrefixItems) {
			item = s.PrefixItems[i]
		}
		if item == nil {
			item = &schema{}
		}
		var err error
		if dst, err = in.append(dst, item, depth+1); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// number invents a number within the bounds, a whole one where it can.
func (in *inventor) number(dst []byte, s *schema, whole bool) ([]byte, error) {
	step := s.MultipleOf
	if step <= 0 || whole && step < 1 {
		step = 1
	}
	least, most := math.Inf(-1), math.Inf(1)
	for _, b := range []*float64{s.Minimum, s.Above} {
		least = max(least, value(b, least))
	}
	for _, b := range []*float64{s.Maximum, s.Below} {
		most = min(most, value(b, most))
	}
	switch {
	case math.IsInf(least, 0) && math.IsInf(most, 0):
		least, most = 0, 100*step
	case math.IsInf(least, 0):
		least = most - 100*step
	case math.IsInf(most, 0):
		most = least + 100*step
	}
	inside := func(v float64) bool {
		return v >= least && v <= most && (s.Above == nil || v > *s.Above) && (s.Below == nil || v < *s.Below)
	}
	low, high := math.Ceil(least/step), math.Floor(most/step)
	v := low + math.Floor(in.r.Float64()*min(high-low, 1000))
	for range 3 {
		if inside(v * step) {
			return fmt.Append(dst, jsonNumber(v*step)), nil
		}
		v++
		if v > high {
			v = low + 1
		}
	}
	middle := least + (most-least)/2
	if !whole && s.MultipleOf == 0 && inside(middle) {
		return fmt.Append(dst, jsonNumber(middle)), nil
	}
	return nil, unsatisfiable("no number lies within its bounds.")
}

func jsonNumber(v float64) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "0" // not a number or infinite: bounds of a schema are neither
	}
	return string(b)
}

// resolve follows references, chooses alternatives and folds allOf, until
// none is left.
func (in *inventor) resolve(s *schema, depth int) (*schema, error) {
	if s == nil { // null
		s = new(schema)
	}
	for range maxDepth {
		if in.nodes++; in.nodes > 2*maxNodes || depth > 2*maxDepth || len(s.Properties)+len(s.Required) > maxNodes {
			return nil, unsatisfiable("its references are too many.")
		}
		switch {
		case s.Ref != "":
			target, err := in.lookup(s.Ref)
			if err != nil {
				return nil, err
			}
			rest := *s
			rest.Ref = ""
			s = rest.with(target)
		case len(s.AnyOf) > 0 || len(s.OneOf) > 0:
			rest := *s
			rest.AnyOf, rest.OneOf = nil, nil
			s = rest.with(choose(append(s.AnyOf[:len(s.AnyOf):len(s.AnyOf)], s.OneOf...), depth))
		case len(s.AllOf) > 0:
			rest := *s
			rest.AllOf = nil
			folded := &rest
			for _, part := range s.AllOf {
				part, err := in.resolve(part, depth+1)
				if err != nil {
					return nil, err
				}
				if folded = folded.with(part); len(folded.Properties)+len(folded.Required) > maxNodes {
					return nil, unsatisfiable("it has too many properties.")
				}
			}
			s = folded
		default:
			return s, nil
		}
	}
	return nil, unsatisfiable("its references go round in a circle.")
}

// choose takes the first alternative, and deep down the one that ends soonest.
func choose(of []*schema, depth int) *schema {
	if depth < spareDepth {
		return of[0]
	}
	weight := func(s *schema) int {
		switch {
		case s == nil:
			return 1
		case s.never:
			return 4
		case s.Ref != "":
			return 3
		case s.kind(depth) == "object" || s.kind(depth) == "array":
			return 2
		case s.kind(depth) == "null":
			return 0
		}
		return 1
	}
	return slices.MinFunc(of, func(a, b *schema) int { return weight(a) - weight(b) })
}

// with returns a schema that demands what both s and t do, as far as one
// struct can say it.
func (s *schema) with(t *schema) *schema {
	m := *s
	if t == nil { // null, which demands nothing
		return &m
	}
	m.never = s.never || t.never
	m.Type = either(s.Type, t.Type)
	m.Enum = either(s.Enum, t.Enum)
	m.Const = either(s.Const, t.Const)
	m.PrefixItems = either(s.PrefixItems, t.PrefixItems)
	m.AnyOf = either(s.AnyOf, t.AnyOf)
	m.OneOf = either(s.OneOf, t.OneOf)
	m.AllOf = slices.Concat(s.AllOf, t.AllOf)
	m.Properties = slices.Concat(s.Properties, t.Properties)
	m.Required = slices.Concat(s.Required, t.Required)
	m.Ref = s.Ref + t.Ref // resolve leaves at most one of them
	if s.Items == nil {
		m.Items = t.Items
	}
	m.Format = first(s.Format, t.Format)
	m.Pattern = first(s.Pattern, t.Pattern)
	m.MultipleOf = first(s.MultipleOf, t.MultipleOf)
	m.MinItems, m.MinLength = max(s.MinItems, t.MinItems), max(s.MinLength, t.MinLength)
	m.MaxItems, m.MaxLength = first(s.MaxItems, t.MaxItems), first(s.MaxLength, t.MaxLength)
	m.Minimum, m.Maximum = first(s.Minimum, t.Minimum), first(s.Maximum, t.Maximum)
	m.Above, m.Below = first(s.Above, t.Above), first(s.Below, t.Below)
	return &m
}

func either[S ~[]E, E any](a, b S) S {
	if len(a) > 0 {
		return a
	}
	return b
}

func first[T comparable](a, b T) T {
	var zero T
	if a != zero {
		return a
	}
	return b
}

// lookup finds the schema that a local reference names.
func (in *inventor) lookup(ref string) (*schema, error) {
	if s, ok := in.refs[ref]; ok {
		return s, nil
	}
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil, unsatisfiable("reference '%s' is not within the schema.", ref)
	}
	at := in.raw
	for _, name := range strings.Split(path, "/") {
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		var members map[string]json.RawMessage
		if err := json.Unmarshal(at, &members); err != nil || members[name] == nil {
			return nil, unsatisfiable("reference '%s' leads nowhere.", ref)
		}
		at = members[name]
	}
	s := new(schema)
	if err := json.Unmarshal(at, s); err != nil {
		return nil, unsatisfiable("reference '%s' leads to no schema.", ref)
	}
	in.refs[ref] = s
	return s, nil
}
