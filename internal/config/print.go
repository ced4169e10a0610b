package config

import (
	"fmt"
	"io"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Print writes the configuration as YAML that Load would read, but for
// secrets, which stand there as "[redacted]", and so do the values of headers
// and the query of a base_url, as many services take their key there.
func (c *Config) Print(w io.Writer) error {
	p := &printer{}
	p.section(reflect.ValueOf(c).Elem(), "", "")
	if _, err := io.WriteString(w, p.out.String()); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}

type printer struct{ out strings.Builder }

// section writes the keys of a struct. first is the indent of its first line,
// which may be the dash of a list's entry.
func (p *printer) section(v reflect.Value, first, indent string) {
	for i, f := range fields(v) {
		lead := indent
		if i == 0 {
			lead = first
		}
		p.out.WriteString(lead + f.key + ":")
		p.value(f.value, f.key, indent)
	}
}

// value writes what follows "key:".
func (p *printer) value(v reflect.Value, key, indent string) {
	switch {
	case section(v.Type()):
		p.out.WriteString("\n")
		p.section(v, indent+"  ", indent+"  ")
	case v.Kind() == reflect.Map:
		p.table(v, key, indent)
	case v.Kind() == reflect.Slice:
		p.list(v, key, indent)
	default:
		p.out.WriteString(" " + scalar(v, key) + "\n")
	}
}

func (p *printer) table(v reflect.Value, key, indent string) {
	if v.Len() == 0 {
		p.out.WriteString(" {}\n")
		return
	}
	p.out.WriteString("\n")
	names := v.MapKeys()
	sort.Slice(names, func(i, j int) bool { return names[i].String() < names[j].String() })
	for _, name := range names {
		p.out.WriteString(indent + "  " + strconv.Quote(name.String()) + ":")
		p.value(v.MapIndex(name), key, indent+"  ")
	}
}

func (p *printer) list(v reflect.Value, key, indent string) {
	if _, ok := v.Interface().(lone); ok && v.IsNil() {
		p.out.WriteString("\n")
		return
	}
	if v.Len() == 0 {
		p.out.WriteString(" []\n")
		return
	}
	if section(v.Type().Elem()) {
		p.out.WriteString("\n")
		for i := range v.Len() {
			p.section(v.Index(i), indent+"  - ", indent+"    ")
		}
		return
	}
	items := make([]string, v.Len())
	for i := range items {
		items[i] = scalar(v.Index(i), key)
	}
	p.out.WriteString(" [" + strings.Join(items, ", ") + "]\n")
}

// scalar gives a value's text. Text is always quoted, so that a name which
// looks like a number stays text.
func scalar(v reflect.Value, key string) string {
	switch {
	case isSecret(v.Type()):
		return strconv.Quote(v.Interface().(fmt.Stringer).String())
	case isDuration(v.Type()):
		return formatDuration(v.Interface().(time.Duration))
	case v.Kind() == reflect.String && key == "headers" && v.Len() > 0:
		return `"[redacted]"`
	case v.Kind() == reflect.String && key == "base_url":
		base, query, _ := strings.Cut(v.String(), "?")
		if query != "" { // some services take their key there
			base += "?[redacted]"
		}
		return strconv.Quote(base)
	case v.Kind() == reflect.String:
		return strconv.Quote(v.String())
	case v.CanInt() && sized(key):
		return formatBytes(v.Int())
	default:
		return fmt.Sprint(v.Interface())
	}
}
