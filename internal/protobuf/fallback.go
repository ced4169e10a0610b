package protobuf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// viaProtojson writes the message b[i:] as protojson does. protobuf-go panics
// for some maps (the key comes again, with a wrong wire type); that is refused.
func (d *decoder) viaProtojson(m *message, b []byte, i int) (ok bool) {
	defer func() {
		if fault := recover(); fault != nil {
			d.fail(i, fmt.Sprint("protobuf-go panics: ", fault))
			ok = false
		}
	}()
	if !d.reserve(modelled * (len(b) - i)) {
		return false
	}
	m.decoded.Add(1)
	m.plan.fallbacks.add(m.name)
	msg := dynamicpb.NewMessage(m.desc)
	err := proto.UnmarshalOptions{
		AllowPartial:   d.any > 0,
		Resolver:       m.plan.types,
		RecursionLimit: max(d.limits.MaxDepth-d.depth, 1),
	}.Unmarshal(b[i:], msg)
	if err != nil {
		d.fail(i, err.Error())
		return false
	}
	text, err := protojson.MarshalOptions{
		AllowPartial:    d.any > 0,
		UseProtoNames:   d.options.UseProtoNames,
		UseEnumNumbers:  d.options.UseEnumNumbers,
		EmitUnpopulated: d.options.EmitUnpopulated,
		Resolver:        m.plan.types,
	}.Marshal(msg)
	if err != nil {
		d.fail(i, err.Error())
		return false
	}
	if d.short(d.out, len(text)) && !d.grow(len(text)) {
		return false
	}
	buf := bytes.NewBuffer(d.out)
	if err := json.Compact(buf, text); err != nil {
		d.fail(i, err.Error())
		return false
	}
	d.out = buf.Bytes()
	return d.fits(i) >= 0
}

// Fallback lists the messages that go to protojson because no table describes
// them, or because they did so once, and how often they did.
func (p *Plan) Fallback() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	for _, m := range p.messages {
		decoded, encoded := m.decoded.Load(), m.encoded.Load()
		if m.fallback == "" && decoded+encoded == 0 {
			continue
		}
		why := m.fallback
		if why == "" {
			why = "too much to merge"
		}
		list = append(list, fmt.Sprintf("%s (%s): %d decoded, %d encoded", m.name, why, decoded, encoded))
	}
	slices.Sort(list)
	return list
}
