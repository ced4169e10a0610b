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
	value reflect.Value
}

// fields lists the keys of a struct in the order of its fields. Embedded
// structs are part of the section itself, and so is what a field that holds
// Settings points to.
func fields(v reflect.Value) []field {
	var list []field
	for f, value := range v.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case opts == "inline" && value.Kind() == reflect.Interface:
			if !value.IsNil() {
				list = append(list, fields(value.Elem().Elem())...)
			}
		case opts == "inline" || f.Anonymous && name == "":
			list = append(list, fields(value)...)
		default:
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			list = append(list, field{key: name, env: f.Tag.Get("env"), value: value})
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
	for _, f := range fields(v) {
		path := join(prefix, f.key)
		if section(f.value.Type()) {
			settings(f.value, path, visit)
		} else {
			visit(path, f.env, f.value)
		}
	}
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}
