package controllers

import (
	"encoding/binary"
	"fmt"
	"iter"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// EndpointSlices are packed as they come from the API server, in protobuf: what their
// generated types would make of one is a hundred small objects. Fields have the numbers that
// the API's generated.proto gives them (k8s.io/api/discovery/v1, and
// k8s.io/apimachinery/pkg/apis/meta/v1 for the metadata), which are for good.

// Unmarshal reads a message.
func (s *PackedSlice) Unmarshal(message []byte) error {
	const metadata, endpoint, port, addressType = 1, 2, 3, 4
	w := wire{}
	var identity identity
	var kind []byte
	ports, endpoints := 0, 0
	for f := range w.fields(message) {
		switch f.number {
		case metadata:
			identity = w.identity(s, f.text)
		case endpoint:
			endpoints++
		case port:
			ports++
		case addressType:
			kind = f.text
		}
	}
	var room [1024]byte // most need no more
	all := room[:0]
	for _, text := range [][]byte{identity.namespace, identity.name, identity.version, identity.service} {
		all = append(all, text...)
	}
	all = appendText(all, kind)
	all = binary.AppendUvarint(all, uint64(ports))
	for f := range w.fields(message) {
		if f.number == port {
			all = w.port(all, f.text)
		}
	}
	all = binary.AppendUvarint(all, uint64(endpoints))
	for f := range w.fields(message) {
		if f.number == endpoint {
			all = w.endpoint(all, f.text)
		}
	}
	// All texts are parts of one, which stays for as long as one of them does.
	rest := string(all)
	next := func(text []byte) (part string) {
		part, rest = rest[:len(text)], rest[len(text):]
		return part
	}
	s.Namespace, s.Name, s.ResourceVersion = next(identity.namespace), next(identity.name), next(identity.version)
	s.service, s.content = next(identity.service), rest
	if w.err != nil {
		return fmt.Errorf("EndpointSlice %s/%s: read what the API server sent: %w", s.Namespace, s.Name, w.err)
	}
	return nil
}

// Unmarshal reads a message.
func (l *PackedSliceList) Unmarshal(message []byte) error {
	const metadata, item = 1, 2
	w := wire{}
	for f := range w.fields(message) {
		var err error
		switch f.number {
		case metadata:
			err = l.ListMeta.Unmarshal(f.text)
		case item:
			l.Items = append(l.Items, PackedSlice{})
			err = l.Items[len(l.Items)-1].Unmarshal(f.text)
		}
		if err != nil {
			return err
		}
	}
	if w.err != nil {
		return fmt.Errorf("list of EndpointSlices: read what the API server sent: %w", w.err)
	}
	return nil
}

// field is one of a message: what is in it if it has a length, or its number.
type field struct {
	number protowire.Number
	text   []byte
	value  uint64
}

// wire reads messages until there is a fault in one.
type wire struct{ err error }

func (w *wire) fields(message []byte) iter.Seq[field] {
	return func(yield func(field) bool) {
		for len(message) > 0 && w.err == nil {
			number, kind, n := protowire.ConsumeTag(message)
			f := field{number: number}
			if n >= 0 {
				message = message[n:]
				switch kind {
				case protowire.BytesType:
					f.text, n = protowire.ConsumeBytes(message)
				case protowire.VarintType:
					f.value, n = protowire.ConsumeVarint(message)
				default: // what later versions of the API may have
					n = protowire.ConsumeFieldValue(number, kind, message)
				}
			}
			if n < 0 {
				w.err = protowire.ParseError(n)
				return
			}
			message = message[n:]
			if !yield(f) {
				return
			}
		}
	}
}

// identity is what is kept of the metadata.
type identity struct{ namespace, name, version, service []byte }

// identity reads metadata. Annotations go to the slice at once: those of bookmarks are for
// who reads the watch.
func (w *wire) identity(s *PackedSlice, message []byte) (out identity) {
	const name, namespace, resourceVersion, label, annotation = 1, 3, 6, 11, 12
	for f := range w.fields(message) {
		switch f.number {
		case name:
			out.name = f.text
		case namespace:
			out.namespace = f.text
		case resourceVersion:
			out.version = f.text
		case label:
			if key, value := w.entry(f.text); string(key) == discoveryv1.LabelServiceName {
				out.service = value
			}
		case annotation:
			key, value := w.entry(f.text)
			if string(key) == corev1.EndpointsLastChangeTriggerTime {
				s.triggered = string(value)
				continue
			}
			if s.Annotations == nil {
				s.Annotations = map[string]string{}
			}
			s.Annotations[string(key)] = string(value)
		}
	}
	return out
}

// entry is one of a map.
func (w *wire) entry(message []byte) (key, value []byte) {
	for f := range w.fields(message) {
		switch f.number {
		case 1:
			key = f.text
		case 2:
			value = f.text
		}
	}
	return key, value
}

func (w *wire) port(to, message []byte) []byte {
	const name, protocol, number = 1, 2, 3
	var called, transport []byte
	var n uint64
	for f := range w.fields(message) {
		switch f.number {
		case name:
			called = f.text
		case protocol:
			transport = f.text
		case number:
			n = 1 + uint64(uint32(f.value))
		}
	}
	return binary.AppendUvarint(appendOptional(appendOptional(to, called), transport), n)
}

func (w *wire) endpoint(to, message []byte) []byte {
	const addresses, conditions, nodeName, hints = 1, 2, 6, 8
	var address, node, meant []byte
	var flags byte
	for f := range w.fields(message) {
		switch f.number {
		case addresses:
			if address == nil {
				address = f.text // the API defines no meaning for others
			}
		case conditions:
			flags = w.conditions(f.text)
		case nodeName:
			node = f.text
		case hints:
			meant = f.text
		}
	}
	to = appendOptional(append(appendOptional(to, address), flags), node)
	if meant == nil {
		return binary.AppendUvarint(to, 0)
	}
	return w.hints(to, meant)
}

// conditions are ready, serving and terminating, two bits for each: 0 for what is not
// said, 1 for no and 2 for yes.
func (w *wire) conditions(message []byte) (flags byte) {
	const ready, terminating = 1, 3
	for f := range w.fields(message) {
		if f.number < ready || f.number > terminating {
			continue
		}
		said := byte(1)
		if protowire.DecodeBool(f.value) {
			said = 2
		}
		at := 2 * (f.number - ready)
		flags = flags&^(3<<at) | said<<at // of several, the last counts
	}
	return flags
}

func (w *wire) hints(to, message []byte) []byte {
	const forZones, forNodes, name = 1, 2, 1
	for i, kind := range []protowire.Number{forZones, forNodes} {
		count := uint64(0)
		for f := range w.fields(message) {
			if f.number == kind {
				count++
			}
		}
		if i == 0 {
			count++ // 0 is for no hints at all
		}
		to = binary.AppendUvarint(to, count)
		for f := range w.fields(message) {
			if f.number != kind {
				continue
			}
			var called []byte
			for f := range w.fields(f.text) {
				if f.number == name {
					called = f.text
				}
			}
			to = appendText(to, called)
		}
	}
	return to
}
