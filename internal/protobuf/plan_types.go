package protobuf

import (
	"errors"
	"maps"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// maxURLs bounds how many type URLs a plan remembers: a type has as many URLs
// as there are prefixes, and inputs choose them.
const maxURLs = 1024

// typeByURL finds the message that an Any holds. Its error is that of Types.
func (p *Plan) typeByURL(url []byte) (*message, error) {
	known := p.urls.Load()
	if known != nil {
		if m := (*known)[string(url)]; m != nil {
			return m, nil
		}
	}
	mt, err := p.types.FindMessageByURL(string(url))
	if err != nil {
		return nil, err
	}
	m, err := p.compile(mt.Descriptor())
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next := map[string]*message{}
	if known = p.urls.Load(); known != nil {
		next = maps.Clone(*known)
	}
	if len(next) < maxURLs {
		next[string(url)] = m
		p.urls.Store(&next)
	}
	return m, nil
}

// fieldByNumber is byNumber that asks Types about extensions too. It returns
// nil for an unknown field.
func (m *message) fieldByNumber(num protowire.Number) (*field, error) {
	f := m.byNumber(num)
	if f != nil || !m.extendable {
		return f, nil
	}
	if x := m.extensions.Load(); x != nil {
		if f := x.byNumber[num]; f != nil {
			return f, nil
		}
	}
	if !m.desc.ExtensionRanges().Has(num) {
		return nil, nil
	}
	xt, err := m.plan.types.FindExtensionByNumber(m.name, num)
	if err != nil || xt == nil {
		return nil, notFound(err)
	}
	return m.extend(xt)
}

// extensionByName finds the extension whose full name stands in brackets in
// JSON. It returns nil for an unknown one.
func (m *message) extensionByName(name []byte) (*field, error) {
	if x := m.extensions.Load(); x != nil {
		if f := x.byName[string(name)]; f != nil {
			return f, nil
		}
	}
	xt, err := m.plan.types.FindExtensionByName(protoreflect.FullName(name))
	if err != nil || xt == nil {
		return nil, notFound(err)
	}
	fd := xt.TypeDescriptor()
	if !m.desc.ExtensionRanges().Has(fd.Number()) || fd.ContainingMessage().FullName() != m.name {
		return nil, errors.New("message " + string(m.name) + " cannot be extended by " + string(fd.FullName()))
	}
	return m.extend(xt)
}

// notFound lets pass that Types has no such type.
func notFound(err error) error {
	if errors.Is(err, protoregistry.NotFound) {
		return nil
	}
	return err
}

// extend makes the table of an extension and remembers it.
func (m *message) extend(xt protoreflect.ExtensionType) (*field, error) {
	p := m.plan
	p.mu.Lock()
	defer p.mu.Unlock()
	fd := xt.TypeDescriptor()
	next := &extensions{byNumber: map[protowire.Number]*field{}, byName: map[string]*field{}}
	if x := m.extensions.Load(); x != nil {
		if f := x.byNumber[fd.Number()]; f != nil && f.desc.FullName() == fd.FullName() {
			return f, nil // another goroutine was first
		}
		next.byNumber, next.byName = maps.Clone(x.byNumber), maps.Clone(x.byName)
	}
	f := new(field)
	var c compilation
	c.err = c.field(p, f, fd)
	c.run(p)
	if c.err != nil {
		for _, m := range c.made {
			delete(p.messages, m.desc)
		}
		return nil, c.err
	}
	f.index = len(m.fields) + m.oneofs + len(next.byName)
	next.byNumber[f.num], next.byName[string(fd.FullName())] = f, f
	m.extensions.Store(next)
	return f, nil
}
