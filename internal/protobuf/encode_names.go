package protobuf

import "strings"

// nameFields fills byName with all names that protojson takes for a field. A
// JSON name goes before another field's own name, and groups have names in
// small letters too: the descriptor knows.
func (m *message) nameFields() {
	fds := m.desc.Fields()
	m.byName = make(map[string]*field, 2*len(m.fields))
	for i := range m.fields {
		f := &m.fields[i]
		for _, name := range []string{f.jsonName, f.textName, strings.ToLower(f.jsonName), strings.ToLower(f.textName)} {
			fd := fds.ByJSONName(name)
			if fd == nil {
				fd = fds.ByTextName(name)
			}
			if fd != nil {
				m.byName[name] = &m.fields[fd.Index()]
			}
		}
		f.shadowed = m.byName[f.jsonName] != f || f.jsonName == "@type" || strings.HasPrefix(f.jsonName, "[")
	}
}
