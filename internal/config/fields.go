package config

import (
	"encoding"
	"reflect"
	"strings"
	"time"
)

// field is one key of a section.
type field struct {
	key   string
	env   string // name of the environment variable that sets it, or ""
	index []int  // for reflect.Value.FieldByIndex
}

// fields lists the keys of a struct in the order of its fields. Embedded
// structs are part of the section itself.
func fields(t reflect.Type) []field {
	var list []field
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case opts == "inline" || f.Anonymous && name == "":
			for _, in := range fields(f.Type) {
				in.index = append([]int{f.Index[0]}, in.index...)
				list = append(list, in)
			}
		default:
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			list = append(list, field{key: name, env: f.Tag.Get("env"), index: f.Index})
		}
	}
	return list
}

// section reports whether values of type t have keys of their own, so not for
// a type that is read from text.
func section(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !fromText(t)
}

func fromText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func isDuration(t reflect.Type) bool { return t == reflect.TypeFor[time.Duration]() }

// settings visits every key below v that is not inside a list or a map. visit
// gets its path ("server.tls.cert") and its value, which can be set.
func settings(v reflect.Value, prefix string, visit func(path, env string, v reflect.Value)) {
	for _, f := range fields(v.Type()) {
		value, path := v.FieldByIndex(f.index), join(prefix, f.key)
		if section(value.Type()) {
			settings(value, path, visit)
		} else {
			visit(path, f.env, value)
		}
	}
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}
