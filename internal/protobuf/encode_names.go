package protobuf

import "strings"

// names are the names of a message's fields by their length, which hardly two
// of them share: faster than a map.
type names [][]fieldName

type fieldName struct {
	text string
	f    *field
}

// crowded is how many names of one length are compared one by one.
const crowded = 8

// named finds a field, no extension, by a JSON name or a name of the schema.
func (m *message) named(key []byte) *field {
	if len(key) >= len(m.names) {
		return nil
	}
	same := m.names[len(key)]
	if len(same) > crowded {
		return m.byName[string(key)]
	}
	for i := range same {
		if same[i].text == string(key) {
			return same[i].f
		}
	}
	return nil
}

// nameFields fills byName and names with all names that protojson takes for a
// field. A JSON name goes before another field's own name, and groups have
// names in small letters too: the descriptor knows.
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
			if fd != nil && m.byName[name] == nil {
				m.byName[name] = &m.fields[fd.Index()]
				for len(m.names) <= len(name) {
					m.names = append(m.names, nil)
				}
				m.names[len(name)] = append(m.names[len(name)], fieldName{name, m.byName[name]})
			}
		}
		f.shadowed = m.byName[f.jsonName] != f || f.jsonName == "@type" || strings.HasPrefix(f.jsonName, "[")
	}
}
